from __future__ import annotations

import copy
import logging
import re
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv.attacks import Attack, ClassificationObjective
from lightly_adv.evaluation import Suite, autoattack, create_suite, evaluate_robustness
from lightly_adv.evaluation.autoattack import ReferenceAttack
from lightly_adv.testing import NORMALIZE
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm
from tests.attacks.small_classifier import labelled_images, trained

pyautoattack = pytest.importorskip("pyautoattack")

EPS: dict[Norm, float] = {"Linf": 2 / 255, "L2": 0.08}
SUITES: dict[Norm, str] = {"Linf": "autoattack-standard", "L2": "autoattack-l2"}
STEPS: dict[autoattack.Name, int] = {
    "apgd-ce": 30,
    "apgd-t": 10,
    "fab-t": 10,
    "square": 200,
}


def short(threat_model: ThreatModel) -> dict[str, Attack]:
    """The attacks of AutoAttack with few steps."""
    return {
        name: ReferenceAttack(threat_model, name=name, steps=steps)
        for name, steps in STEPS.items()
    }


def counts_of_the_original(
    model: nn.Module, images: Tensor, labels: Tensor, norm: Norm, log: Any
) -> list[int]:
    """How many images are right after each attack, as it logs them."""
    reference = pyautoattack.AutoAttack(model, norm=norm, eps=EPS[norm], seed=0)
    counts = {"apgd": STEPS["apgd-ce"], "apgd_targeted": STEPS["apgd-t"]}
    for attack, count in counts.items():
        made = type(getattr(reference, attack))(
            model, n_iter=count, norm=norm, eps=EPS[norm], device="cpu"
        )
        setattr(reference, attack, made)
    reference.fab.n_iter = STEPS["fab-t"]
    reference.square.n_queries = STEPS["square"]
    tracer = sys.gettrace()
    with torch.random.fork_rng(), log.at_level(logging.DEBUG, logger="auto-attack"):
        log.clear()
        try:
            reference.run_standard_evaluation(images, labels)
        finally:
            sys.settrace(tracer)
    text = "\n".join(record.getMessage() for record in log.records)
    found = re.findall(
        r"initial accuracy: (.*)%|robust accuracy after .*: (.*)% \(", text
    )
    return [round(len(images) * float(a or b) / 100) for a, b in found]


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_counts_are_those_of_pyautoattack_called_directly(
    norm: Norm, caplog: pytest.LogCaptureFixture
) -> None:
    model = trained()
    images, labels = labelled_images(40, seed=1)
    expected = counts_of_the_original(model, images, labels, norm, caplog)
    report = evaluate_robustness(
        model,
        [(images, labels)],
        ThreatModel(norm, EPS[norm]),
        suite=Suite("short", short),
    )
    found = [int(flag.sum()) for flag in report.flags.values()]
    assert found[-1] == expected[-1]
    assert found[0] > found[1] >= found[-1] > 0
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 1
    assert not report.notes


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_the_suites_have_the_numbers_of_the_standard_version(norm: Norm) -> None:
    model = trained(steps=1)
    suite = create_suite(SUITES[norm])
    attacks = suite.create_attacks(ThreatModel(norm, EPS[norm]))
    reference = pyautoattack.AutoAttack(model, norm=norm, eps=EPS[norm])
    assert list(attacks) == reference.attacks_to_run
    names = {"apgd-ce": "apgd", "apgd-t": "apgd_targeted", "fab-t": "fab"}
    for name, attack in attacks.items():
        assert isinstance(attack, ReferenceAttack)
        ours = attack._configured(model, 10, seed=0, device=torch.device("cpu"))
        theirs = vars(getattr(reference, names.get(name, name)))
        set_when_run = {"seed", "targeted", "device", "logger", "loss"}
        for key in theirs.keys() - set_when_run:
            assert vars(ours)[key] == theirs[key], (name, key)
    settings = attacks["square"].settings()
    assert settings["steps"] == 5000
    assert settings["pyautoattack"].startswith("0.2.")


@pytest.mark.parametrize("classes", [2, 3, 4, 6])
def test_few_classes(classes: int) -> None:
    model = trained(classes=classes)
    images, labels = labelled_images(24, seed=1, classes=classes)
    report = evaluate_robustness(
        model, [(images, labels)], ThreatModel(eps=4 / 255), suite=Suite("short", short)
    )
    assert 0 < report.robust_accuracy < report.clean_accuracy
    text = str(report)
    if classes == 2:
        assert (
            "note: the DLR loss takes 3 classes; with 2 classes apgd-t was left" in text
        )
        assert torch.equal(report.flags["apgd-t"], report.flags["apgd-ce"])
    elif classes == 3:
        assert "with 3 classes apgd-t ran with the untargeted one" in text
    else:
        assert f"apgd-t aimed at {classes - 1} wrong ones instead of 9" in text
    assert f"fab-t aimed at {classes - 1} wrong ones" in text


def attacked(attack: Attack, model: nn.Module, views: Tensor, labels: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    (found,) = attack(
        ClassificationObjective(model, labels), [views], generator=generator
    )
    return found


@pytest.mark.parametrize("name", autoattack.NAMES)
def test_nothing_is_left_behind(
    name: autoattack.Name, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # no gradient at all, of which it would warn
    views, labels = torch.rand(4, 3, 8, 8), torch.zeros(4).long()
    attack = ReferenceAttack(ThreatModel(eps=0.1), name=name, steps=3)

    def tracer(frame: Any, event: str, argument: Any) -> None:
        return None

    before, state = sys.gettrace(), torch.get_rng_state()
    sys.settrace(tracer)
    try:
        attacked(attack, model, views, labels)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(each.grad is None and each.requires_grad for each in model.parameters())
    assert not logging.getLogger("auto-attack").disabled
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", autoattack.NAMES)
def test_normalised_views_stay_in_the_ball_and_eps_0_moves_nothing(
    name: autoattack.Name,
) -> None:
    model = trained()
    mean, std = (torch.tensor(NORMALIZE[k])[:, None, None] for k in ("mean", "std"))

    class Restored(nn.Module):
        def forward(self, views: Tensor) -> Tensor:
            logits: Tensor = model(views * std + mean)
            return logits

    images, labels = labelled_images(20, seed=2)
    views = (images - mean) / std
    for norm, eps in EPS.items():
        threat_model = ThreatModel(norm, 4 * eps, NORMALIZE)
        attack = ReferenceAttack(threat_model, name=name, steps=20)
        with torch.inference_mode():
            found = attacked(attack, Restored(), views.clone(), labels.clone())
        assert not torch.equal(found, views)  # `check` has seen that it is in the ball
        still = ReferenceAttack(ThreatModel(norm, 0.0, NORMALIZE), name=name, steps=2)
        assert torch.equal(attacked(still, Restored(), views, labels), views)


def test_double_precision_and_seeds() -> None:
    model = copy.deepcopy(trained()).double()
    images, labels = labelled_images(20, seed=2)
    attack = ReferenceAttack(ThreatModel(eps=4 / 255), name="square", steps=20)
    first, again = (attacked(attack, model, images.double(), labels) for _ in range(2))
    assert first.dtype == torch.float64
    assert torch.equal(first, again)


def test_a_missing_package_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "lightly_adv.evaluation.autoattack.importlib.util.find_spec", lambda name: None
    )
    for suite in SUITES.values():
        with pytest.raises(ImportError) as caught:
            create_suite(suite)
        assert str(caught.value) == (
            f"the suite {suite!r} needs pyautoattack: "
            "pip install lightly-adv[autoattack]"
        )


def test_what_cannot_be_meant() -> None:
    with pytest.raises(
        ValueError, match=r"'autoattack-l2' is made for L2.*'autoattack-st"
    ):
        create_suite("autoattack-l2").create_attacks(ThreatModel("Linf", 0.1))
    with pytest.raises(ValueError, match="take 'pgd-20' for that"):
        create_suite("autoattack-standard").create_attacks(ThreatModel("L1", 1.0))
    with pytest.raises(ValueError, match="name='pgd' is unknown"):
        ReferenceAttack(ThreatModel(eps=0.1), name="pgd")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="square was given a function as objective"):
        ReferenceAttack(ThreatModel(eps=0.1), name="square")(
            lambda views: views[0].sum(), [torch.rand(2, 3, 8, 8)]
        )


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("name", STEPS)
def test_bounds_of_levels_give_what_those_of_0_and_1_give(
    norm: Norm, name: autoattack.Name
) -> None:
    images, labels = labelled_images(8, seed=1)
    model = trained()

    class OfLevels(nn.Module):
        def forward(self, levels: Tensor) -> Any:
            return model((levels + 255) / 510)

    def flags(attacked: nn.Module, shown: Tensor, threat_model: ThreatModel) -> Tensor:
        attack = ReferenceAttack(threat_model, name=name, steps=STEPS[name])
        suite = Suite("one", lambda _: {name: attack}, checks=())
        found = evaluate_robustness(
            attacked, [(shown, labels)], threat_model, suite=suite
        )
        return torch.stack(list(found.flags.values()))

    eps = EPS[norm]
    levels = ThreatModel(norm, 510 * eps, bounds=(-255, 255))
    found = flags(OfLevels(), 510 * images - 255, levels)
    assert torch.equal(found, flags(model, images, ThreatModel(norm, eps)))
