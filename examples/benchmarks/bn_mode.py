"""Which BatchNorm statistics should the attack of `AdversarialTraining` see?

    python examples/benchmarks/bn_mode.py --data PATH --out DIR --seeds 0 1 2

PATH holds train/<class>/ and test/<class>/. SimCLR is pre-trained through the callback
with each `bn_mode`, as in paper_claims.py and with its small settings; then a linear
head is trained on clean images in front of the frozen backbone (SLF) and attacked.
Every run leaves a file, so that the command can be stopped and repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import pytorch_lightning as pl
import torch
from claims import settings, training
from claims.settings import Arm, Settings

from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.methods.fit import fit
from lightly_adv.models import save_backbone

ARM = Arm("adversarial", "simclr")


def measure(chosen: Settings, root: Path, path: Path, seed: int, mode: str) -> None:
    """Pre-train, fine-tune and test; write clean and robust accuracy."""
    how = settings.pretraining_of(chosen, ARM)
    data = training.data_module(chosen, root, seed, how)
    pl.seed_everything(seed, verbose=False)
    module, (callback,) = training.pretraining_module(chosen, ARM)
    callback.bn_mode = mode
    batches = data.train_dataloader()
    fit(module, batches, epochs=how["epochs"], callbacks=[callback])
    backbone = path.with_suffix(".safetensors")
    save_backbone(module.backbone, backbone, overwrite=True)
    head = path.with_name(f"{path.stem}-SLF.json")
    training.finetune(
        chosen,
        root,
        head,
        backbone=backbone,
        protocol="SLF",
        lr=0.1,
        factor=1,
        seed=seed,
    )
    training.test(
        chosen,
        root,
        path,
        members=[(head.with_suffix(".pt"), "SLF")],
        suite=chosen["evaluation"]["suite"],
        seed=seed,
    )


def main() -> None:
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="image folder")
    parser.add_argument("--out", type=Path, default=Path("runs/bn_mode"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY.KEY=VALUE")
    args = parser.parse_args()

    torch.set_num_threads(1)
    chosen = settings.read("small", args.set, args.out, args.seeds)
    for mode in get_args(BatchNormMode):
        found: list[dict[str, Any]] = []
        for seed in args.seeds:
            path = args.out / f"{mode}-{seed}.json"
            if not path.exists():
                measure(chosen, args.data, path, seed, mode)
            found.append(json.loads(path.read_text()))
        for key in ("clean_accuracy", "robust_accuracy"):
            values = [each[key] for each in found]
            each = ", ".join(f"{value:.1f}" for value in values)
            print(f"{mode:6} {key:16} {fmean(values):.1f} ({each})", flush=True)


if __name__ == "__main__":
    main()
