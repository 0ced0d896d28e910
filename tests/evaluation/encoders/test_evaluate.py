"""The attacks on an encoder from end to end, and what they refuse."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import APGD, ThreatModel
from lightly_adv.evaluation import digests, statistics
from lightly_adv.evaluation.batches import Batch
from lightly_adv.evaluation.encoders import EncoderReport, evaluate, evaluate_encoder
from lightly_adv.evaluation.encoders.evaluate import _Attacks
from tests.evaluation.counting import Counting

Batches = list[tuple[Tensor, Tensor]]

THREAT_MODEL = ThreatModel(eps=0.1)


def sample_images(count: int, *, seed: int, size: int = 6) -> Batches:
    """Noise around one mean per class, in batches of five."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(9))
    labels = torch.arange(count) % 3
    noise = torch.rand(count, 3, size, size, generator=generator)
    images = 0.6 * means[labels] + 0.4 * noise
    parts = zip(torch.split(images, 5), torch.split(labels, 5), strict=True)
    return list(parts)


@pytest.fixture
def encoder() -> nn.Module:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3, padding=1)
    layers = [convolution, nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(288, 10)).train()


def run(encoder: nn.Module, loader: Any = None, **options: Any) -> EncoderReport:
    options = {"steps": 3, "k": 5, "bank": sample_images(30, seed=1), **options}
    threat_model = options.pop("threat_model", THREAT_MODEL)
    loader = sample_images(13, seed=0) if loader is None else loader
    return evaluate_encoder(encoder, loader, threat_model, **options)


def test_a_report(encoder: nn.Module) -> None:
    found = run(encoder)
    content = json.loads(found.to_json(name="mine"))
    (row,) = content["rows"]
    assert row["name"] == "mine"
    assert row["clean_accuracy"] == row["val_knn_top1"] > 90
    assert row["robust_accuracy"] == row["val_robust_knn_top1"] <= 100
    assert len(content["drift"]) == row["num_samples"] == 13
    assert content["drift"][0] == pytest.approx(float(found.drift[0]), abs=1e-5)
    mean = sum(content["drift"]) / 13
    assert row["val_cosine_drift"] == pytest.approx(mean, abs=1e-5)
    assert row["suite"] == "robust kNN, APGD-3, k=5"
    assert (content["batch_size"], content["device"]) == (5, "cpu")
    right = round(row["robust_accuracy"] * 13 / 100)
    assert content["intervals"]["robust"] == list(statistics.wilson(right, 13))
    data = digests.Data()
    for batch in sample_images(13, seed=0):
        data.add(*batch)
    assert content["data"] == {"digest": data.hexdigest(), "num_samples": 13}
    assert content["neighbors"]["num_bank"] == 30
    assert content["neighbors"]["k"] == 5
    assert content["attack"]["type"] == "APGD"
    assert str(found).count("\n") == 0
    assert str(found).endswith("(APGD-3, Linf 0.1, 13 images)")
    assert len(found.overlap) == 12
    assert EncoderReport.from_json(found.to_json()).to_json() == found.to_json()


def test_robust_is_worst_over_the_attacks_and_falls_with_eps(
    encoder: nn.Module,
) -> None:
    values = []
    for eps in (0.0, 0.05, 0.5):
        found = run(encoder, threat_model=ThreatModel(eps=eps), steps=7)
        assert found.neighbors is not None
        assert not (found.neighbors.robust & ~found.neighbors.clean).any()
        values.append(found.metrics())
    none, some, much = values
    assert none["val_knn_top1"] == none["val_robust_knn_top1"]
    assert none["val_cosine_drift"] == pytest.approx(0, abs=1e-6)
    for name in ("breakaway_risk", "overlap_risk", "relative_quantile"):
        assert none[f"val_{name}"] == 0
    assert none["val_nearest_neighbor_top1"] == 100
    assert much["val_robust_knn_top1"] == 0
    drifts = [each["val_cosine_drift"] for each in values]
    assert all(drift is not None for drift in drifts)
    assert drifts == sorted(drifts, key=lambda value: value or 0)
    for name in ("impersonation_rate", "breakaway_risk", "overlap_risk"):
        few, many = some[f"val_{name}"], much[f"val_{name}"]
        assert few is not None
        assert many is not None
        assert few < many


def test_it_repeats_and_leaves_no_trace(encoder: nn.Module) -> None:
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = run(encoder, seed=3)
    assert torch.rand(3).equal(expected)
    with torch.inference_mode():
        again = run(encoder, seed=3)
    assert first.to_json() == again.to_json()
    assert run(encoder, seed=4).to_json() != first.to_json()
    assert encoder.training
    assert all(each.requires_grad for each in encoder.parameters())
    after = encoder.state_dict()
    assert all(after[key].equal(value) for key, value in before.items())


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_every_image_stays_in_the_ball(
    encoder: nn.Module, norm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    each: Callable[..., Any] = _Attacks.attacked

    def watched(self: _Attacks, batch: Batch, objectives: Any) -> Any:
        inner = self.embedder.forward

        def forward(shown: Tensor) -> Tensor:
            seen.append((batch.images, shown.detach()))
            return inner(shown)

        monkeypatch.setattr(self.embedder, "forward", forward)
        found = each(self, batch, objectives)
        monkeypatch.setattr(self.embedder, "forward", inner)
        return found

    monkeypatch.setattr(evaluate._Attacks, "attacked", watched)
    normalize = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    eps = {"Linf": 0.1, "L2": 0.5, "L1": 3.0}[norm]
    mean, std = (torch.tensor(v)[:, None, None] for v in normalize.values())

    def normalized(batches: Batches) -> Batches:
        return [((images - mean) / std, labels) for images, labels in batches]

    found = run(
        encoder,
        normalized(sample_images(13, seed=0)),
        bank=normalized(sample_images(30, seed=1)),
        threat_model=ThreatModel(norm=norm, eps=eps, normalize=normalize),
    )
    order = float(norm.replace("L", ""))
    assert len(seen) > 9
    for clean, shown in seen:
        assert shown.min() >= -1e-6
        assert shown.max() <= 1 + 1e-6
        length = (shown - clean).flatten(1).norm(p=order, dim=1)
        assert (length <= eps + 1e-4).all()
    settings = json.loads(found.to_json())["threat_model"]["normalize"]
    assert settings["mean"] == pytest.approx([0.5, 0.4, 0.3])


def test_pixels_and_normalised_images_give_the_same(encoder: nn.Module) -> None:
    normalize = {"mean": (0.5,) * 3, "std": (0.25,) * 3}

    class Inside(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = encoder((images - 0.5) / 0.25)
            return found

    def normalized(batches: Batches) -> Batches:
        return [((images - 0.5) / 0.25, labels) for images, labels in batches]

    encoder.eval()
    plain = run(Inside())
    other = run(
        encoder,
        normalized(sample_images(13, seed=0)),
        bank=normalized(sample_images(30, seed=1)),
        threat_model=ThreatModel(eps=0.1, normalize=normalize),
    )
    assert plain.drift.allclose(other.drift, atol=1e-4)


def test_without_labels(encoder: nn.Module) -> None:
    labelled = sample_images(13, seed=0)
    expected = run(encoder, labelled, bank=None)
    assert "val_knn_top1" not in expected.metrics()
    assert expected.row()["clean_accuracy"] is None
    for loader in ([each for each, _ in labelled], [[each] for each, _ in labelled]):
        assert run(encoder, loader, bank=None).to_json() == expected.to_json()
    # Noise and pairs do not depend on whether there is a bank.
    assert run(encoder, labelled).drift.equal(expected.drift)


def test_the_distance_and_the_pairs_are_what_is_asked_for(encoder: nn.Module) -> None:
    cosine, l2 = run(encoder), run(encoder, distance="l2")
    assert cosine.drift.mean() > l2.drift.mean()  # each is best at its own
    assert json.loads(l2.to_json())["distance"] == "l2"
    near = run(encoder, pairs="nearest", bank=None, steps=8)
    random = run(encoder, bank=None, steps=8)
    assert near.pairs == "nearest"
    assert near.overlap.float().mean() >= random.overlap.float().mean()


def test_more_restarts_move_embeddings_farther(encoder: nn.Module) -> None:
    drifts = [run(encoder, steps=2, bank=None, restarts=n).drift.mean() for n in (1, 3)]
    assert drifts[1] >= drifts[0]


def test_only_the_first_images(encoder: nn.Module) -> None:
    found = run(encoder, max_samples=7, max_bank=12)
    assert found.num_samples == 7
    assert found.neighbors is not None
    assert found.neighbors.num_bank == 12


def test_nobody_to_impersonate(encoder: nn.Module) -> None:
    same = [
        (images, torch.zeros_like(labels))
        for images, labels in sample_images(4, seed=0)
    ]
    found = run(encoder, same)
    assert found.metrics()["val_impersonation_rate"] is None
    assert "impersonation -" in str(found)
    json.loads(found.to_json())


class Returns(nn.Module):
    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)
        self.change = change

    def forward(self, images: Tensor) -> Any:
        return self.change(self.layer(images))


def test_maps_of_one_pixel_are_flattened() -> None:
    pooled = Returns(lambda maps: maps.mean(dim=(2, 3), keepdim=True))
    assert run(pooled).num_samples == 13


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda maps: maps,
            ValueError,
            r"These are maps; end it with pooling.*Flatten",
        ),
        (lambda maps: maps.flatten(2), ValueError, r"class token, tokens\[:, 0\]"),
        (lambda maps: maps.flatten(), ValueError, "one vector per image"),
        (lambda maps: (maps, maps), TypeError, "returned a tuple; expected one tensor"),
        (lambda maps: maps.flatten(1) * math.nan, ValueError, "hold NaN or infinity"),
        (lambda maps: maps.flatten(1).detach(), ValueError, "no gradient goes through"),
    ],
)
def test_refused_encoders(
    change: Callable[[Tensor], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(Returns(change))


def test_weights_in_double_precision_are_refused(encoder: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"float64 .* evaluate model\.float\(\)"):
        run(encoder.double())


def test_an_encoder_under_no_grad_is_refused(encoder: nn.Module) -> None:
    class Blocked(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                found: Tensor = encoder(images)
            return found

    with pytest.raises(ValueError, match=r"torch.no_grad\(\) or detached"):
        run(Blocked())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 31}, "the bank has 30 images, but k=31"),
        ({"k": 0}, "k=0 is too small"),
        ({"temperature": -1.0}, r"temperature=-1\.0"),
        ({"distance": "l1"}, "distance='l1' is unknown"),
        ({"pairs": "far"}, "pairs='far' is unknown"),
        ({"steps": 0}, "steps=0 is too small"),
        ({"max_samples": 1}, "there is 1 image; expected at least two"),
        ({"bank": []}, "the loader gave no images"),
        ({"loader": []}, "the loader gave no images"),
        ({"max_bank": 2, "k": 1}, "no image of class 2"),
        ({"bank": [(torch.rand(9, 3, 6, 6), torch.ones(9).long())]}, "of 1 class"),
        (
            {"loader": [(torch.rand(2, 3, 6, 6) * 9, torch.zeros(2).long())]},
            "the views look normalised",
        ),
    ],
)
def test_refused_arguments(
    encoder: nn.Module, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        run(encoder, options.pop("loader", None), **options)


def test_the_attack_finds_what_can_be_found(encoder: nn.Module) -> None:
    """For a linear map into one dimension the farthest embedding is known."""
    linear = nn.Linear(108, 1, bias=False)
    loader = [(0.4 + 0.2 * torch.rand(6, 3, 6, 6), torch.zeros(6).long())]
    found = evaluate_encoder(
        nn.Sequential(nn.Flatten(), linear),
        loader,
        THREAT_MODEL,
        distance="l2",
        steps=10,
    )
    assert found.attack == APGD(THREAT_MODEL, steps=10).settings()
    assert found.threat_model == THREAT_MODEL
    # All embeddings lie on a line; the reach of every one is eps times the L1 norm.
    values = (loader[0][0].flatten(1) @ linear.weight.T).detach().flatten()
    reach = 0.1 * float(linear.weight.detach().abs().sum())
    nearer = [
        [
            min(abs(b - a + reach), abs(b - a - reach)) < reach
            for j, b in enumerate(values.tolist())
            if j != i
        ]
        for i, a in enumerate(values.tolist())
    ]
    assert bool((found.breakaway > 0).any()) == any(map(any, nearer))
    gaps = (values[:, None] - values).abs()
    expected = [(row < reach).sum().item() - 1 for row in gaps]
    assert (5 * found.quantile).round().int().tolist() == expected


def test_bounds_of_levels_give_what_those_of_0_and_1_give(encoder: nn.Module) -> None:
    class OfLevels(nn.Module):
        def forward(self, levels: Tensor) -> Tensor:
            embeddings: Tensor = encoder.eval()(levels / 255)
            return embeddings

    def levels(batches: Batches) -> Batches:
        return [(255 * images, labels) for images, labels in batches]

    expected = run(encoder)
    found = run(
        OfLevels(),
        levels(sample_images(13, seed=0)),
        bank=levels(sample_images(30, seed=1)),
        threat_model=ThreatModel(eps=25.5, bounds=(0, 255)),
    )
    assert torch.allclose(found.drift, expected.drift, atol=0.02)
    assert found.metrics().keys() == expected.metrics().keys()


class Stopped(Counting):
    """Does not get farther than a number of forward passes."""

    def __init__(self, encoder: nn.Module, passes: float = math.inf) -> None:
        super().__init__()
        self.encoder = encoder
        self.passes = passes

    def forward(self, images: Tensor) -> Any:
        self.sizes.append(len(images))
        if self.done > self.passes:
            raise KeyboardInterrupt
        return self.encoder(images)


def test_an_interrupted_evaluation_goes_on(encoder: nn.Module, tmp_path: Path) -> None:
    state = tmp_path / "state"
    whole = Stopped(encoder)
    expected = run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(Stopped(encoder, 0.85 * whole.done), state=state)
    assert len(json.loads(state.read_text())["batches"]) == 2
    again = Stopped(encoder)
    assert run(again, state=state).to_json() == expected.to_json()
    assert again.done < 0.8 * whole.done
    for words, options in (
        ("bank", {"bank": sample_images(30, seed=2)}),
        ("images", {"max_samples": 12}),
        ("seed", {"seed": 1}),
    ):
        with pytest.raises(ValueError, match=f"differs in its .*{words}.*; give"):
            run(Stopped(encoder), state=state, **options)
