from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DistributedSampler

from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.evaluation.checks import Check, CheckContext
from lightly_adv.processes import rank_and_size
from lightly_adv.threat_model import ThreatModel
from tests.evaluation.counting import STEADY
from tests.evaluation.slow_evaluation import Wavering, evaluate, loader, suite

pytestmark = pytest.mark.skipif(
    not distributed.is_gloo_available() or sys.platform == "win32",
    reason="needs processes that talk over gloo",
)


def failing(context: CheckContext) -> Check:
    raise TypeError(f"not on {len(context.images)} images")


def outcome(rank: int, folder: str) -> dict[str, Any]:
    """What a process of two gets to see."""
    model = Wavering()
    uneven = 43  # the last batch has 3 images, and one process has a batch less

    def measure(**options: Any) -> Any:
        settings = {"suite": suite(), **options}
        batches = settings.pop("loader", None) or loader(count=uneven)
        return evaluate_robustness(model, batches, ThreatModel(eps=0.03), **settings)

    report = measure(state=Path(folder, "state"))
    seen = len(model.sizes)
    again = measure(state=Path(folder, "state"))
    content = {"report": report.to_json(), "again": again.to_json()}
    content |= {"seen": seen, "seen_again": len(model.sizes) - seen}
    sampler: DistributedSampler[Any] = DistributedSampler(
        loader().dataset, shuffle=False
    )
    errors: dict[str, dict[str, Any]] = {
        "sampler": {"loader": loader(sampler=sampler)},
        "broken": {"loader": loader() if rank == 0 else [(torch.rand(2, 3, 4, 4),)]},
        "one batch": {"loader": loader(count=5)},
        "check": {"checks": [failing]},
    }
    for name, options in errors.items():
        try:
            content[name] = measure(**options).num_samples
        except Exception as error:
            content[name] = f"{type(error).__name__}: {error}"
    return content


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    try:
        Path(folder, f"{rank}.json").write_text(json.dumps(outcome(rank, folder)))
    finally:
        distributed.destroy_process_group()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    spawn(work, args=(str(folder),), nprocs=2)  # type: ignore[no-untyped-call]
    return [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_find_what_one_does(outcomes: list[dict[str, Any]]) -> None:
    alone = Wavering()
    expected = evaluate_robustness(
        alone, loader(count=43), ThreatModel(eps=0.03), suite=suite()
    )
    assert [each["report"] for each in outcomes] == [expected.to_json()] * 2
    assert expected.num_samples == 43
    asked = 2 * len(outcomes)  # each asks twice how the model may be recognised
    asked += STEADY  # and there are two to ask whether it has moved
    assert sum(each["seen"] for each in outcomes) == len(alone.sizes) + asked
    assert all(each["seen"] > 0 for each in outcomes)


def test_each_process_resumes_its_own_share(outcomes: list[dict[str, Any]]) -> None:
    assert all(each["again"] == each["report"] for each in outcomes)
    to_recognise_it = 1 + STEADY
    assert [each["seen_again"] for each in outcomes] == [to_recognise_it] * 2


def test_a_process_may_have_nothing_to_do(outcomes: list[dict[str, Any]]) -> None:
    assert [each["one batch"] for each in outcomes] == [5, 5]


def test_a_loader_that_shards_by_itself_is_refused(
    outcomes: list[dict[str, Any]],
) -> None:
    for each in outcomes:
        assert "were given different images" in each["sampler"]
        assert "without a DistributedSampler" in each["sampler"]


def test_an_error_in_one_process_ends_all(outcomes: list[dict[str, Any]]) -> None:
    whole, broken = (each["broken"] for each in outcomes)
    assert broken.startswith("TypeError: a batch is a tuple of 1")
    assert whole.startswith("RuntimeError: process 1 could not evaluate its images")
    assert "a batch is a tuple of 1" in whole


def test_an_error_in_a_check_of_the_first_ends_all(
    outcomes: list[dict[str, Any]],
) -> None:
    first, second = (each["check"] for each in outcomes)
    assert first == "TypeError: not on 43 images"
    assert second.startswith("RuntimeError: process 0 could not do the work of all")
    assert "not on 43 images" in second


def test_without_a_group_there_is_one_process() -> None:
    assert rank_and_size() == (0, 1)
    assert evaluate(Wavering()).num_samples == 48
