"""What does an adversarial training step of a pretext task cost?

A step is all of it: the task is drawn, its inputs are attacked with PGD, and the
network is updated on the mean of clean and adversarial loss. Three ways to take it, on
copies of one network and with the same images, take turns in one process:

- ours: `PretextModule`, and `PretextEnsembleModule` with gradient diversity;
- paper's code: the way that the public code of the paper goes, see `paper_code.py`;
- ideal: the passes that such a step cannot do without, written as short as can be, with
  frozen parameters and in eval mode while attacking. For the ensemble with diversity, a
  step of the attack is a forward, a backward and a second-order pass.

    python examples/benchmarks/pretext_step.py --rounds 9

Times are CPU seconds of the process, which other work on the machine disturbs less than
the clock on the wall does. Their ratios are of the fastest rounds, and medians over
rounds. Beside them is the ratio of the floating point operations of a step, counted in
convolutions and matrix products: it tells whether passes are taken that are not needed,
and knows nothing of the rest, such as loops over images.

The paper's code takes the same passes and loses its time beside them, so the gain over
it shrinks the larger the network: compare `--backbone resnet18_small`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import interleaved
import numpy as np
import operations
import paper_code
import torch
from torch import Generator, Tensor

import lightly_adv
from lightly_adv import PGD, ThreatModel, functional
from lightly_adv.isolation import modes
from lightly_adv.methods import PretextEnsembleModule, PretextModule

EPS, STEP = paper_code.EPS, paper_code.STEP
TASKS = ("rotation", "jigsaw", "selfie", "ensemble")
WEIGHT = 0.1
"""Of gradient diversity, in the attack and in the loss, as in the paper's code."""

Module = PretextModule | PretextEnsembleModule
Step = Callable[[Tensor], Tensor]


def create(task: str, options: argparse.Namespace) -> Module:
    """Return a module of ours, the same weights every time, without a Trainer."""
    torch.manual_seed(0)
    attack = PGD(ThreatModel(eps=EPS), steps=options.steps, step_size=STEP)
    common = {
        "backbone": options.backbone,
        "attack": attack,
        "channels_last": options.channels_last,
    }
    if task == "ensemble":
        module: Module = PretextEnsembleModule(diversity_weight=WEIGHT, **common)
    else:
        module = PretextModule(task, **common)
    # Logging is Lightning's, and not part of what is compared.
    module.log = lambda *args, **kwargs: None
    return module.train()


def optimizer_of(module: Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, nesterov=True)


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def ours(module: Module) -> Step:
    optimizer = optimizer_of(module)
    return lambda images: update(optimizer, module.training_step((images,), 0))


def papers(module: Module, steps: int) -> Step:
    optimizer = optimizer_of(module)
    if isinstance(module, PretextEnsembleModule):
        return lambda images: paper_code.train_ensemble(
            module.ensemble, images, steps=steps, weight=WEIGHT, optimizer=optimizer
        )
    return lambda images: paper_code.train_task(
        module.task, images, steps=steps, optimizer=optimizer
    )


def ideal(module: Module, steps: int) -> Step:
    optimizer = optimizer_of(module)
    several = isinstance(module, PretextEnsembleModule)
    network = module.ensemble if several else module.task
    generator = Generator()

    def losses_of(inputs: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
        if several:
            return network.losses(inputs, targets)
        return [network.loss(inputs[0], targets[0])]

    def run(images: Tensor) -> Tensor:
        inputs, targets = network.draw(images, generator)
        if not several:
            inputs, targets = [inputs], [targets]
        with modes.evaluation_mode(network), modes.frozen_parameters(network):
            perturbed = shortest_attack(
                lambda x: losses_of(x, targets), inputs, steps=steps, diverse=several
            )
        clean, robust = losses_of(inputs, targets), losses_of(perturbed, targets)
        loss = torch.stack(clean + robust).mean()
        if several:
            grads = torch.autograd.grad(sum(robust), perturbed, create_graph=True)
            loss = loss + WEIGHT * functional.gradient_diversity(grads)
        return update(optimizer, loss)

    return run


def shortest_attack(
    losses_of: Callable[[list[Tensor]], list[Tensor]],
    inputs: list[Tensor],
    *,
    steps: int,
    diverse: bool,
) -> list[Tensor]:
    """Run PGD on all inputs, with the gradient of their diversity or without."""
    deltas = [(torch.rand_like(x) * 2 - 1) * EPS for x in inputs]

    def perturbed() -> list[Tensor]:
        pairs = zip(inputs, deltas, strict=True)
        moved = [(x + delta).clamp_(0, 1) for x, delta in pairs]
        return [x.requires_grad_(diverse) for x in moved]

    for _ in range(steps):
        x = [each.requires_grad_() for each in perturbed()]
        grads = torch.autograd.grad(sum(losses_of(x)), x, create_graph=diverse)
        if diverse:
            h = functional.gradient_diversity(grads)
            second = torch.autograd.grad(h, x)
            pairs = zip(grads, second, strict=True)
            grads = [grad.detach() + WEIGHT * more for grad, more in pairs]
        deltas = [
            (delta + STEP * grad.sign()).clamp_(-EPS, EPS)
            for delta, grad in zip(deltas, grads, strict=True)
        ]
    return perturbed()


def report(task: str, seconds: dict[str, list[float]], counts: dict[str, int]) -> None:
    def ratios(above: str, below: str) -> str:
        pairs = zip(seconds[above], seconds[below], strict=True)
        fastest = min(seconds[above]) / min(seconds[below])
        median = statistics.median(one / other for one, other in pairs)
        counted = counts[above] / counts[below]
        return f"{fastest:8.3f} {median:8.3f} {counted:10.3f}"

    fastest = " ".join(f"{min(values):8.3f}" for values in seconds.values())
    print(
        f"{task:<9} {fastest}  {ratios('paper', 'ours')}  {ratios('ours', 'ideal')}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--backbone", default="resnet8_tiny")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels_last", action="store_true", help="all three ways")
    parser.add_argument("--clock", default="cpu", choices=["cpu", "wall"])
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    np.random.seed(0)
    clock = {"cpu": time.process_time, "wall": time.perf_counter}[options.clock]
    images = torch.rand(options.batch, 3, 32, 32)
    columns = f"  {'fastest':>8} {'median':>8} {'operations':>10}"
    print(
        f"lightly_adv {lightly_adv.__version__}, torch {torch.__version__}, "
        f"{options.backbone}, batch {options.batch}, PGD-{options.steps}, "
        f"{options.threads} thread(s), {options.clock} seconds\n"
        f"{'':<9} {'seconds, fastest round':^26}  {'paper / ours':^28}  "
        f"{'ours / ideal':^28}\n"
        f"{'':<9} {'ideal':>8} {'ours':>8} {'paper':>8}{columns}{columns}"
    )
    for task in options.tasks:
        ways = {
            "ideal": ideal(create(task, options), options.steps),
            "ours": ours(create(task, options)),
            "paper": papers(create(task, options), options.steps),
        }
        # The step that is counted warms up.
        counts = {name: operations.count(way, images) for name, way in ways.items()}
        runs = {name: partial(way, images) for name, way in ways.items()}
        seconds = interleaved.measure(runs, rounds=options.rounds, clock=clock)
        report(task, seconds, counts)


if __name__ == "__main__":
    main()
