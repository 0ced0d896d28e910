from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from lightly_adv.batch_norm.routes import bn_route
from lightly_adv.functional.frequencies import high_pass
from lightly_adv.methods import AdvCL, pseudo_labels
from tests.methods.published import METHODS, network, with_fixed_noise

METHOD = next(each for each in METHODS if each.name == "advcl")
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("base", [0.07, None])
def test_the_loss_is_that_of_the_formula(base: float | None) -> None:
    module = METHOD.create(temperature=0.4, base_temperature=base, weight=0.3)
    made = with_fixed_noise(module)
    first, second, weak, image = METHOD.batch()
    labels = module.pseudo_labels(image)
    found = module.training_step([first, second, weak, image], 0)

    with bn_route("clean"):
        clean = [module(view) for view in (first, second, high_pass(weak, 2.0))]
    with bn_route("adv"):
        z = torch.cat([module(made[0]), *clean])
    with bn_route("adv_ce"):
        features = module.backbone(module.normalize(made[1]))
    z = z / z.norm(dim=1, keepdim=True)
    exponentials = (z @ z.T / 0.4).exp().fill_diagonal_(0)
    shares = exponentials / exponentials.sum(1, keepdim=True)
    same = torch.eye(len(first)).repeat(4, 4) - torch.eye(len(z))
    contrast = -(shares.log().nan_to_num(neginf=0) * same).sum() / (3 * len(z))
    pairs = zip(module.cluster_heads, labels, strict=True)
    cluster = sum(F.cross_entropy(head(features), each) for head, each in pairs) / 2
    scale = 1.0 if base is None else 0.4 / base
    torch.testing.assert_close(found, scale * contrast + 0.3 * cluster)


def test_the_clusters_are_found_before_the_first_step() -> None:
    class Watched(AdvCL):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append(self.pseudo_labels(batch[0][3]))
            return super().training_step(batch, batch_idx)

    seen: list[list[torch.Tensor]] = []
    torch.manual_seed(0)
    attack = METHOD.create().attack
    module = Watched(network(), attack=attack, clusters=[2, 3], radius=2.0)
    data = METHOD.data()
    pl.Trainer(max_epochs=1, limit_train_batches=1, **QUIET).fit(
        module, datamodule=data
    )
    dataset = data.train_dataset
    images = dataset.images.source(dataset.indices)
    encoder = torch.nn.Sequential(module.normalize, module.clean_encoder)
    for number, labels in zip((2, 3), seen[0], strict=True):
        expected = pseudo_labels(encoder, [images], clusters=number)
        assert torch.equal(module.pseudo_labels(images)[number - 2], expected)
        assert labels.shape == (8,)


def test_fewer_images_than_clusters_are_refused() -> None:
    module = AdvCL(network(), attack=METHOD.create().attack, clusters=[100])
    with pytest.raises(ValueError, match=r"clusters=100.*fewer clusters"):
        pl.Trainer(max_epochs=1, **QUIET).fit(module, datamodule=METHOD.data())
