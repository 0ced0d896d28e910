"""The probe from end to end, on a problem that it can solve."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv import ThreatModel
from lightly_adv.callbacks import RobustValidation
from lightly_adv.methods import LinearProbeReport, linear_probe

THREAT_MODEL = ThreatModel(eps=0.05)

pytestmark = pytest.mark.filterwarnings("ignore")


def loader(count: int, seed: int, *, shuffle: bool = False) -> DataLoader[Any]:
    """Two classes of noise, one brighter than the other."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    noise = 0.3 * torch.rand(count, 3, 4, 4, generator=generator)
    images = noise + 0.3 + 0.3 * labels[:, None, None, None]
    return DataLoader(TensorDataset(images, labels), batch_size=8, shuffle=shuffle)


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU()]
    return nn.Sequential(*layers)


def probe(encoder: nn.Module, **options: Any) -> LinearProbeReport:
    options = {"epochs": 3, **options}
    return linear_probe(
        encoder,
        loader(32, 0, shuffle=True),
        loader(8, 1),
        loader(16, 2),
        THREAT_MODEL,
        num_classes=2,
        accelerator="cpu",
        **options,
    )


@pytest.fixture(scope="module")
def found(encoder: nn.Module) -> LinearProbeReport:
    return probe(encoder)


def test_the_report(found: LinearProbeReport) -> None:
    content = json.loads(found.to_json())
    last, best = content["rows"]
    assert (last["name"], best["name"]) == ("SLF last", "SLF best")
    assert last["epochs"] == 3
    assert 1 <= best["epochs"] <= 3
    for row in (last, best):
        assert row["robust_accuracy"] <= row["clean_accuracy"]
        assert row["num_samples"] == 16
    assert content["settings"]["chosen_by"] == "val_robust_top1"
    assert content["settings"]["batch_size"] == 8
    assert content["settings"]["attack_steps"] is None
    lines = str(found).splitlines()
    assert lines[0].startswith("SLF, last (epoch 3): clean")


def test_it_repeats_and_leaves_the_encoder_alone(
    encoder: nn.Module, found: LinearProbeReport
) -> None:
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    state = torch.get_rng_state()
    again = probe(encoder)
    assert torch.get_rng_state().equal(state)
    for name, weights in found.classifiers.items():
        for key, value in weights.items():
            assert again.classifiers[name][key].equal(value)
    assert again.to_json() == found.to_json()
    other = probe(encoder, seed=1).classifiers["last"]["classification_head.weight"]
    assert not other.equal(found.classifiers["last"]["classification_head.weight"])
    assert all(value.equal(before[key]) for key, value in encoder.state_dict().items())
    assert encoder.training
    assert all(each.requires_grad for each in encoder.parameters())


def test_best_is_chosen_by_robust_validation(
    encoder: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([10.0, 30.0, 30.0])
    monkeypatch.setattr(RobustValidation, "_reduce", lambda *_: next(values))
    found = probe(encoder)
    assert found.epochs == {"last": 3, "best": 2}
    key = "classification_head.weight"
    last, best = (found.classifiers[name][key] for name in ("last", "best"))
    assert not best.equal(last)


@pytest.mark.parametrize("protocol", ["ALF", "AFF"])
def test_adversarial_protocols(encoder: nn.Module, protocol: Any) -> None:
    found = probe(encoder, protocol=protocol, epochs=1, max_samples=8)
    assert found.settings["attack_steps"] == 10
    assert found.reports["best"].num_samples == 8
    before: dict[str, Tensor] = encoder.state_dict()
    after = found.classifiers["last"]
    same = [after[f"model.{key}"].equal(value) for key, value in before.items()]
    assert all(same) == (protocol == "ALF")


@pytest.mark.parametrize("empty", ["train", "val", "test"])
def test_an_empty_loader_is_refused_before_anything_is_trained(
    encoder: nn.Module, monkeypatch: pytest.MonkeyPatch, empty: str
) -> None:
    monkeypatch.setattr(pl.Trainer, "fit", None)
    loaders: dict[str, Any] = {name: loader(32, 0) for name in ("train", "val", "test")}
    loaders[empty] = DataLoader(loaders[empty].dataset, batch_size=64, drop_last=True)
    with pytest.raises(ValueError, match=f"'{empty}' gave no images; .* drop_last"):
        linear_probe(
            encoder, **loaders, threat_model=THREAT_MODEL, num_classes=2, epochs=1
        )


def test_refusals(encoder: nn.Module) -> None:
    with pytest.raises(ValueError, match="protocol='LP' is unknown"):
        probe(encoder, protocol="LP")
    with pytest.raises(ValueError, match="epochs=0 is too small"):
        probe(encoder, epochs=0)
