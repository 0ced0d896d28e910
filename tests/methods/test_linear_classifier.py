"""The linear classifier beside Lightly's, and its three protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from lightly.utils import benchmarking
from lightly.utils.benchmarking import LinearClassifier as Lightlys
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.callbacks import RobustValidation
from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.methods import FinetuningProtocol, LinearClassifier
from tests.methods.steps import batches, fit

THREAT_MODEL = ThreatModel(eps=16 / 255)
CLASSES = 6

pytestmark = pytest.mark.filterwarnings("ignore")


def make_encoder() -> nn.Module:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3, stride=2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())


def make(protocol: FinetuningProtocol = "SLF", **options: Any) -> LinearClassifier:
    options = {"feature_dim": 36, "num_classes": CLASSES, **options}
    return LinearClassifier(
        make_encoder(), 4, protocol=protocol, threat_model=THREAT_MODEL, **options
    )


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def test_slf_trains_as_lightlys_does() -> None:
    ours = make()
    theirs = Lightlys(make_encoder(), 4, feature_dim=36, num_classes=CLASSES)
    theirs.load_state_dict(ours.state_dict())  # the same keys
    theirs.model.eval()
    metrics = [fit(each, epochs=2).callback_metrics for each in (ours, theirs)]
    for key, value in theirs.state_dict().items():
        assert ours.state_dict()[key].allclose(value, atol=1e-6), key
    for name in ("val_top1", "val_top5", "train_top1", "train_top5"):
        expected = 100 * float(metrics[1][name])
        assert float(metrics[0][name]) == pytest.approx(expected)
    assert float(metrics[0]["val_loss"]) == pytest.approx(float(metrics[1]["val_loss"]))


def test_attacks_reach_the_images() -> None:
    ((images, labels),) = batches(1, CLASSES)
    theirs = Lightlys(make_encoder(), 4, feature_dim=36, num_classes=CLASSES)
    with pytest.raises(ValueError, match="does not depend on any of the views"):
        PGD(THREAT_MODEL)(
            lambda views: F.cross_entropy(theirs(views[0]), labels), [images]
        )
    ours = make()
    (perturbed,) = PGD(THREAT_MODEL)(
        lambda views: F.cross_entropy(ours(views[0]), labels), [images]
    )
    assert not perturbed.equal(images)


@pytest.mark.parametrize("protocol", get_args(FinetuningProtocol))
def test_what_is_frozen_stays(protocol: FinetuningProtocol) -> None:
    classifier = make(protocol)
    for mode in (True, False):
        classifier.train(mode)
        assert classifier.classification_head.training == mode
        inside = [each.training for each in classifier.model.modules()]
        assert inside == [mode and protocol == "AFF"] * len(inside)
    before = state_of(classifier)
    trainer = fit(classifier)
    moved = {
        key
        for key, value in before.items()
        if not value.equal(state_of(classifier)[key])
    }
    head = {key for key in before if key.startswith("classification_head.")}
    assert moved == (set(before) if protocol == "AFF" else head)
    (group,) = trainer.optimizers[0].param_groups
    trained = {id(each) for each in classifier.parameters() if each.requires_grad}
    assert {id(each) for each in group["params"]} == trained


def test_alf_trains_on_images_perturbed_in_the_ball() -> None:
    seen: list[Tensor] = []

    class Watched(LinearClassifier):
        def shared_step(self, batch: Any, batch_idx: int) -> Any:
            if self.trainer.training:
                seen.append(batch[0].clone())
            return super().shared_step(batch, batch_idx)

    classifier = Watched(
        make_encoder(), 4, 0.0, 36, CLASSES, protocol="ALF", threat_model=THREAT_MODEL
    )
    metrics = fit(classifier, count=1).callback_metrics
    ((images, labels),) = batches(1)
    (perturbed,) = seen
    delta = (perturbed - images).abs()
    assert 0 < delta.max() <= THREAT_MODEL.eps + 1e-6
    loss = F.cross_entropy(classifier(perturbed), labels)
    assert float(metrics["train_loss"]) == pytest.approx(float(loss), abs=1e-5)
    assert loss > F.cross_entropy(classifier(images), labels)


def test_val_robust_top1_is_that_of_the_evaluation() -> None:
    classifier = make("ALF")
    metrics = fit(classifier, count=3).callback_metrics
    report = evaluate_robustness(classifier, batches(1), THREAT_MODEL)
    assert float(metrics["val_robust_top1"]) == pytest.approx(report.robust_accuracy)
    assert float(metrics["val_top1"]) == pytest.approx(report.clean_accuracy)
    (callback,) = classifier.configure_callbacks()
    assert isinstance(callback, RobustValidation)


def test_few_classes_have_no_top5() -> None:
    metrics = fit(make(num_classes=3)).callback_metrics
    assert "val_top1" in metrics
    assert "val_top5" not in metrics


def test_checkpoints_load_without_unpickling(tmp_path: Path) -> None:
    classifier = make("AFF")
    trainer = fit(classifier)
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    assert content["hyper_parameters"]["protocol"] == "AFF"
    assert "eps=" in content["hyper_parameters"]["trained_with"]
    again = LinearClassifier.load_from_checkpoint(
        path, model=make_encoder(), threat_model=THREAT_MODEL
    )
    assert again.protocol == "AFF"
    for key, value in classifier.state_dict().items():
        assert again.state_dict()[key].equal(value)


def test_it_is_one_of_lightlys() -> None:
    assert isinstance(make(), benchmarking.LinearClassifier)
    assert isinstance(make(), pl.LightningModule)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="protocol='LP' is unknown"):
        make("LP")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_classes=1; expected at least 2"):
        make(num_classes=1)
    with pytest.raises(ValueError, match="pass feature_dim=36"):
        make(feature_dim=2048)(torch.rand(2, 3, 8, 8))


def test_its_encoder_takes_pixels() -> None:
    normalize: Any = {"mean": (0.5,) * 3, "std": (0.2,) * 3}
    threat_model = ThreatModel(eps=16 / 255, normalize=normalize)
    module = LinearClassifier(
        make_encoder(), 4, 0.1, 36, CLASSES, threat_model=threat_model
    )
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(module.encoder(images), module.model((images - 0.5) / 0.2))
