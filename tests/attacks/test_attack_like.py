from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import APGD, PGD, AttackSchedule, ThreatModel
from lightly_adv.attacks import APGDTargeted, AttackLike, ClassificationObjective
from lightly_adv.attacks.attack_like import check_attack

THREAT_MODEL = ThreatModel(eps=8 / 255)
IMAGES = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0])


class Classifier(nn.Module):
    """Behaves otherwise in train mode, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout()
        self.layer = nn.Linear(48, 3)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        features = self.dropout(self.norm(images).flatten(1))
        logits: Tensor = self.layer(features)
        return logits


@pytest.mark.parametrize(
    "attack",
    [
        PGD(THREAT_MODEL, steps=3),
        APGD(THREAT_MODEL, steps=3),
        APGDTargeted(THREAT_MODEL, steps=3),
        AttackSchedule(PGD(THREAT_MODEL, steps=3)),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_perturb_attacks_the_classifier_in_eval_mode(attack: AttackLike) -> None:
    model = Classifier().train()
    model.norm.eval()
    flags = [part.training for part in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    perturbed = attack.perturb(
        model, IMAGES, LABELS, generator=torch.Generator().manual_seed(1)
    )
    assert [part.training for part in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)
    assert model.calls == 0
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(each.grad is None and each.requires_grad for each in model.parameters())

    objective = ClassificationObjective(model.eval(), LABELS)
    (expected,) = attack(
        objective, [IMAGES], generator=torch.Generator().manual_seed(1)
    )
    assert torch.equal(perturbed, expected)


def test_perturb_takes_any_function() -> None:
    perturbed = PGD(THREAT_MODEL).perturb(lambda x: x.flatten(1), IMAGES, LABELS)
    assert 0 < float((perturbed - IMAGES).abs().max()) <= 8 / 255 + 1e-6


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        ([IMAGES], LABELS, TypeError, r"list.*tensor"),
        (IMAGES, [0, 1, 2, 0], TypeError, r"list.*class numbers"),
        (IMAGES, torch.rand(4), TypeError, r"float32.*class numbers"),
        (IMAGES, LABELS[:3], ValueError, r"\(3,\).*\(4,\)"),
        (IMAGES * 255, LABELS, ValueError, r"255"),
    ],
)
def test_perturb_refuses_what_is_no_image_or_label(
    images: Any, labels: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PGD(THREAT_MODEL).perturb(Classifier(), images, labels)


@pytest.mark.parametrize(
    "attack", [PGD(THREAT_MODEL, steps=2), AttackSchedule(PGD(THREAT_MODEL, steps=2))]
)
def test_a_tensor_stands_for_a_list_of_one(attack: AttackLike) -> None:
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    found = attack(lambda v: v[0].square().sum(), IMAGES, generator=generators[0])
    listed = attack(lambda v: v[0].square().sum(), [IMAGES], generator=generators[1])
    assert isinstance(listed, list)
    assert torch.equal(found, listed[0])


@pytest.mark.parametrize(
    "attack", [PGD(THREAT_MODEL), AttackSchedule(PGD(THREAT_MODEL))]
)
def test_attacks_and_schedules_pass_the_check(attack: object) -> None:
    check_attack(attack)


@pytest.mark.parametrize("other", [None, 0.1, PGD])
def test_others_do_not(other: object) -> None:
    kind = type(other).__name__
    with pytest.raises(TypeError, match=rf"attack is a {kind}; expected an attack"):
        check_attack(other)
