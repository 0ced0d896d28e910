"""What does an epoch of SimCLR's views cost on small images, before any training?

Three ways to make two views of each image, one thread, no workers:

- each image: files are decoded and augmented one by one, as in Lightly's scripts;
- batch: files are decoded one by one, and `BatchedTransform` augments whole batches;
- once: images are in memory, decoded once, and `BatchedTransform` augments batches.

    python examples/benchmarks/data_speed.py --data PATH --fraction 0.1 --rounds 3

PATH holds train/<class>/. Times are CPU seconds; they are those of the fastest round.
"""

from __future__ import annotations

import argparse
import time
from typing import Literal

import interleaved
import torch
from lightly.transforms.simclr_transform import SimCLRTransform
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder

import lightly_adv
from lightly_adv.data import ImageFolderDataModule
from lightly_adv.transforms import BatchedTransform


def each_image(options: argparse.Namespace) -> interleaved.Run:
    transform = SimCLRTransform(input_size=options.image_size)
    images = ImageFolder(f"{options.data}/train", transform=transform)
    count = round(options.fraction * len(images))
    chosen = torch.randperm(len(images))[:count].tolist()
    loader = DataLoader(Subset(images, chosen), batch_size=options.batch, shuffle=True)
    return lambda: [batch[0] for batch in loader]


def batched(
    options: argparse.Namespace, decode: Literal["once", "batch"]
) -> interleaved.Run:
    data = ImageFolderDataModule(
        options.data,
        image_size=options.image_size,
        decode=decode,
        fraction=options.fraction,
        batch_size=options.batch,
        val_fraction=0,
        crop_padding=0,
        flip_probability=0,
    )
    loader = data.train_dataloader()
    transform = BatchedTransform(SimCLRTransform(input_size=options.image_size))
    return lambda: [transform(images) for images, _ in loader]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the images")
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"lightly_adv {lightly_adv.__version__}, torch {torch.__version__}")
    start = time.process_time()
    ways = {"once": batched(options, "once")}
    print(f"decoding all images of train once: {time.process_time() - start:.1f} s")
    ways |= {"batch": batched(options, "batch"), "each image": each_image(options)}
    taken = interleaved.measure(ways, rounds=options.rounds)
    print(f"{'seconds an epoch':<18} {'fastest':>8} {'slowest':>8}")
    for name, values in taken.items():
        print(f"{name:<18} {min(values):8.2f} {max(values):8.2f}")


if __name__ == "__main__":
    main()
