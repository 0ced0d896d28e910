from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import PGD
from lightly_adv.evaluation import (
    evaluate_encoder,
    evaluate_robustness,
    measure_transfer,
)
from lightly_adv.evaluation.corruptions import evaluate_corruptions
from lightly_adv.evaluation.isolated_model import IsolatedModel
from lightly_adv.evaluation.unforeseen import evaluate_unforeseen
from lightly_adv.threat_model import ThreatModel

SIDE, EPS = 16, 2 / 255
THREAT_MODEL = ThreatModel(eps=EPS)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(3 * SIDE * SIDE, 4)
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.mean: Tensor

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head((images - self.mean).flatten(1))
        return logits


class Adapting(Linear):
    """Moves a buffer in place."""

    def forward(self, images: Tensor) -> Tensor:
        found = images.detach().mean((0, 2, 3))[:, None, None]
        self.mean.mul_(0.5).add_(found, alpha=0.5)
        logits: Tensor = self.head((images - self.mean).flatten(1))
        return logits


class Replacing(Linear):
    """Puts other tensors into place, and counts."""

    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        found = images.detach().mean((0, 2, 3))[:, None, None]
        self.mean = 0.5 * self.mean + 0.5 * found
        self.calls += 1
        self.last = images.detach()
        self.head.weight.data = self.head.weight.data * (1 + 0.1 * self.calls)
        return super().forward(images)


class Writing(Linear):
    """Writes into its input."""

    def forward(self, images: Tensor) -> Tensor:
        images.sub_(0.5).mul_(2)
        return super().forward(images)


class Waking(Linear):
    """Goes into train mode and stays there."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        self.norm.train()
        return super().forward(self.norm(images))


def observed() -> nn.Module:
    from torch.ao import quantization

    network = nn.Sequential(quantization.QuantStub(), Linear().head)
    model = nn.Sequential(nn.Flatten(), network, quantization.DeQuantStub())
    model.qconfig = quantization.get_default_qat_qconfig("fbgemm")  # type: ignore[no-untyped-call]
    prepared: nn.Module = quantization.prepare_qat(model.train())  # type: ignore[no-untyped-call]
    prepared(torch.rand(16, 3, SIDE, SIDE))
    return prepared.eval()


def in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return Linear()


def scripted() -> nn.Module:
    found: nn.Module = torch.jit.script(Adapting().eval())
    return found


def frozen() -> nn.Module:
    found: nn.Module = torch.jit.freeze(torch.jit.script(Linear().eval()))
    return found


MODELS: dict[str, Callable[[], nn.Module]] = {
    "plain": Linear,
    "adapting": Adapting,
    "replacing": Replacing,
    "writing": Writing,
    "waking": Waking,
    "observed": observed,
    "inference mode": in_inference_mode,
    "scripted": scripted,
    "frozen script": frozen,
}


def robustness(model: nn.Module, loader: Any) -> Any:
    return evaluate_robustness(model, loader, THREAT_MODEL, checks=())


def strong(model: nn.Module, loader: Any) -> Any:
    from lightly_adv.evaluation.suites import apgd

    return evaluate_robustness(
        model, loader, THREAT_MODEL, suite=apgd(steps=5), checks=()
    )


def unforeseen(model: nn.Module, loader: Any) -> Any:
    return evaluate_unforeseen(model, loader, ["l2", "fog"], steps=2)


def corruptions(model: nn.Module, loader: Any) -> Any:
    return evaluate_corruptions(model, loader, ["fog", "contrast"], severities=[1, 5])


def encoder(model: nn.Module, loader: Any) -> Any:
    return evaluate_encoder(model, loader, THREAT_MODEL, steps=3)


def transfer(model: nn.Module, loader: Any) -> Any:
    attack = PGD(THREAT_MODEL, steps=3)
    return measure_transfer({"one": model, "other": Linear()}, loader, attack)


PATHS = [robustness, strong, unforeseen, corruptions, encoder, transfer]


def state_of(model: nn.Module) -> dict[str, Any]:
    tensors = {
        name: value.clone()
        for name, value in [*model.named_parameters(), *model.named_buffers()]
    }
    facts = {
        f"{name}.{key}": value
        for name, part in model.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, bool | int)
    }
    needed = {f"{n}.grad": p.requires_grad for n, p in model.named_parameters()}
    return {**tensors, **facts, **needed}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key])
        if isinstance(value, Tensor)
        else value == other[key]
        for key, value in one.items()
    )


def data(model: nn.Module) -> tuple[Tensor, Tensor]:
    images = torch.rand(12, 3, SIDE, SIDE, generator=Generator().manual_seed(1))
    isolated = IsolatedModel(model)
    with isolated.held(), torch.no_grad():
        return images, isolated(images).argmax(dim=1)


@pytest.mark.parametrize("path", PATHS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_an_evaluation_leaves_model_and_images_as_they_were(
    name: str, path: Callable[[nn.Module, Any], Any]
) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    images, labels = data(model)
    before, kept = state_of(model), images.clone()
    parameters, buffers = list(model.parameters()), list(model.buffers())
    path(model, [(images[:8], labels[:8]), (images[8:], labels[8:])])
    assert same(before, state_of(model))
    assert torch.equal(images, kept)
    if not isinstance(model, torch.jit.ScriptModule):
        assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
        assert all(a is b for a, b in zip(buffers, model.buffers(), strict=True))


@pytest.mark.parametrize("name", ["adapting", "replacing", "writing", "scripted"])
def test_results_do_not_depend_on_the_order_of_the_batches(name: str) -> None:
    model = MODELS[name]()
    images, labels = data(model)
    batches = [(images[row : row + 4], labels[row : row + 4]) for row in (0, 4, 8)]
    one, other = (
        evaluate_robustness(model, each, THREAT_MODEL, suite=still(), checks=()).flags[
            "pgd"
        ]
        for each in (batches, batches[::-1])
    )
    assert torch.equal(one, torch.cat(torch.split(other, 4)[::-1]))


def still() -> Any:
    from lightly_adv.evaluation import Suite

    return Suite("still", lambda t: {"pgd": PGD(t, steps=5, random_start=False)})


def test_an_adapting_model_is_attacked_in_the_state_that_it_is_judged_in() -> None:
    model = Adapting()
    images, labels = data(model)
    report = evaluate_robustness(
        model, [(images, labels)], THREAT_MODEL, suite=still(), checks=()
    )

    def ask(shown: Tensor) -> Tensor:
        model.mean.zero_()
        logits: Tensor = model(shown)
        return logits

    found = images.clone()
    for _ in range(5):
        found.requires_grad_()
        loss = nn.functional.cross_entropy(ask(found), labels, reduction="sum")
        (grad,) = torch.autograd.grad(loss, found)
        found = (found + EPS / 4 * grad.sign()).detach()
        found = (images + (found - images).clamp(-EPS, EPS)).clamp(0, 1)
    expected = ask(found).argmax(dim=1) == labels
    assert torch.equal(report.flags["pgd"], expected)
    assert 0 < int(expected.sum()) < len(labels)


def test_what_a_model_draws_goes_on_and_is_put_back() -> None:
    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.torch = Generator().manual_seed(0)
            self.numpy = np.random.default_rng(0)
            self.legacy = np.random.RandomState(0)
            self.python = random.Random(0)

        def forward(self, images: Tensor) -> Tensor:
            drawn = [
                float(torch.rand(1, generator=self.torch)),
                self.numpy.random(),
                self.legacy.random_sample(),
                self.python.random(),
            ]
            return torch.tensor([drawn])

    model, images = Drawing(), torch.rand(1, 3, 2, 2)
    isolated = IsolatedModel(model)
    with isolated.held():
        first, second = isolated(images), isolated(images)
    assert (first != second).all()
    assert torch.equal(model(images), first)


def test_it_is_to_be_held() -> None:
    with pytest.raises(RuntimeError, match="held"):
        IsolatedModel(nn.Identity())(torch.rand(1))


def test_a_checkpoint_is_run_again_on_what_it_was_run_on() -> None:
    class Checkpointed(Adapting):
        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = torch.utils.checkpoint.checkpoint(
                super().forward, images, use_reentrant=False
            )
            return found

    model = Checkpointed()
    images, labels = data(model)
    before = state_of(model)
    one, other = (
        evaluate_robustness(
            each, [(images, labels)], THREAT_MODEL, suite=still(), checks=()
        )
        for each in (model, Adapting())
    )
    assert same(before, state_of(model))
    assert torch.equal(one.flags["clean"], other.flags["clean"])
