"""On an accelerator: what the other tests hold on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.isolation import rng
from tests import zoo
from tests.callbacks.smooth import ATTACK as CONTINUOUS
from tests.callbacks.smooth import Smooth

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

EPS = 0.05
ATTACK = PGD(ThreatModel(eps=EPS), steps=2)
IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)
DEVICE = "cuda"
ON_GPU: dict[str, Any] = {"accelerator": "gpu", "devices": 1}

# Those of the zoo that leave no tensors behind on the CPU.
MOVABLE = [zoo.Base, zoo.Momentum, zoo.PlainTensor, zoo.WeightNorm, zoo.Metrics]


@pytest.fixture(autouse=True)
def same_sums(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let kernels add up in the same order each time, in full precision."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("create", MOVABLE)
@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_at_eps_zero_training_is_the_same_bit_for_bit(
    create: Callable[[], pl.LightningModule], bn_mode: Any
) -> None:
    """Dropout there draws from the random stream of the GPU."""
    callback = AdversarialTraining(IDENTITY, bn_mode=bn_mode)
    plain = zoo.state(*zoo.fit(create, [], **ON_GPU))
    attacked = zoo.state(*zoo.fit(create, [callback], **ON_GPU))
    assert len(plain.values) > 30
    assert plain.changes(attacked) == []


@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_views_move_inside_the_ball_and_the_loss_rises(
    mode: Any, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    call = PGD.perturb_views

    def spy(self: PGD, objective: Any, views: Any, **kwargs: Any) -> list[Tensor]:
        found = call(self, objective, views, **kwargs)
        for view, moved in zip(views, found, strict=True):
            assert moved.device.type == DEVICE
            assert (moved - view).abs().max() <= EPS + 1e-6
            assert moved.min() >= 0
            assert moved.max() <= 1
        before, after = (float(objective(each).detach()) for each in (views, found))
        seen.append((before, after))
        return found

    monkeypatch.setattr(PGD, "perturb_views", spy)
    callback = AdversarialTraining(ATTACK, mode=mode)
    zoo.fit(Smooth, [callback], precision=precision, **ON_GPU)
    assert len(seen) == 2 * zoo.STEPS
    assert all(after > before for before, after in seen)


@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_it_trains_as_on_the_cpu(mode: Any) -> None:
    """Without noise, which each draws for itself, it is the same but for rounding."""
    attack = replace(CONTINUOUS, random_start=False)
    expected, found = (
        zoo.fit(Smooth, [AdversarialTraining(attack, mode=mode)], **options)[0]
        for options in ({}, ON_GPU)
    )
    for name, value in expected.state_dict().items():
        there = found.state_dict()[name].cpu()
        torch.testing.assert_close(there, value, rtol=1e-3, atol=1e-3)


def test_noise_is_drawn_on_the_device_and_repeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Tensor] = []
    call = PGD.perturb_views

    def spy(self: PGD, objective: Any, views: Any, *, generator: Any) -> list[Tensor]:
        assert generator.device.type == DEVICE
        seen.extend(call(self, objective, views, generator=generator))
        return seen[-len(views) :]

    monkeypatch.setattr(PGD, "perturb_views", spy)
    for _ in range(2):
        zoo.fit(Smooth, [AdversarialTraining(ATTACK)], **ON_GPU)
    half = len(seen) // 2
    assert half
    for first, again in zip(seen[:half], seen[half:], strict=True):
        assert torch.equal(first, again)


def test_the_random_stream_of_the_device_is_restored() -> None:
    device = torch.device(DEVICE)
    torch.manual_seed(0)
    expected = torch.rand(4, device=device)
    torch.manual_seed(0)
    with rng.forked(device):
        rng.reseed(1)
        torch.rand(9, device=device)
    assert torch.equal(torch.rand(4, device=device), expected)
