"""Adversarial rotation pre-training and what it is worth, from images to a table.

For each seed, backbones are pre-trained on rotation in several arms (none, standard,
adversarial), then turned into classifiers on a labelled subset by several protocols:
SLF, a standard linear head on the frozen encoder, and AFF, full adversarial
fine-tuning. Each classifier is attacked with PGD-20 on all test images.

    python examples/pytorch_lightning/rotation.py --data PATH --seeds 0 1

PATH holds train/<class>/ and test/<class>/. Seeds run side by side, one thread each.
A stage whose result file exists is skipped, so the command can be stopped and repeated.

- [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning, 2020,
  https://arxiv.org/abs/2003.12862
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import signal
import statistics
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml

from lightly_adv import PGD, ThreatModel
from lightly_adv.attacks import AttackSchedule
from lightly_adv.callbacks.epoch_lines import EpochLines
from lightly_adv.data import ImageFolderDataModule
from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.methods import PretextModule, RobustClassifier
from lightly_adv.models import save_backbone

RECIPE = Path(__file__).parents[1] / "recipes" / "rotation_cifar10.yaml"
Settings = dict[str, Any]


@dataclass
class Run:
    """All stages of one seed."""

    settings: Settings
    root: Path
    out: Path
    seed: int

    def run(self) -> None:
        """Pre-train every arm, and fine-tune it by every protocol."""
        torch.set_num_threads(1)
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        self.unlabelled, self.labelled = (
            ImageFolderDataModule(
                self.root,
                seed=self.seed,
                **self.settings["data"],
                **self.settings[part]["data"],
            )
            for part in ("pretraining", "fine_tuning")
        )
        arms = self.settings["pretraining"]["arms"]
        for arm in arms:
            folder = self.out / f"pretrain-{arm}"
            if arm != "none" and not (folder / "result.json").exists():
                self.pretrain(arm, folder)
            for protocol in self.settings["fine_tuning"]["protocols"]:
                path = self.out / f"{arm}-{protocol['name']}.json"
                if arm in protocol.get("arms", arms) and not path.exists():
                    self.fine_tune(arm, protocol, folder, path)

    def pretrain(self, arm: str, folder: Path) -> None:
        """Train a backbone on rotation and write it to the folder."""
        chosen = self.settings["pretraining"]
        attack = AttackSchedule(self.attack(chosen), ramp=chosen["ramp"])
        pl.seed_everything(self.seed, verbose=False)
        module = PretextModule(
            chosen["task"],
            backbone=self.settings["backbone"],
            attack=attack if arm == "adversarial" else None,
            val_attack=attack.attack,
            weight=chosen["weight"],
            channels_last=self.settings["channels_last"],
            **chosen["optimizer"],
        )
        result = self.fit(module, self.unlabelled, chosen["epochs"], f"{arm} rotation")
        save_backbone(module.backbone, folder / "backbone.safetensors", overwrite=True)
        write(folder / "result.json", result)

    def fine_tune(self, arm: str, protocol: Settings, folder: Path, path: Path) -> None:
        """Train a classifier, evaluate it on the test images, write the result."""
        chosen = self.settings["fine_tuning"]
        attack = self.attack(chosen)
        pl.seed_everything(self.seed, verbose=False)
        classifier = RobustClassifier(
            self.settings["backbone"],
            num_classes=self.labelled.num_classes,
            trainable=protocol["trainable"],
            attack=attack if protocol["attacked"] else None,
            checkpoint=None if arm == "none" else folder / "backbone.safetensors",
            channels_last=self.settings["channels_last"],
            **chosen["optimizer"],
        )
        name = f"{arm} + {protocol['name']}"
        result = self.fit(classifier, self.labelled, protocol["epochs"], name)
        report = evaluate_robustness(
            classifier,
            self.labelled.test_dataloader(),
            attack.threat_model,
            suite=self.settings["evaluation"]["suite"],
            seed=self.seed,
        )
        print(f"seed {self.seed}, {name}: {report}", flush=True)
        write(path, {**json.loads(report.to_json(name=name)), "fit": result})

    def fit(
        self, module: pl.LightningModule, data: Any, epochs: int, name: str
    ) -> dict[str, float]:
        """Train for some epochs; return what was logged last, and the seconds."""
        started = time.perf_counter()
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=[EpochLines(f"seed {self.seed}, {name}")],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=data)
        logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
        return {**logged, "seconds": time.perf_counter() - started}

    def attack(self, chosen: Settings) -> PGD:
        """Return the attack of a section of the settings."""
        eps = float(Fraction(str(self.settings["threat_model"]["eps"])))
        threat_model = ThreatModel(norm=self.settings["threat_model"]["norm"], eps=eps)
        step_size = chosen["attack"]["step_size"] * eps
        return PGD(threat_model, steps=chosen["attack"]["steps"], step_size=step_size)


def collect(out: Path, seeds: list[int]) -> list[dict[str, Any]]:
    """Return one row per classifier: means over the seeds, and the single values."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    keys = ("clean_accuracy", "robust_accuracy")
    for seed in seeds:
        for path in sorted((out / f"seed-{seed}").glob("*.json")):
            row = json.loads(path.read_text())["rows"][0]
            found.setdefault(row["name"], {})[seed] = {key: row[key] for key in keys}
    return [
        {
            "name": name,
            **{k: statistics.fmean(r[k] for r in rows.values()) for k in keys},
        }
        | {"seeds": rows}
        for name, rows in found.items()
    ]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1))
    part.replace(path)


def read_settings(path: Path, overrides: list[str], out: Path) -> Settings:
    """Read the recipe, change what `--set a.b=value` names, keep a copy in `out`."""
    settings: Settings = yaml.safe_load(path.read_text())
    for override in overrides:
        keys, value = override.split("=", maxsplit=1)
        *outer, last = keys.split(".")
        place = settings
        for key in outer:
            place = place[key]
        place[last] = yaml.safe_load(value)
    kept = out / "settings.json"
    if kept.exists() and json.loads(kept.read_text()) != settings:
        raise SystemExit(f"{out} holds results of other settings; choose another --out")
    write(kept, settings)
    return settings


def end_with_workers(signum: int, frame: Any) -> None:
    """Leave no seed running: a signal to this process does not reach the others."""
    for worker in multiprocessing.active_children():
        worker.kill()
    sys.exit(128 + signum)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="image folder")
    parser.add_argument("--config", type=Path, default=RECIPE, help="YAML recipe")
    parser.add_argument("--out", type=Path, default=Path("runs/rotation_cifar10"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY.KEY=VALUE")
    args = parser.parse_args()
    settings = read_settings(args.config, args.set, args.out)
    started = time.perf_counter()
    # glibc hands memory back to the system after every batch and asks for it again,
    # unless it is told otherwise when a process starts.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**32))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**33))
    signal.signal(signal.SIGTERM, end_with_workers)
    context = multiprocessing.get_context("spawn")
    runs = [Run(settings, args.data, args.out / f"seed-{s}", s) for s in args.seeds]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        list(pool.map(Run.run, runs))
    rows = collect(args.out, args.seeds)
    seconds = time.perf_counter() - started
    write(args.out / "results.json", {"rows": rows, "seconds": seconds})
    print(f"\n{'name':26} {'clean %':>8} {'robust %':>8}   robust, each seed")
    for row in rows:
        each = "  ".join(f"{v['robust_accuracy']:.1f}" for v in row["seeds"].values())
        clean, robust = row["clean_accuracy"], row["robust_accuracy"]
        print(f"{row['name']:26} {clean:8.1f} {robust:8.1f}   {each}")


if __name__ == "__main__":
    main()
