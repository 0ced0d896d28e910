"""On an accelerator: evaluations find what they find on the CPU."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from lightly_adv.attacks import Attack
from lightly_adv.evaluation import Suite, evaluate_robustness, suites
from lightly_adv.evaluation.autoattack import NAMES, ReferenceAttack
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm
from tests.attacks.small_classifier import labelled_images, trained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

BALLS: list[tuple[Norm, float]] = [("Linf", 2 / 255), ("L2", 0.08)]


def reference(threat_model: ThreatModel) -> dict[str, Attack]:
    return {name: ReferenceAttack(threat_model, name=name, steps=20) for name in NAMES}


@pytest.mark.parametrize(("norm", "eps"), BALLS)
@pytest.mark.parametrize("name", ["apgd", "autoattack"])
def test_the_device_does_not_matter(
    norm: Norm, eps: float, name: str, tmp_path: Path
) -> None:
    if name == "autoattack":
        pytest.importorskip("pyautoattack")
    suite = suites.apgd(steps=20) if name == "apgd" else Suite(name, reference)
    images, labels = labelled_images(60, seed=1)
    batches = [(images[:40], labels[:40]), (images[40:], labels[40:])]
    threat_model, model = ThreatModel(norm, eps), copy.deepcopy(trained())
    state = torch.cuda.get_rng_state()
    on_gpu, again, on_cpu = (
        evaluate_robustness(
            model, batches, threat_model, suite=suite, device=device, state=file
        )
        for device, file in (
            ("cuda", tmp_path / "state"),
            ("cuda", tmp_path / "state"),
            ("cpu", None),
        )
    )
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert again.to_json() == on_gpu.to_json()
    for attack, flags in on_cpu.flags.items():
        assert int((on_gpu.flags[attack] != flags).sum()) <= 1, attack
    assert 0 < on_gpu.robust_accuracy < on_gpu.clean_accuracy
