"""All the checks together: names, costs, and what happens when one fails."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]

from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.evaluation.checks import STANDARD, Check, CheckContext, inspection
from lightly_adv.evaluation.checks.check import name_of
from lightly_adv.evaluation.suites import pgd_20
from lightly_adv.threat_model import ThreatModel


class Counting(nn.Module):
    """A linear model that counts the images that go through it, both ways."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
        self.forward_count = self.backward_count = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forward_count += len(images)
        logits: Tensor = self.layers(images)
        if logits.requires_grad:
            logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def _count(self, grad: Tensor) -> None:
        self.backward_count += len(grad)


def context(*, robust: bool = True, **changes: Any) -> CheckContext:
    """Return 64 images that a model gets right, and holds or does not."""
    model = Counting()
    images = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(dim=1)
    model.forward_count = 0
    threat_model = ThreatModel(eps=0.001)
    found = CheckContext(
        model=model,
        images=images,
        labels=labels,
        correct=torch.ones(64, dtype=torch.bool),
        robust=torch.full((64,), robust),
        threat_model=threat_model,
        attacks=pgd_20().create_attacks(threat_model),
    )
    return dataclasses.replace(found, **changes)


def inspect(context: CheckContext, *checks: Any) -> list[Check]:
    with torch.no_grad():
        return inspection.inspect(context, checks or STANDARD, tqdm(disable=True))


def test_each_check_is_called_as_its_function() -> None:
    found = inspect(context())
    assert [each.name for each in found] == [name_of(c) for c in STANDARD]
    assert len({each.name for each in found}) == len(STANDARD)
    without_attack = inspect(context(robust=False))
    assert [each.name for each in without_attack] == [each.name for each in found]


def test_the_cost_is_what_the_docs_say() -> None:
    surrogate = Counting()
    given = context(surrogate=surrogate)
    inspect(given)
    model = given.model
    assert isinstance(model, Counting)
    # zero eps, zero gradients, large eps, and twice the steps
    assert model.backward_count == 24 * (1 + 1 + 10 + 40) == 1248
    # three times the same images, the ends of four attacks, squares, transfer
    assert model.forward_count - 1248 == 3 * 64 + 24 * (4 + 60 + 1) == 1752
    assert surrogate.backward_count == surrogate.forward_count == 24 * 20


def test_where_nearly_nothing_stands_little_is_done() -> None:
    given = context(robust=False)
    inspect(given)
    assert isinstance(given.model, Counting)
    assert given.model.backward_count == 24 * (1 + 1 + 10)


def test_without_a_right_image_and_at_eps_0_they_say_so() -> None:
    nothing = torch.zeros(64, dtype=torch.bool)
    wrong = context(robust=False)
    others = (wrong.labels + 1) % 3
    wrong = dataclasses.replace(wrong, correct=nothing, labels=others)
    found = {check.name: check for check in inspect(wrong)}
    skipped = {name for name, check in found.items() if check.status == "SKIP"}
    assert skipped == {
        "zero gradients", "large eps", "more steps", "restarts", "loss curve",
        "black box", "transfer",
    }  # fmt: skip
    assert "no image is correctly classified" in found["black box"].message
    still = ThreatModel(eps=0.0)
    at_0 = inspect(context(threat_model=still, attacks=pgd_20().create_attacks(still)))
    skipped = {check.name for check in at_0 if check.status == "SKIP"}
    assert skipped == {"more steps", "restarts", "loss curve", "black box", "transfer"}


def failing(context: CheckContext) -> Check:
    raise RuntimeError("no memory")


def test_one_that_fails_says_so_and_the_others_go_on() -> None:
    found = inspect(context(), failing, *STANDARD[:2])
    assert found[0] == Check("failing", "SKIP", "it could not be run: no memory")
    assert [check.status for check in found[1:]] == ["PASS", "PASS"]


def test_global_random_states_are_left_alone() -> None:
    def drawing(context: CheckContext) -> Check:
        return Check("drawing", "PASS", f"{torch.rand(1).item()}")

    given = context()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again = inspect(given, drawing, drawing)
    assert first == again
    assert torch.equal(torch.get_rng_state(), before)


def batch() -> tuple[Tensor, Tensor]:
    given = context()
    return given.images, given.labels


def test_own_checks_and_none() -> None:
    def many_images(context: CheckContext) -> Check:
        return Check("many images", "WARN", f"{len(context.images)}", "Take more.")

    def evaluate(**options: Any) -> Any:
        return evaluate_robustness(Counting(), [batch()], ThreatModel(), **options)

    report = evaluate(checks=[many_images])
    assert [check.name for check in report.checks] == ["probabilities", "many images"]
    assert report.warnings == ["many images: 64. Take more."]
    assert len(evaluate(checks=[]).checks) == 1
    assert len(evaluate().checks) == 1 + len(STANDARD)


def test_a_surrogate_that_nothing_looks_at_is_refused() -> None:
    def evaluate(**options: Any) -> None:
        evaluate_robustness(Counting(), [batch()], ThreatModel(), **options)

    for options in ({"suite": "smoke"}, {"checks": ()}):
        with pytest.raises(ValueError, match="no check that could use it"):
            evaluate(surrogate=Counting(), **options)
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        evaluate(surrogate="resnet18")


def test_both_models_are_left_as_they_were() -> None:
    model, surrogate = Counting(), Counting()
    surrogate.layers[1].train(False)
    report = evaluate_robustness(
        model, [batch()], ThreatModel(eps=0.01), surrogate=surrogate
    )
    assert model.training
    assert surrogate.training
    assert not surrogate.layers[1].training
    for each in (model, surrogate):
        assert all(p.requires_grad and p.grad is None for p in each.parameters())
    transfer = report.checks[-1]
    assert transfer.name == "transfer"
    assert transfer.status == "PASS"


def test_a_small_loader_batch_is_kept_to() -> None:
    seen: list[int] = []

    class Watched(Counting):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().forward(images)

    images, labels = batch()
    batches = list(zip(torch.split(images, 20), torch.split(labels, 20), strict=True))
    evaluate_robustness(Watched(), batches, ThreatModel(eps=0.01))
    assert max(seen) == 20


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_images(size: int) -> None:
    images, labels = (each[:size] for each in batch())
    report = evaluate_robustness(Counting(), [(images, labels)], ThreatModel(eps=0.01))
    assert report.warnings == []
    found = {check.name: check.status for check in report.checks}
    assert found["batch size"] == ("PASS" if size == 3 else "SKIP")
