"""The measurement on a GPU, in its small form on the CPU."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightly_adv import methods
from tests.dispatch import reads

SCRIPTS = Path(__file__).parents[2] / "examples" / "benchmarks"
SIBLINGS = ("interleaved", "operations", "attack_speed")
NAMES = (*SIBLINGS, "gpu_measure", "gpu_attacks", "gpu_training", "gpu")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("gpu")
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.mark.filterwarnings("ignore")
def test_the_small_form_runs_all_that_needs_no_gpu(script: Any, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    sections = ("resnet18_32", "vit_s14_98", "simclr_resnet50_224", "methods", "tests")
    options = ["--small", "--device", "cpu", "--out", str(out), "--sections", *sections]
    script.main(options)
    content = json.loads(out.read_text())
    assert content["machine"]["versions"]["torch"]
    rows = {(row["section"], row["name"]): row for row in content["rows"]}
    skipped = {
        (row["section"], row["name"]): row["reason"] for row in content["skipped"]
    }
    for section in ("resnet18_32", "vit_s14_98"):
        for group in ("fp32", "bf16", "bf16, channels_last"):
            for name in ("ideal loop", "ours", "ours, isolated", "ours, perturb"):
                row = rows[section, f"{group}: {name}"]
                assert row["images_per_second"] > 0
                assert set(row["host_reads"]) <= {"aten::_local_scalar_dense"}
        assert (section, "module, cuda_graph") in skipped
    # A step of the attack lacks the gradients of the weights: two thirds of a step. A
    # training step lacks that of the images.
    counted = rows["simclr_resnet50_224", "counted operations"]["ideal_to_clean"]
    assert counted == pytest.approx(1 + 2 * 2 / 3, abs=0.3)
    assert rows["simclr_resnet50_224", "Trainer, callback"]["to_ideal"] > 0
    # Each method has a row or a reason, and most have a row.
    for name in methods.list_methods():
        key = ("methods", f"{name}, resnet8_tiny at 32")
        assert key in rows or skipped[key]
    for name in ("pretext", "deacl", "dynacl", "robust_distillation"):
        assert rows["methods", f"{name}, resnet8_tiny at 32"]["images_per_second"] > 0
    assert skipped["tests", "pytest -m gpu"] == "needs CUDA"
    unknown = {key: reason for key, reason in skipped.items() if "section" in key[1]}
    assert not unknown, "a section failed as a whole"


def test_timed_attacks_wait_once(script: Any) -> None:
    attack_speed = sys.modules["attack_speed"]
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 2])
    runs = attack_speed.competitors(network, images, labels, steps=2)
    for name in ("ours", "ours, isolated", "ours, perturb"):
        with reads() as seen:
            runs[name]()
        assert seen.count == 1, (name, seen.places)


def test_a_section_ends_when_its_time_is_up(script: Any, tmp_path: Path) -> None:
    part, start = tmp_path / "parts", time.perf_counter()
    setting = script.Setting("cpu", small=True, budget=1.0)
    script.start_section("methods", setting, part, timeout=0.2)
    assert time.perf_counter() - start < 5
    [row] = [json.loads(line) for line in part.read_text().splitlines()]
    assert row["reason"] == "stopped after 0 s, its share of the time"


def test_all_sections_together_have_the_time_there_is(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def section(name: str, setting: Any, part: Path, timeout: float) -> None:
        given.append(timeout)
        part.touch()
        time.sleep(timeout)

    monkeypatch.setattr(script, "start_section", section)
    out = str(tmp_path / "gpu.json")
    script.main(["--device", "cpu", "--seconds", "0.5", "--out", out])
    assert len(given) == len(script.SHARES)
    assert sum(given) == pytest.approx(0.5, abs=0.1)


def test_an_error_is_a_reason_and_no_end(script: Any, tmp_path: Path) -> None:
    record = script.Record(tmp_path / "parts", section="here")

    def fail() -> None:
        raise RuntimeError("no kernel image\nmore")

    with record.case("one"):
        fail()
    [row] = [json.loads(line) for line in record.path.read_text().splitlines()]
    assert row["reason"] == "RuntimeError: no kernel image"


def test_batches_are_halved_until_they_fit(script: Any) -> None:
    measure = importlib.import_module("gpu_measure")
    tried: list[int] = []

    def run(batch: int) -> None:
        tried.append(batch)
        if batch > 16:
            raise torch.cuda.OutOfMemoryError("out of memory")
        if batch > 4:
            time.sleep(0.05)

    setting = measure.Setting("cpu", small=True, budget=1.0)
    assert measure.fitting_batch(setting, run, 64, limit=0.02) == 4
    assert tried == [64, 32, 16, 16, 8, 8, 4, 4]


def test_without_cuda_the_script_says_what_to_do(
    script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        script.main([])
    assert "--small --device cpu" in capsys.readouterr().err
