from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightly_adv.evaluation import RobustnessReport, evaluate_robustness
from lightly_adv.evaluation.batches import BatchResult
from lightly_adv.evaluation.checks import STANDARD
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.checks.outputs import random_outputs
from lightly_adv.evaluation.state import State
from lightly_adv.evaluation.suites import apgd
from lightly_adv.threat_model import ThreatModel
from tests import damage
from tests.evaluation.counting import STEADY
from tests.evaluation.slow_evaluation import BATCHES, Wavering, evaluate, loader, suite

ROOT = Path(__file__).parents[2]


def done(path: Path) -> int:
    return len(json.loads(path.read_text())["batches"]) if path.exists() else 0


def killed(path: Path, *, after: int) -> None:
    """Evaluate in another process, and kill it after that many batches."""
    command = [sys.executable, "-m", "tests.evaluation.slow_evaluation", str(path)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        deadline = time.monotonic() + 120
        while done(path) < after:
            assert process.poll() is None, "it came to an end by itself"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_killed_evaluation_goes_on_to_the_same_report(tmp_path: Path) -> None:
    path = tmp_path / "state"
    killed(path, after=2)
    known = done(path)
    assert 2 <= known < BATCHES
    model = Wavering()
    resumed = evaluate(model, state=path, checks=STANDARD)
    expected = evaluate(Wavering(), checks=STANDARD)
    assert resumed.to_json() == expected.to_json()
    assert done(path) == BATCHES
    assert 0 < expected.robust_accuracy < expected.clean_accuracy
    whole = Wavering()
    evaluate(whole, checks=STANDARD)
    assert sum(model.sizes) < sum(whole.sizes)
    again = Wavering()
    kept = evaluate(again, state=path, checks=STANDARD)
    assert kept.to_json() == expected.to_json()
    assert again.sizes == [8] * (1 + STEADY)  # to recognise it


def test_a_kill_before_the_checks_loses_no_result(tmp_path: Path) -> None:
    path = tmp_path / "state"
    evaluate(Wavering(), state=path)
    model, whole = Wavering(), Wavering()
    resumed = evaluate(model, state=path, checks=STANDARD)
    expected = evaluate(whole, checks=STANDARD)
    assert resumed.to_json() == expected.to_json()
    assert len(resumed.checks) == 1 + len(STANDARD)
    assert any(text.startswith("random outputs") for text in resumed.warnings)
    results_only = Wavering()
    evaluate(results_only)
    assert model.done == whole.done - results_only.done + 1 + STEADY


def test_a_kill_while_the_file_is_written_leaves_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "state"
    evaluate(Wavering(), state=path)
    before = path.read_text()
    (tmp_path / "state.tmp").write_text(before[: len(before) // 2])
    assert evaluate(Wavering(), state=path).num_samples == 8 * BATCHES
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 1}, "seed"),
        ({"suite": "pgd-20"}, "attacks, suite"),
    ],
)
def test_the_state_of_another_evaluation_is_refused(
    tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    path = tmp_path / "state"
    evaluate(Wavering(), state=path)
    before = path.read_text()
    with pytest.raises(ValueError, match=f"differs in its {what}; give another file"):
        evaluate(Wavering(), state=path, **change)
    assert path.read_text() == before


def test_other_weights_and_threat_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    evaluate(Wavering(), state=path)
    model = Wavering()
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
    with pytest.raises(ValueError, match="differs in its model; give"):
        evaluate(model, state=path)
    with pytest.raises(ValueError, match="its attacks, threat model; give"):
        evaluate_robustness(
            Wavering(), loader(), ThreatModel(eps=0.02), suite=suite(), state=path
        )


def test_other_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    evaluate(Wavering(), state=path)
    model, threat_model = Wavering(), ThreatModel(eps=0.03)
    shuffled = loader(shuffle=True, generator=torch.Generator().manual_seed(5))
    for other in (shuffled, loader(batch_size=6)):
        with pytest.raises(ValueError, match=r"batch 0 does not hold .* shuffle=False"):
            evaluate_robustness(model, other, threat_model, suite=suite(), state=path)


def test_a_loader_that_shuffles_by_the_global_seed_may_do_so(tmp_path: Path) -> None:
    path = tmp_path / "state"
    reports = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found = evaluate_robustness(
            Wavering(), loader(shuffle=True), ThreatModel(eps=0.03), state=path
        )
        reports.append(found.to_json())
    assert reports[0] == reports[1]


@pytest.mark.parametrize("text", ["", '{"format": 1, "identi', "[]", '"yes"', "\x00"])
def test_files_of_another_kind_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state"
    path.write_text(text)
    with pytest.raises(ValueError, match="the state of an evaluation"):
        State(path, {})
    assert path.read_text() == text


def test_other_formats_and_missing_folders(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text('{"format": 7, "identity": {}, "batches": {}}')
    with pytest.raises(ValueError, match="has format 7, expected 6: another version"):
        State(path, {})
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        State(tmp_path / "none" / "state", {})


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "state"
    flags = {"clean": torch.tensor([True, True]), "a": torch.tensor([False, True])}
    values = {
        "labels": torch.tensor([6, 0]),
        "drift": torch.tensor([0.1, 1.0], dtype=torch.float64),
        "matrix": torch.tensor([[[0.5, -2.0]]], dtype=torch.float64),
    }
    State(path, {"bounds": (0, 1)}).add(3, "x", BatchResult(flags, values))
    again = State(path, {"bounds": (0, 1)})
    known = again.find(3, "x")
    assert again.find(0, "x") is None
    assert known is not None
    for written, read in ((flags, known.flags), (values, known.values)):
        assert list(written) == list(read)
        for name, expected in written.items():
            assert torch.equal(read[name], expected)
            assert read[name].dtype == expected.dtype


def written(path: Path) -> State:
    """Write a state with two batches, answers and checks."""
    labels = torch.tensor([6, 0])
    for index in (0, 1):
        flags = {"clean": torch.tensor([True, True]), "z": torch.tensor([True, False])}
        flags["a"] = torch.tensor([False, False])
        state = State(path, {"bounds": (0, 1)})
        state.recognise("model", lambda: torch.ones(2, 3))
        values = {"labels": labels, "attacked": labels, "classes": torch.tensor([3])}
        state.add(index, "x", BatchResult(flags, values))
    state.add_checks([Check("more steps", "PASS", "0 of 4", values={"n": 4.0})], "x")
    return state


def asked(path: Path) -> tuple[BatchResult | None, list[Check] | None]:
    state = State(path, {"bounds": (0, 1)})
    state.recognise("model", lambda: torch.ones(2, 3))
    state.find(1, "x")
    return state.find(0, "x"), state.find_checks(["more steps"], "x")


def test_order_of_keys_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state"
    written(path)
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    result, checks = asked(path)
    assert result is not None
    assert result.flags.keys() == {"clean", "z", "a"}
    assert not result.robust.any()
    assert checks is not None


def test_whatever_is_damaged_is_told_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "state"
    written(path)
    content = json.loads(path.read_text())
    told = damage.complaints(path, content, lambda: asked(path))
    assert len(told) > 200
    assert all(str(path) in text and "\n" not in text for text in told)


def test_results_under_other_attacks_do_not_go_on(tmp_path: Path) -> None:
    state = written(tmp_path / "state")
    flags = {"clean": torch.tensor([True]), "other": torch.tensor([True])}
    with pytest.raises(ValueError, match="results under other attacks than clean, o"):
        state.add(2, "x", BatchResult(flags))


def test_other_layers_without_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    model = nn.Sequential(nn.Flatten(), nn.Tanh())
    evaluate(model, state=path)
    for other in (nn.Flatten(), nn.Sequential(nn.Flatten(), nn.Softsign())):
        with pytest.raises(ValueError, match="differs in its model"):
            evaluate(other, state=path)


class Shifted(nn.Module):
    """Has something in an attribute that no digest of weights and layers sees."""

    def __init__(self, mean: float, *, classes: int = 4) -> None:
        super().__init__()
        self.model = Wavering()
        self.mean = mean
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images - self.mean)
        return F.pad(logits, (0, self.classes - 4))


def test_models_that_answer_otherwise_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    expected = evaluate(Shifted(0.1), state=path)
    before = path.read_text()
    for other in (Shifted(0.0), Shifted(0.3), Shifted(0.1, classes=5)):
        with pytest.raises(ValueError, match=r"another model, .* other outputs for"):
            evaluate(other, state=path)
    assert path.read_text() == before
    assert evaluate(Shifted(0.1 + 1e-6), state=path).to_json() == expected.to_json()


def test_another_surrogate_is_refused(tmp_path: Path) -> None:
    def run(mean: float) -> None:
        evaluate(
            Wavering(),
            state=tmp_path / "state",
            checks=(random_outputs,),
            surrogate=Shifted(mean),
        )

    run(0.1)
    run(0.1)
    with pytest.raises(ValueError, match=r"belongs to another surrogate, .* outputs"):
        run(0.3)


class Unseeded(nn.Module):
    """Draws numbers that the global seed knows nothing of."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.model = Wavering()
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        noise = 0.5 * torch.randn(images.shape, generator=self.generator)
        logits: Tensor = self.model(images + noise)
        return logits


def test_a_model_with_numbers_of_its_own_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state"
    expected = evaluate(Unseeded(0), state=path)
    assert evaluate(Unseeded(1), state=path).to_json() == expected.to_json()


def test_checks_of_fewer_images_are_run_again(tmp_path: Path) -> None:
    def run(count: int, state: Path | None = None) -> RobustnessReport:
        few = apgd(steps=3, max_samples=count)
        return evaluate(Wavering(), suite=few, checks=(random_outputs,), state=state)

    for count in (16, 48):
        report = run(count, tmp_path / "state")
        assert report.to_json() == run(count).to_json()
        assert report.checks[-1].values["of"] == count
