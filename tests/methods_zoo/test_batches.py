"""The batches of the replicas have the structure of what Lightly's transforms give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightly.transforms
import pytest
import torch
from lightly.data.ijepa_collate import IJEPAMaskCollator
from lightly.transforms import fda_transform
from lightly.transforms.ijepa_transform import IJEPATransform
from PIL import Image
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import default_collate
from torchvision import tv_tensors

from lightly_adv import ThreatModel
from lightly_adv.training.views import select_views
from tests import methods_zoo
from tests.methods_zoo.method import BATCH, LARGE, NORMALIZE, PATCH, SMALL, Method

transforms: Any = lightly.transforms
CROPS = {"global_crop_size": LARGE, "local_crop_size": SMALL}
GRIDS = {"global_grid_size": 4, "local_grid_size": 3}
METHODS = {method.name: method for method in methods_zoo.METHODS}


def one_size(name: str, **options: Any) -> Callable[[], Any]:
    return lambda: getattr(transforms, name)(input_size=LARGE, **options)


def two_sizes(name: str, **options: Any) -> Callable[[], Any]:
    return lambda: getattr(transforms, name)(**CROPS, **options)


def pair(first: Any, second: Any, both: Any) -> Callable[[], Any]:
    return lambda: both(*(each(input_size=LARGE) for each in (first, second)))


BYOL = pair(
    transforms.BYOLView1Transform,
    transforms.BYOLView2Transform,
    transforms.BYOLTransform,
)
FDA = pair(
    fda_transform.FDAView1Transform,
    fda_transform.FDAView2Transform,
    fda_transform.FDATransform,
)
TICO = pair(
    transforms.TiCoView1Transform,
    transforms.TiCoView2Transform,
    transforms.TiCoTransform,
)
MAE = one_size("MAETransform")
SIMCLR = one_size("SimCLRTransform")
VICREG = one_size("VICRegTransform")
DINO = two_sizes("DINOTransform", n_local_views=2)
TRANSFORMS: dict[str, Callable[[], Any]] = {
    "AIM": one_size("AIMTransform"),
    "Barlow Twins": BYOL,
    "BYOL": BYOL,
    "CAPI": one_size("CAPITransform"),
    "DCL": SIMCLR,
    "DCLW": SIMCLR,
    "DenseCL": one_size("DenseCLTransform"),
    "DINO": DINO,
    "DINOv2": DINO,
    "FastSiam": one_size("FastSiamTransform"),
    "FDA": FDA,
    "FroSSL": VICREG,
    "iBOT": two_sizes("IBOTTransform", n_local_views=2),
    "LeJEPA": DINO,
    "MAE": MAE,
    "MMCR": one_size("MMCRTransform", k=3),
    "MoCo": one_size("MoCoV2Transform"),
    "MSN": lambda: transforms.MSNTransform(LARGE, SMALL, 2, 2),
    "NNCLR": SIMCLR,
    "Pixio": MAE,
    "PMSN": lambda: transforms.MSNTransform(LARGE, SMALL, 2, 2),
    "SimCLR": SIMCLR,
    "SimMIM": MAE,
    "SimSiam": one_size("SimSiamTransform"),
    "SMoG": lambda: transforms.SMoGTransform((LARGE, SMALL), (2, 0)),
    "SwAV": lambda: transforms.SwaVTransform((LARGE, SMALL), (2, 2)),
    "SwAV with queue": lambda: transforms.SwaVTransform((LARGE, SMALL), (2, 2)),
    "TiCo": TICO,
    "VICReg": VICREG,
    "VICRegL": two_sizes("VICRegLTransform", n_local_views=1, **GRIDS),
}
"""The transform that Lightly's example of a method has, for small images."""


def image(seed: int) -> Image.Image:
    """Draw an image with structure."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.randint(256, (6, 6, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(small.numpy()).resize((40, 40), Image.Resampling.BICUBIC)


def shapes(batch: Any) -> Any:
    """Describe a batch: shapes of tensors, types of everything else."""
    return pytree.tree_map(
        lambda leaf: (
            (leaf.dtype, leaf.shape) if isinstance(leaf, Tensor) else type(leaf)
        ),
        batch,
    )


def check(method: Method, batch: Any) -> None:
    assert shapes(method.batch(torch.Generator())) == shapes(batch)
    # Raises if the images do not come back into [0, 1].
    for view in select_views(batch, policy=None, normalize=NORMALIZE).views:
        ThreatModel(normalize=NORMALIZE).box(view)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_views_labels_and_names(name: str) -> None:
    torch.manual_seed(0)
    transform = TRANSFORMS[name]()
    samples = [(transform(image(at)), at, f"{at}.png") for at in range(BATCH)]
    check(METHODS[name], default_collate(samples))


@pytest.mark.parametrize("name", ["DetConS", "DetConB"])
def test_views_with_masks(name: str) -> None:
    transform = transforms.DetConSTransform(input_size=LARGE)
    mask = tv_tensors.Mask(torch.zeros(1, 40, 40, dtype=torch.int64))
    samples = [
        (transform(tv_tensors.Image(image(at)), mask), at, f"{at}.png")
        for at in range(BATCH)
    ]
    check(METHODS[name], default_collate(samples))


def test_images_with_index_lists() -> None:
    transform = IJEPATransform(input_size=LARGE)
    collate = IJEPAMaskCollator(LARGE, PATCH, min_keep=1, allow_overlap=True)
    collated = collate([(transform(image(at)), 0) for at in range(BATCH)])
    (images, labels), context, masked = METHODS["I-JEPA"].batch(torch.Generator())
    assert shapes([images, labels]) == shapes(collated[0])
    for ours, theirs in zip((context, masked), collated[1:], strict=True):
        assert [(each.dtype, each.dim()) for each in ours] == [
            (each.dtype, each.dim()) for each in theirs
        ]


def test_every_method_has_a_transform() -> None:
    assert set(METHODS) == {*TRANSFORMS, "DetConS", "DetConB", "I-JEPA"}
