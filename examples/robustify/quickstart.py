"""Make an ImageNet encoder robust on a CPU, in about three minutes.

    python examples/robustify/quickstart.py --weights FILE --data FOLDER

FILE holds the weights of --backbone, FOLDER images at any depth; their classes are not
used. Before and after, other images of the folder are attacked: how far do their
features move, and is the nearest clean image still their own? The picture
robustify.png shows both over eps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from lightly_adv import PGD, ThreatModel
from lightly_adv.callbacks.progress_lines import ProgressLines
from lightly_adv.data.image_dataset import identity
from lightly_adv.data.image_files import ImageFiles
from lightly_adv.functional.feature_distances import size, squared_l2
from lightly_adv.methods import RobustDistillation
from lightly_adv.models import create_backbone, load_backbone
from lightly_adv.models.export import export_model
from lightly_adv.training.optimizers import WarmupCosineAdamW

EPS = 2 / 255
TESTED = [0.5 / 255, 1 / 255, 2 / 255]


def attacked(encoder: nn.Module, images: Tensor, eps: float) -> tuple[float, float]:
    """Return the relative distance of attacked features, and % nearest to themselves.

    Args:
        encoder: Maps images in [0, 1] to features.
        images: The images.
        eps: What they are attacked with.
    """
    with torch.no_grad():
        clean = encoder(images)
    attack = PGD(ThreatModel(eps=eps), steps=10)
    (perturbed,) = attack(lambda views: squared_l2(encoder(views[0]), clean), [images])
    with torch.no_grad():
        moved = encoder(perturbed)
    near = torch.cdist(moved, clean).argmin(dim=1) == torch.arange(len(images))
    distance = squared_l2(moved, clean) / size(squared_l2, clean)
    return float(distance.mean()), 100 * float(near.float().mean())


def table(title: str, encoder: nn.Module, images: Tensor) -> list[tuple[float, float]]:
    """Print what the attacks do to an encoder, and return it."""
    found = [attacked(encoder, images, eps) for eps in TESTED]
    for eps, (distance, near) in zip(TESTED, found, strict=True):
        print(
            f"{title}: eps {255 * eps:g}/255  relative distance {distance:.2f}  "
            f"nearest to themselves {near:.0f} %"
        )
    return found


def draw(results: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """Draw both measures over eps, before and after."""
    try:
        from matplotlib import pyplot
    except ImportError:
        print("pip install matplotlib for the picture")
        return
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    titles = ("how far attacked features move", "still nearest to themselves, %")
    for column, (title, axis) in enumerate(zip(titles, axes, strict=True)):
        for name, found in results.items():
            values = [numbers[column] for numbers in found]
            axis.plot([255 * eps for eps in TESTED], values, marker="o", label=name)
        axis.set(title=title, xlabel="eps / 255")
        axis.set_ylim(bottom=0)
    axes[0].legend()
    figure.savefig(path, dpi=150)
    print(f"{path} is written")


def main() -> None:
    """Measure, train, measure, export."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--backbone", default="tf_efficientnet_lite0", help="a network of timm")
    add("--weights", type=Path, required=True, help="its weights")
    add("--data", type=Path, required=True, help="folder with images")
    add("--image-size", type=int, default=48)
    add("--steps", type=int, default=150, help="weight updates")
    add("--tested", type=int, default=200, help="images to measure with")
    add("--out", type=Path, default=Path("runs/robustify_quickstart"))
    args = parser.parse_args()

    pl.seed_everything(0)
    backbone = create_backbone(args.backbone)
    print(load_backbone(backbone, args.weights))
    images = ImageFiles(args.data, args.image_size)
    order = torch.randperm(len(images)).tolist()
    tested = images.__getitems__(order[: args.tested])
    loader = DataLoader(
        Subset(images, order[args.tested :]),
        batch_size=32,
        shuffle=True,
        drop_last=True,
        collate_fn=identity,
    )
    module = RobustDistillation(
        backbone,
        PGD(ThreatModel(eps=EPS), steps=2, step_size=0.75 * EPS),
        channels_last=True,
        optimizer=WarmupCosineAdamW(1e-3, 1e-4, warmup=0.07),
    )
    results = {"before": table("before", module.eval().encoder, tested)}
    shown = {"attacked_distance": "attacked", "clean_distance": "clean"}
    trainer = pl.Trainer(
        max_steps=args.steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        callbacks=[ProgressLines("training", shown)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module.train()
    trainer.fit(module, loader)
    results["after"] = table("after", module.eval().encoder, tested)
    args.out.mkdir(parents=True, exist_ok=True)
    draw(results, args.out / "robustify.png")
    written = export_model(
        module.robust_backbone(), args.out / "exported", image_size=args.image_size
    )
    print(f"{written} is written; timm.create_model loads it under the same keys")


if __name__ == "__main__":
    main()
