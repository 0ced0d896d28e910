"""Which way makes a ready encoder robust, without labels, at what price?

    python examples/benchmarks/robustify.py --data PATH --weights FILE --out DIR

PATH holds train/<class>/ and test/<class>/, such as CIFAR-10; labels are used by the
measures alone. FILE holds the weights of --backbone. Compared are FARE, LORE at equal
weight updates, the cosine distance, and all layers against the last stages against
low-rank updates in equal time. The learning rate of each is chosen on training images.
Measured are attacked and clean distance, nearest neighbours and a linear probe, clean
and under APGD, on test images that nothing is chosen on; with paired 95 % intervals
over images. Written are results.json and results.md. Every job leaves a file, so the
command can be stopped and repeated.

- [0] Robust CLIP, 2024, https://arxiv.org/abs/2402.12336
- [1] LORE, 2025, https://arxiv.org/abs/2505.18884
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

from robustified import data, measuring, tables, training
from robustified.settings import ARMS, EPS, TINY, Settings
from robustified.training import Start

from lightly_adv import files
from lightly_adv.models import load_backbone, save_backbone


@dataclass(frozen=True)
class Jobs:
    """Everything that leaves a file."""

    start: Start
    images: Path
    settings: Settings
    out: Path

    @cached_property
    def sets(self) -> data.Sets:
        """The images."""
        return data.load(self.images, self.settings)

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """Return the content of a file, which is made if it is not there."""
        path = self.out / f"{name}.json"
        if not path.exists():
            began = time.perf_counter()
            files.replace(path, json.dumps(make()))
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        return json.loads(path.read_text())

    def times(self) -> dict[str, float]:
        """Return the seconds of one update of each arm."""
        return self.kept(
            "times",
            lambda: training.seconds_per_update(
                self.start, ARMS, self.sets, self.settings
            ),
        )

    def searched(self, arm: str, rate: float) -> float:
        """Return how many validation images stand after a short training."""

        def make() -> float:
            encoder, _ = self._train(arm, rate, 0, self.settings.search_updates)
            on_pixels = measuring.OnPixels(encoder)
            bank = measuring.features(on_pixels, self.sets.bank.images)
            flags = measuring.neighbor_flags(
                on_pixels,
                bank,
                self.sets,
                self.sets.validation,
                self.settings,
                (EPS / 2,),
            )
            return mean(flags["knn_1"])

        return self.kept(f"search-{arm}-{rate:g}", make)

    def rate(self, arm: str) -> float:
        """Return the learning rate with which most validation images stand."""
        return max(ARMS[arm].rates, key=lambda rate: self.searched(arm, rate))

    def trained(self, arm: str, seed: int) -> dict[str, Any]:
        """Return what a training took; its weights lie beside."""

        def make() -> dict[str, Any]:
            updates, times = self.settings.updates, self.times()
            if ARMS[arm].timed:
                updates = round(updates * times["fare"] / times[arm])
            rate = self.rate(arm)
            encoder, cost = self._train(arm, rate, seed, updates)
            save_backbone(encoder, self.weights(arm, seed), overwrite=True)
            return {**dataclasses.asdict(cost), "rate": rate}

        return self.kept(f"training-{arm}-{seed}", make)

    def measured(self, arm: str, seed: int) -> dict[str, Any]:
        """Return the measures of an encoder; "before" is the one all began with."""

        def make() -> dict[str, Any]:
            before, after = self.start.backbone(), self.start.backbone()
            if arm != "before":
                load_backbone(after, self.weights(arm, seed))
            return measuring.measure(before, after, self.sets, self.settings)

        return self.kept(f"measures-{arm}-{seed}", make)

    def weights(self, arm: str, seed: int) -> Path:
        """Return where the weights are."""
        return self.out / f"{arm}-{seed}.safetensors"

    def all_of(self, arm: str, seed: int) -> None:
        """Train and measure."""
        if arm != "before":
            self.trained(arm, seed)
        self.measured(arm, seed)

    def _train(self, arm: str, rate: float, seed: int, updates: int) -> Any:
        return training.train(
            self.start,
            ARMS[arm],
            self.sets,
            self.settings,
            rate=rate,
            seed=seed,
            updates=updates,
        )


def run(jobs: Jobs, seeds: list[int], arms: list[str], workers: int) -> None:
    """Do what is not done yet, and write the table."""
    jobs.times()
    searches = [(arm, rate) for arm in arms for rate in ARMS[arm].rates]
    work(jobs.searched, searches, workers)
    runs = [("before", 0), *((arm, seed) for seed in seeds for arm in arms)]
    work(jobs.all_of, runs, workers)
    after = {arm: [jobs.measured(arm, seed) for seed in seeds] for arm in arms}
    costs = {arm: _mean_cost([jobs.trained(arm, s) for s in seeds]) for arm in arms}
    rows = tables.rows(jobs.measured("before", 0), after, costs)
    content = {"rows": rows, "settings": dataclasses.asdict(jobs.settings)}
    content["seeds"] = seeds
    files.replace(jobs.out / "results.json", json.dumps(content, indent=2))
    files.replace(jobs.out / "results.md", tables.markdown(rows))
    print(tables.markdown(rows))


def work(
    job: Callable[..., Any], calls: Iterable[tuple[Any, ...]], workers: int
) -> None:
    """Do the jobs, in several processes where these are wanted."""
    if workers == 1:
        for call in calls:
            job(*call)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for done in [pool.submit(job, *call) for call in calls]:
            done.result()


def _mean_cost(costs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "updates": costs[0]["updates"],
        "rate": costs[0]["rate"],
        "seconds": mean(each["seconds"] for each in costs),
        "passes": mean(each["passes"] for each in costs),
    }


def main() -> None:
    """Parse the command line, and run."""
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="image folder")
    add("--backbone", default="tf_efficientnet_lite0", help="a network of timm")
    add("--weights", type=Path, required=True, help="its weights")
    add("--out", type=Path, default=Path("runs/robustify_benchmark"))
    add("--seeds", type=int, nargs="+", default=[0, 1])
    add("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    add("--workers", type=int, default=2, help="processes")
    add("--tiny", action="store_true", help="only see that it runs")
    add("--set", nargs="+", default=[], metavar="NAME=NUMBER", help="other settings")
    args = parser.parse_args()
    changed = {name: int(value) for name, value in (s.split("=") for s in args.set)}
    settings = dataclasses.replace(TINY if args.tiny else Settings(), **changed)
    jobs = Jobs(Start(args.backbone, args.weights), args.data, settings, args.out)
    run(jobs, args.seeds, args.arms, args.workers)


if __name__ == "__main__":
    main()
