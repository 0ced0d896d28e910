"""What does PGD-10 cost, compared with the passes that it cannot do without?

Every row attacks the same batch with 10 steps at 8/255, through a ResNet-18 with a
32-pixel stem in eval mode. The ideal is ten times forward and backward to the input
with frozen parameters, and the step itself. The rows take turns in one process, so
that the noise of the machine hits all of them; ratios are taken round by round.

    python examples/benchmarks/attack_speed.py --rounds 11

Times are CPU seconds of the process, which other work on the machine disturbs less than
the clock on the wall does. torchattacks and foolbox are compared where they are
installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import interleaved
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lightly_adv.models  # registers resnet18_small
from lightly_adv import PGD, ThreatModel
from lightly_adv.isolation import modes
from lightly_adv.isolation.isolated import Isolation

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10

Run = Callable[[], Tensor]
Objective = Callable[[list[Tensor]], Tensor]


def ideal(
    loss: Callable[[Tensor], Tensor], images: Tensor, *, steps: int = STEPS
) -> Tensor:
    """Run PGD as short as it can be written; parameters have to be frozen."""
    delta = (torch.rand_like(images) * 2 - 1) * EPS
    for _ in range(steps):
        x = (images + delta).clamp_(0, 1).requires_grad_()
        (grad,) = torch.autograd.grad(loss(x), x)
        delta = (delta + STEP * grad.sign()).clamp_(-EPS, EPS)
    return (images + delta).clamp_(0, 1)


def competitors(
    model: nn.Module, images: Tensor, labels: Tensor, *, steps: int = STEPS
) -> dict[str, Run]:
    """Return what is compared, by name."""
    attack = PGD(ThreatModel(eps=EPS), steps=steps, step_size=STEP)
    isolation = Isolation(model)
    # Without one, noise is seeded from the images, which the device is waited for.
    generator = torch.Generator(device=images.device).manual_seed(0)
    attacked = partial(attack, generator=generator)

    def loss(images: Tensor) -> Tensor:
        return F.cross_entropy(model(images), labels)

    def isolated_loss(views: list[Tensor]) -> Tensor:
        with isolation.evaluation():
            modes.set_attack_mode(model, "eval")
            return loss(views[0])

    runs = {
        "ideal loop": frozen(model, partial(ideal, loss, images, steps=steps)),
        "ours": frozen(model, lambda: attacked(lambda x: loss(x[0]), [images])[0]),
        "ours, isolated": lambda: attacked(isolated_loss, [images])[0],
        "ours, perturb": lambda: attack.perturb(
            model, images, labels, generator=generator
        ),
    }
    return runs | others(model, images, labels, steps=steps)


def frozen(model: nn.Module, run: Run) -> Run:
    """Call something in eval mode, with parameters that need no gradient."""

    def call() -> Tensor:
        with modes.evaluation_mode(model), modes.frozen_parameters(model):
            return run()

    return call


def others(
    model: nn.Module, images: Tensor, labels: Tensor, *, steps: int = STEPS
) -> dict[str, Run]:
    """Return PGD of torchattacks and foolbox, where they can be imported."""
    runs: dict[str, Run] = {}
    model.eval()
    try:
        import torchattacks
    except ImportError:
        pass
    else:
        theirs = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=steps)
        runs["torchattacks"] = lambda: theirs(images, labels)
    try:
        import foolbox
    except ImportError:
        pass
    else:
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        linf = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=steps)
        runs["foolbox"] = lambda: linf(wrapped, images, labels, epsilons=EPS)[1]
    return runs


def report(seconds: dict[str, list[float]]) -> None:
    """Print seconds, and ratios to the ideal and to torchattacks, with quartiles."""
    print(f"{'':<16} {'min':>7} {'median s':>9}  to the ideal          to torchattacks")
    for name, values in seconds.items():
        columns = [
            "{1:6.3f} [{0:.3f}, {2:.3f}]".format(*interleaved.ratios(values, other))
            for other in map(seconds.get, ("ideal loop", "torchattacks"))
            if other is not None
        ]
        median = interleaved.quartiles(values)[1]
        print(f"{name:<16} {min(values):7.3f} {median:9.3f} {'  '.join(columns)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backbone", default="resnet18_small")
    parser.add_argument("--clock", default="cpu", choices=["cpu", "wall"])
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = timm.create_model(options.backbone, num_classes=10)
    images = torch.rand(options.batch, 3, 32, 32)
    labels = torch.arange(options.batch) % 10
    print(
        f"lightly_adv {lightly_adv.__version__}, torch {torch.__version__}, "
        f"{options.backbone}, batch {options.batch}, PGD-{options.steps}, "
        f"{options.threads} thread(s), {options.clock} seconds, {options.rounds} "
        "rounds; median ratios of rounds [quartiles]"
    )
    runs = competitors(model, images, labels, steps=options.steps)
    for run in runs.values():
        run()
    clock = {"cpu": time.process_time, "wall": time.perf_counter}[options.clock]
    report(interleaved.measure(runs, rounds=options.rounds, clock=clock))


if __name__ == "__main__":
    main()
