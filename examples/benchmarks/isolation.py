"""What does it cost to isolate an evaluation?

An evaluation is one pass forward and one back to the images, with frozen parameters.
It takes turns with the same one inside of `Isolation.evaluation`, as the attack of the
callback does it, so that the noise of the machine hits both; ratios are of CPU time.
The last column is what an isolated evaluation of nothing takes, which scatters less.

    python examples/benchmarks/isolation.py --rounds 15
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

import lightly_adv.models  # registers resnet18_small
from lightly_adv.isolation.isolated import Isolation


class Case(NamedTuple):
    """A module under attack, and the shape of a batch."""

    create: Callable[[], nn.Module]
    shape: tuple[int, ...]


def mlp() -> nn.Module:
    """Return three wide layers with 50 million parameters."""
    layers = [nn.Linear(192, 5000), nn.ReLU(), nn.Linear(5000, 5000), nn.ReLU()]
    last = [nn.Linear(5000, 5000), nn.ReLU(), nn.Linear(5000, 10)]
    return nn.Sequential(*layers, *last)


def keeping() -> nn.Module:
    """Return a small network that has kept 5000 losses and a list of 50,000 files."""
    module: Any = timm.create_model("resnet18_small", num_classes=10)
    module.losses = [torch.rand(()) for _ in range(5000)]
    module.files = [(f"{index}.png", index % 10) for index in range(50_000)]
    network: nn.Module = module
    return network


CASES = {
    "ViT-S, 96 pixels": Case(
        lambda: timm.create_model("vit_small_patch16_224", img_size=96), (3, 96, 96)
    ),
    "MLP, 51 M parameters": Case(mlp, (192,)),
    "resnet50, 96 pixels": Case(lambda: timm.create_model("resnet50"), (3, 96, 96)),
    "resnet18, 32 pixels": Case(
        lambda: timm.create_model("resnet18_small", num_classes=10), (3, 32, 32)
    ),
    "the same, much kept": Case(keeping, (3, 32, 32)),
}


def evaluate(module: nn.Module, images: Tensor) -> None:
    images = images.clone().requires_grad_()
    torch.autograd.grad(module(images).square().sum(), images)


def ratios(case: Case, *, batch: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return CPU seconds of bare and of isolated evaluations, round by round."""
    module = case.create().requires_grad_(False)
    images = torch.rand(batch, *case.shape)
    isolation = Isolation(module)
    seconds: tuple[list[float], list[float]] = [], []
    for number in range(rounds + 2):
        for at in (0, 1) if number % 2 else (1, 0):
            start = time.process_time()
            if at:
                with isolation.evaluation():
                    evaluate(module, images)
            else:
                evaluate(module, images)
            if number > 1:  # the first ones only warm up
                seconds[at].append(time.process_time() - start)
    return seconds


def empty(case: Case, *, rounds: int) -> float:
    """Return CPU seconds of an isolated evaluation of nothing."""
    isolation = Isolation(case.create())
    seconds = []
    for _ in range(rounds + 2):
        start = time.process_time()
        with isolation.evaluation():
            pass
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(
        f"lightly_adv {lightly_adv.__version__}, torch {torch.__version__}, batch "
        f"{options.batch}, one thread, {options.rounds} rounds"
    )
    print(
        f"{'':<22} {'bare ms':>8} {'min/min':>8} {'median ratio':>13} {'quartiles':>14}"
    )
    for name in options.cases:
        bare, isolated = ratios(CASES[name], batch=options.batch, rounds=options.rounds)
        found = sorted(b / a for a, b in zip(bare, isolated, strict=True))
        nothing = empty(CASES[name], rounds=options.rounds)
        low, middle, high = statistics.quantiles(found, n=4)
        print(
            f"{name:<22} {1000 * min(bare):8.1f} {min(isolated) / min(bare):8.3f} "
            f"{middle:13.3f} {low:6.3f}-{high:.3f} {1000 * nothing:9.2f}"
        )


if __name__ == "__main__":
    main()
