"""What cannot be meant is refused in words, and the module is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv import APGD, PGD, AdversarialLoss, AdversarialTraining, ThreatModel
from lightly_adv.attacks import APGDTargeted
from lightly_adv.batch_norm import bn_route, convert_dual_batchnorm
from lightly_adv.callbacks import RobustValidation
from tests import zoo

ATTACK = PGD(ThreatModel(eps=0.05), steps=1)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("views", "error", "message"),
    [
        ("local", TypeError, r"views='local' is not understood; expected None"),
        (1, TypeError, r"views=1 is not understood"),
        ([0.5], TypeError, r"views=\[0.5\] is not understood"),
        ([], ValueError, r"views=\[\] selects nothing"),
    ],
)
def test_a_view_policy_is_refused_where_it_is_given(
    views: Any, error: type[Exception], message: str
) -> None:
    if not isinstance(views, str):  # it may name a submodule
        with pytest.raises(error, match=message):
            AdversarialTraining(ATTACK, views=views)
    with pytest.raises(error, match=message):
        AdversarialLoss(nn.MSELoss(), ATTACK, views=views)


@pytest.mark.parametrize("views", ["local", ["backbone", "local"]])
def test_names_of_submodules_that_there_are_not_are_refused(views: Any) -> None:
    message = r"views='local' names no submodule of Base; expected .*backbone"
    refuse(zoo.Base, AdversarialTraining(ATTACK, views=views), message)


def refuse(
    create: Callable[[], pl.LightningModule],
    callback: AdversarialTraining,
    message: str,
    error: type[Exception] = ValueError,
) -> None:
    modules: list[pl.LightningModule] = []

    def kept() -> pl.LightningModule:
        modules.append(create())
        return modules[0]

    with pytest.raises(error, match=message):
        zoo.fit(kept, [callback])
    assert "training_step" not in vars(modules[0])
    assert all(each.requires_grad for each in modules[0].parameters())


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([2], r"views=\[2\] does not fit a batch with 2 .*; expected indices from 0"),
        ([0, -1], r"views=\[0, -1\] does not fit a batch with 2 image views"),
        (lambda batch: [batch[1]], r"dtype torch.int64, which is no image view"),
        (lambda batch: [batch[2]], r"returned a list, which is no image view"),
        (lambda batch: batch[2], r"returned a str, which is no image view"),
        (lambda batch: batch[0][0], r"expected a list of tensors that are in the"),
        (lambda batch: [batch[0][0][:2]], r"which is not in the batch; expected"),
    ],
)
def test_views_that_do_not_fit_the_batch_are_refused(views: Any, message: str) -> None:
    refuse(zoo.Base, AdversarialTraining(ATTACK, views=views), message)


def test_batches_without_images_are_refused() -> None:
    class Flat(zoo.Base):
        def on_before_batch_transfer(self, batch: Any, _: int) -> Any:
            return [[view.flatten(1) for view in batch[0]], *batch[1:]]

    message = r"no image view found in the batch.*Pass views= a function"
    refuse(Flat, AdversarialTraining(ATTACK), message)


class Routed(zoo.Base):
    routes: tuple[str, ...] = ("clean", "adv")

    def __init__(self) -> None:
        super().__init__()
        convert_dual_batchnorm(self, routes=self.routes)


def test_layers_without_the_routes_of_the_callback_are_refused() -> None:
    class Renamed(Routed):
        routes = ("clean", "strong")

    message = r"has the routes \('clean', 'strong'\), but \['adv'\] is needed here"
    refuse(Renamed, AdversarialTraining(ATTACK), message)


def test_a_route_that_does_not_exist_is_refused() -> None:
    class Lost(Routed):
        def forward(self, images: Tensor) -> Tensor:
            with bn_route("strong"):
                return super().forward(images)

    message = r"the route 'strong' does not exist: the layer has the routes"
    refuse(Lost, AdversarialTraining(ATTACK), message)


def test_a_loss_that_no_gradient_leaves_is_refused() -> None:
    class Detached(zoo.Base):
        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                embedding = super().forward(images)
            return embedding.requires_grad_()

    message = r"does not depend on any of the views.*LinearClassifier"
    refuse(Detached, AdversarialTraining(ATTACK), message)


def test_an_attack_that_needs_labels_is_refused_where_there_are_none() -> None:
    attack = APGDTargeted(ThreatModel(eps=0.05), steps=1)
    message = (
        r"APGDTargeted was given .* it has to know logits and labels.*APGD and PGD"
    )
    refuse(zoo.Base, AdversarialTraining(attack), message, error=TypeError)


def test_apgd_raises_any_loss() -> None:
    """Of a batch, which is one sample to it, when the loss is a scalar."""
    attack = APGD(ThreatModel(eps=0.05), steps=2)
    zoo.fit(zoo.Base, [AdversarialTraining(attack)])


class Validating(zoo.Base):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Everything is left to the callback."""


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((torch.rand(4, 3, 8, 8),), r"a batch is a list of 1; expected \(images, lab"),
        (torch.rand(4, 3, 8, 8), r"a batch is a tensor of shape .*; expected \(images"),
        (
            [torch.rand(4, 3, 8, 8), ["a.png"] * 4],
            r"the labels of a batch are a list of 4; expected a tensor of class",
        ),
        (
            [torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)],
            r"the labels of a batch are a tensor of shape .*; expected a tensor",
        ),
    ],
)
def test_robust_accuracy_without_labels_is_refused(batch: Any, message: str) -> None:
    """The only attacks that need labels are those that measure accuracy."""
    loader: Any = torch.utils.data.DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[RobustValidation(ThreatModel(eps=0.05), suite="smoke")],
    )
    with pytest.raises(TypeError, match=message):
        trainer.validate(Validating(), loader, verbose=False)
