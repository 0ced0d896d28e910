"""Is `autoattack-standard` AutoAttack, and how far from it is `apgd`?

The same classifier and the same test images, attacked three times: by the suite
`autoattack-standard`, by pyautoattack called directly, and by the suite `apgd`. Printed
are how many images are right after each attack, how many verdicts differ, and the
seconds of each. pyautoattack puts the images that stand into new batches, ours leaves
them in theirs, so that small batches cost ours more.

    pip install lightly-adv[autoattack]
    python examples/benchmarks/autoattack.py RUN/checkpoints/last.ckpt --samples 200
"""

from __future__ import annotations

import argparse
import itertools
import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyautoattack
import torch
from torch import Tensor, nn

from lightly_adv import ThreatModel, evaluate_robustness
from lightly_adv.cli import loaders, networks
from lightly_adv.functional import pixels

Batches = list[tuple[Tensor, Tensor]]

Found = tuple[dict[str, int], Tensor, float]
"""How many images stand after each attack, which to the end, and the seconds."""


def first_batches(loader: Iterable[Any], count: int, size: int) -> Batches:
    """Return the first images of a loader and their labels, in batches."""
    images, labels = [], []
    for batch in loader:
        images.append(batch[0])
        labels.append(batch[1])
        if sum(map(len, labels)) >= count:
            break
    parts = (torch.cat(each)[:count].split(size) for each in (images, labels))
    return list(zip(*parts, strict=True))


def suite(name: str, model: nn.Module, batches: Batches, ball: ThreatModel) -> Found:
    """Evaluate by a suite, without the checks and the card."""
    started = time.perf_counter()
    report = evaluate_robustness(model, batches, ball, suite=name, checks=())
    seconds = time.perf_counter() - started
    counts = {attack: int(flags.sum()) for attack, flags in report.flags.items()}
    return counts, list(report.flags.values())[-1], seconds


def direct(model: nn.Module, batches: Batches, ball: ThreatModel) -> Found:
    """Evaluate by pyautoattack; its counts stand in its log only."""

    def logits(images: Tensor) -> Tensor:
        found: Tensor = model(pixels.to_normalized(images, ball.normalize))
        return found

    images = torch.cat([batch for batch, _ in batches])
    images = pixels.to_pixels(images, ball.normalize)
    labels = torch.cat([batch for _, batch in batches])
    log = _Log()
    attack = pyautoattack.AutoAttack(logits, norm=ball.norm, eps=ball.eps, seed=0)
    attack.logger.addHandler(log)
    attack.logger.setLevel(logging.DEBUG)
    started = time.perf_counter()
    perturbed, _ = attack.run_standard_evaluation(
        images, labels, batch_size=len(batches[0][0])
    )
    seconds = time.perf_counter() - started
    attack.logger.removeHandler(log)
    with torch.no_grad():
        parts = torch.split(perturbed, len(batches[0][0]))
        standing = torch.cat([logits(part).argmax(1) for part in parts]) == labels
    text = "\n".join(log.messages)
    found = re.findall(r"(?:(initial) accuracy|after (.*)): (.*)%", text)
    counts = {
        (attack.lower() or "clean"): round(float(share) * len(labels) / 100)
        for _, attack, share in found
    }
    return counts, standing, seconds


class _Log(logging.Handler):
    """Keep what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def main() -> None:
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("checkpoint", type=Path, help="RUN/checkpoints/<name>.ckpt")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1, help="times to do it all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eps", type=float, help="default: that of the run")
    args, others = parser.parse_known_args()

    torch.set_num_threads(args.threads)
    network = networks.restore(args.checkpoint, others)
    ball = networks.threat_model([network], norm=None, eps=args.eps)
    loader, _ = loaders.test_images(network.data)
    batches = first_batches(loader, args.samples, args.batch_size)
    model = network.module.eval().requires_grad_(False)
    for _ in range(args.rounds):
        report(
            {
                "autoattack-standard": suite(
                    "autoattack-standard", model, batches, ball
                ),
                "pyautoattack": direct(model, batches, ball),
                "apgd": suite("apgd", model, batches, ball),
            },
            args.samples,
        )


def report(found: dict[str, Found], samples: int) -> None:
    """Print what stands after each attack, and how many verdicts differ."""
    for name, (counts, _, seconds) in found.items():
        steps = ", ".join(f"{attack} {count}" for attack, count in counts.items())
        print(f"{name:20} {steps}, of {samples}; {seconds:.0f} s")
    for one, other in itertools.combinations(found, 2):
        differ = int((found[one][1] != found[other][1]).sum())
        print(f"{one} and {other}: {differ} verdicts differ")


if __name__ == "__main__":
    main()
