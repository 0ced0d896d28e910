from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from torch import nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.types import Norm, NormalizeStats

STATS: NormalizeStats = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
NORMS: tuple[Norm, ...] = ("Linf", "L2", "L1")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"eps": 8}, ValueError, r"eps=8 is larger.*did you mean eps=8 / 255"),
        ({"eps": -0.1}, ValueError, r"eps=-0.1 must be finite and not negative"),
        ({"eps": math.nan}, ValueError, r"eps=nan must be finite"),
        ({"eps": math.inf}, ValueError, r"eps=inf must be finite"),
        ({"eps": "8/255"}, TypeError, r"eps='8/255' is a str"),
        ({"norm": "linf"}, ValueError, r"norm='linf' is unknown; use one of"),
        ({"bounds": (1.0, 0.0)}, ValueError, r"bounds=\(1.0, 0.0\) is not a range"),
        (
            {"normalize": {"mean": [0.5] * 3, "std": [0.2, 0.0, 0.2]}},
            ValueError,
            r"normalize\['std'\]=\[0.2, 0.0, 0.2\] must be finite and positive",
        ),
        (
            {"normalize": {"mean": [0.5] * 3, "std": [0.2]}},
            ValueError,
            r"3 means and 1 stds",
        ),
        ({"normalize": {"mean": [0.5] * 3}}, ValueError, r"lacks 'std'"),
        (
            {"normalize": {"mean": [math.nan], "std": [1.0]}},
            ValueError,
            r"normalize\['mean'\]=\[nan\] must be finite",
        ),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ThreatModel(**arguments)


@pytest.mark.parametrize(
    ("view", "normalize", "message"),
    [
        (torch.rand(2, 3, 4, 4) * 255, None, r"look like 0..255; divide them by 255"),
        (torch.randn(2, 3, 4, 4), None, r"views look normalised; pass normalize="),
        (torch.randn(2, 3, 4, 4) * 9, STATS, r"were the views\s+normalised twice"),
        (torch.full((2, 3, 4, 4), math.nan), None, r"hold NaN"),
    ],
)
def test_views_out_of_range_are_refused(
    view: torch.Tensor, normalize: NormalizeStats | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ThreatModel(normalize=normalize).box(view)


def test_the_range_check_names_the_values_seen() -> None:
    view = torch.zeros(1, 3, 2, 2)
    view[0, 0, 0, 0] = 2.5
    with pytest.raises(ValueError, match=r"spans \[0, 2.5\] in pixels"):
        ThreatModel().box(view)


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"dtype torch.uint8; expected a floating"):
        ThreatModel().box(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))


def test_a_radius_larger_than_any_distance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"eps=128 is larger than the L2 distance"):
        ThreatModel(norm="L2", eps=128).box(torch.rand(1, 3, 8, 8))


def test_wrong_channel_count_is_refused() -> None:
    with pytest.raises(ValueError, match=r"normalize has 3 channels"):
        ThreatModel(normalize=STATS).box(torch.rand(1, 1, 8, 8))


def test_rounding_at_the_bounds_is_forgiven_and_not_moved() -> None:
    view = torch.tensor([-3e-8, 1 + 1e-7]).view(1, 1, 1, 2)
    threat_model = ThreatModel(eps=0.0)
    box = threat_model.box(view)
    delta = threat_model.random_start(box)
    assert torch.equal(threat_model.apply(view, delta, box), view)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_holds_ball_and_bounds_at_once(norm: Norm) -> None:
    threat_model = ThreatModel(norm=norm, eps=0.3)
    view = torch.rand(4, 3, 6, 6)
    box = threat_model.box(view)
    delta = threat_model.project(torch.randn(4, 3, 6, 6), box)
    flat = delta.flatten(1).double().numpy()
    sizes = {
        "Linf": abs(flat).max(1),
        "L2": (flat**2).sum(1) ** 0.5,
        "L1": abs(flat).sum(1),
    }[norm]
    assert sizes.max() <= 0.3 + 1e-6
    moved = view + delta
    assert moved.min() >= -1e-7
    assert moved.max() <= 1 + 1e-7


def test_steps_are_taken_in_pixels_whatever_the_normalisation() -> None:
    # Per-channel std must not change the shape of the L2 ball.
    threat_model = ThreatModel(norm="L2", eps=1.0, normalize=STATS)
    pixels = torch.full((1, 3, 1, 1), 0.5)
    view = (pixels - torch.tensor(STATS["mean"])[:, None, None]) / torch.tensor(
        STATS["std"]
    )[:, None, None]
    weights = torch.tensor([1.0, 2.0, 2.0]).view(1, 3, 1, 1)
    # d loss / d view where loss = <weights, pixels>, by the chain rule.
    grad = weights * torch.tensor(STATS["std"])[:, None, None]
    box = threat_model.box(view)
    step = threat_model.ascend(torch.zeros_like(view), grad, box, step_size=0.3)
    assert torch.allclose(step.flatten(), torch.tensor([0.1, 0.2, 0.2]))


def test_l1_steps_are_not_spent_on_pixels_at_their_bound() -> None:
    threat_model = ThreatModel(norm="L1", eps=0.5)
    view = torch.tensor([1.0, 0.5]).view(1, 1, 1, 2)
    box = threat_model.box(view)
    grad = torch.tensor([9.0, 1.0]).view(1, 1, 1, 2)
    step = threat_model.ascend(torch.zeros_like(view), grad, box, step_size=0.1)
    assert torch.allclose(step.flatten(), torch.tensor([0.0, 0.1]))


def test_check_finds_what_left_the_ball_or_the_bounds() -> None:
    threat_model = ThreatModel(eps=0.1)
    view = torch.full((1, 3, 2, 2), 0.95)
    threat_model.check(view, view - 0.1)
    with pytest.raises(ValueError, match=r"Linf norm 0.2, more than eps=0.1"):
        threat_model.check(view, view - 0.2)
    with pytest.raises(ValueError, match=r"leave the bounds \(0.0, 1.0\) by 0.03"):
        threat_model.check(view, view + 0.08)
    with pytest.raises(ValueError, match=r"norm nan"):
        threat_model.check(view, view * math.nan)
    with pytest.raises(ValueError, match=r"has shape \(1, 3, 2\)"):
        threat_model.check(view, view[..., 0])


def test_from_timm_reads_the_statistics_of_the_backbone() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    normalize = ThreatModel.from_timm(vit).normalize
    assert normalize is not None
    assert list(normalize["mean"]) == [0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match=r"Linear has no pretrained_cfg"):
        ThreatModel.from_timm(nn.Linear(1, 1))


def test_other_bounds_are_respected() -> None:
    threat_model = ThreatModel(eps=0.5, bounds=(-1.0, 1.0))
    view = torch.full((1, 1, 2, 2), -0.9)
    box = threat_model.box(view)
    delta = threat_model.project(torch.full_like(view, -5.0), box)
    assert torch.allclose(view + delta, torch.full_like(view, -1.0))


@pytest.mark.parametrize("norm", NORMS)
def test_pixels_that_overshoot_stay_where_they_are(norm: Norm) -> None:
    view = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    view[:, :, 0, 0], view[:, :, 1, 1] = 1.1, -0.08
    attack = PGD(ThreatModel(norm=norm, eps=0.3), steps=3)
    with pytest.warns(UserWarning, match=r"3.1 % .* overshoot .*clamp .*bounds="):
        (found,) = attack(lambda views: views[0].square().sum(), [view])
    outside = (view < 0) | (view > 1)
    assert torch.equal(found[outside], view[outside])
    assert not torch.equal(found, view)
    assert found[~outside].min() >= 0
    assert found[~outside].max() <= 1
    with pytest.warns(UserWarning, match="overshoot"):
        (same,) = PGD(ThreatModel(norm=norm, eps=0.0))(lambda v: v[0].sum(), [view])
    assert torch.equal(same, view)


def test_volumes_have_their_channels_at_dimension_one() -> None:
    threat_model = ThreatModel(eps=1.0, normalize=STATS)
    pixels = torch.rand(2, 3, 6, 4, 4)
    mean, std = (torch.tensor(STATS[key]).view(3, 1, 1, 1) for key in ("mean", "std"))
    box = threat_model.box((pixels - mean) / std)
    assert torch.allclose(box.upper, 1 - pixels, atol=1e-6)
