from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision import transforms

from lightly_adv import PGD, ThreatModel
from lightly_adv.functional import validation

HALF = {"mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.mark.parametrize(
    "form",
    [
        ([0.5] * 3, [0.25] * 3),
        ((0.5, 0.5, 0.5), np.full(3, 0.25)),
        {"mean": np.full((3, 1, 1), 0.5), "std": torch.full((3, 1, 1), 0.25)},
        {"mean": np.full((1, 3, 1, 1), 0.5), "std": 0.25},
        {"mean": [0.5, 0.5, 0.5], "std": 0.25},
        transforms.Normalize([0.5] * 3, [0.25] * 3),
        transforms.Normalize(torch.full((3,), 0.5), torch.full((3,), 0.25)),
    ],
)
def test_forms_of_mean_and_std(form: Any) -> None:
    threat_model = ThreatModel(normalize=form)
    assert threat_model == ThreatModel(normalize=HALF)
    assert hash(threat_model) == hash(ThreatModel(normalize=HALF))


def test_what_is_in_lightlys_format_stays_as_it_is() -> None:
    assert ThreatModel(normalize=HALF).normalize is HALF


@pytest.mark.parametrize("channels", [1, 3])
def test_single_numbers_hold_for_all_channels(channels: int) -> None:
    normalize: Any = {"mean": 0.5, "std": 0.25}
    threat_model = ThreatModel(eps=1.0, normalize=normalize)
    view = torch.rand(2, channels, 4, 4) * 4 - 2
    box = threat_model.box(view)
    assert torch.allclose(box.upper, 0.5 - view * 0.25)


@pytest.mark.parametrize(
    ("form", "error", "message"),
    [
        ({"mean": torch.zeros(3, 8, 8), "std": [1.0] * 3}, ValueError, r"\(3, 8, 8\)"),
        ({"mean": "imagenet", "std": [1.0]}, TypeError, r"normalize\['mean'\]"),
        ("imagenet", TypeError, r"normalize='imagenet' is not understood; expected"),
        ([0.5, 0.5, 0.5], ValueError, r"normalize is a list of 3; expected a dict"),
        (0.5, TypeError, r"normalize=0.5 is not understood; expected a dict"),
    ],
)
def test_other_forms_are_refused_by_name(
    form: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ThreatModel(normalize=form)


@pytest.mark.parametrize("bounds", [[0, 255], (0, 255), np.array([0, 255])])
def test_levels_have_a_ball_of_levels(bounds: Any) -> None:
    threat_model = ThreatModel(eps=8, bounds=bounds)
    assert threat_model.bounds == (0.0, 255.0)
    view = torch.randint(0, 256, (2, 3, 8, 8)).float()
    (found,) = PGD(threat_model, steps=3, step_size=6)(lambda v: v[0].sum(), [view])
    assert torch.equal(found, (view + 8).clamp(max=255))


def test_lengths_beyond_the_bounds_are_refused_in_their_units() -> None:
    with pytest.raises(ValueError, match=r"eps=300 .*bounds=\(0.0, 255.0\).*most 255"):
        ThreatModel(eps=300, bounds=(0, 255))
    with pytest.raises(ValueError, match=r"step_size=300 .*most 255"):
        PGD(ThreatModel(eps=8, bounds=(0, 255)), step_size=300)
    with pytest.raises(ValueError, match=r"eps=8 .*pass bounds=\(0, 255\)"):
        ThreatModel(eps=8)
    for bounds in (1.0, (0, 1, 2), "01x", (0, float("inf"))):
        with pytest.raises(ValueError, match=r"bounds=.* is not a range"):
            ThreatModel(bounds=bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize("eps", [np.float32(0.5), np.float64(0.5), torch.tensor(0.5)])
def test_numbers_of_other_libraries_are_numbers(eps: Any) -> None:
    assert ThreatModel(eps=eps) == ThreatModel(eps=0.5)
    assert PGD(ThreatModel(eps=0.5), step_size=eps).resolved_step_size == 0.5
    assert validation.as_number("eps", eps) == 0.5


def test_choices() -> None:
    validation.check_choice("mode", "dual", ("dual", "replace"))
    with pytest.raises(ValueError, match=r"mode='both'.*'dual'.*, or None"):
        validation.check_choice("mode", "both", ["dual", "replace"], remedy=", or None")


def test_near_names_come_first() -> None:
    assert validation.did_you_mean("pdg", ["fgsm", "pgd"]) == "Did you mean 'pgd'? "
    assert validation.did_you_mean("unlike", ["fgsm", "pgd"]) == ""


@pytest.mark.parametrize("bounds", [(0, 255), (0, 4095), (-128, 127)])
def test_a_fraction_of_255_in_levels_is_refused(bounds: Any) -> None:
    with pytest.raises(ValueError, match=r"8/255.*did you mean eps="):
        ThreatModel(eps=8 / 255, bounds=bounds)
    assert ThreatModel(eps=0.2, bounds=(0, 10)).eps == 0.2
    assert ThreatModel(eps=0.03, bounds=bounds).eps == 0.03


def test_the_default_radius_is_for_pixels_in_0_to_1() -> None:
    with pytest.raises(ValueError, match=r"did you mean eps=8\?"):
        ThreatModel(bounds=(0, 255))
