"""What does PGD-10 cost, compared with the passes that it cannot do without?

Every row attacks the same batch with 10 steps at 8/255, through a ResNet-18 with a
32-pixel stem in eval mode. The ideal is ten times forward and backward to the input
with frozen parameters, and the step itself. The rows take turns in one process, so
that the noise of the machine hits all of them; ratios are taken round by round.

    python examples/benchmarks/attack_speed.py --rounds 7

torchattacks and foolbox are compared where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lightly_adv.models  # registers resnet18_small
from lightly_adv import PGD, ThreatModel
from lightly_adv.isolation import modes
from lightly_adv.isolation.isolated import Isolation

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10
ATTACK = PGD(ThreatModel(eps=EPS), steps=STEPS, step_size=STEP)

Run = Callable[[], Tensor]


def ideal(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Run PGD as short as it can be written, with frozen parameters."""
    delta = (torch.rand_like(images) * 2 - 1) * EPS
    for _ in range(STEPS):
        x = (images + delta).clamp_(0, 1).requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(model(x), labels), x)
        delta = (delta + STEP * grad.sign()).clamp_(-EPS, EPS)
    return (images + delta).clamp_(0, 1)


def competitors(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Run]:
    """Return what is compared, by name."""

    def loss(views: list[Tensor]) -> Tensor:
        return F.cross_entropy(model(views[0]), labels)

    isolation = Isolation(model)

    def isolated_loss(views: list[Tensor]) -> Tensor:
        with isolation.evaluation():
            modes.set_attack_mode(model, "eval")
            return loss(views)

    def frozen(run: Run) -> Run:
        def call() -> Tensor:
            with modes.evaluation_mode(model), modes.frozen_parameters(model):
                return run()

        return call

    runs = {
        "ideal loop": frozen(lambda: ideal(model, images, labels)),
        "ours": frozen(lambda: ATTACK(loss, [images])[0]),
        "ours, isolated": lambda: ATTACK(isolated_loss, [images])[0],
    }
    if importlib.util.find_spec("torchattacks"):
        import torchattacks

        theirs = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=STEPS)
        runs["torchattacks"] = lambda: theirs(images, labels)
    if importlib.util.find_spec("foolbox"):
        import foolbox

        wrapped = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
        attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS)
        runs["foolbox"] = lambda: attack(wrapped, images, labels, epsilons=EPS)[1]
    return runs


def measure(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Return seconds per round, by name; the first round only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for at in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if at > 0:
                seconds[name].append(time.perf_counter() - start)
        print(f"\rround {at}/{rounds}", end="", flush=True)
    print()
    return seconds


def report(seconds: dict[str, list[float]]) -> None:
    """Print seconds, and ratios to the ideal."""
    base = seconds["ideal loop"]
    print(f"{'':<16} {'min s':>7} {'min/min':>8} {'median ratio':>13}")
    for name, values in seconds.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        print(
            f"{name:<16} {min(values):7.3f} {min(values) / min(base):8.3f} "
            f"{statistics.median(ratios):13.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backbone", default="resnet18_small")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = timm.create_model(options.backbone, num_classes=10)
    images = torch.rand(options.batch, 3, 32, 32)
    labels = torch.arange(options.batch) % 10
    print(
        f"lightly_adv {lightly_adv.__version__}, torch {torch.__version__}, "
        f"{options.backbone}, batch {options.batch}, {options.threads} thread(s)"
    )
    report(measure(competitors(model, images, labels), options.rounds))


if __name__ == "__main__":
    main()
