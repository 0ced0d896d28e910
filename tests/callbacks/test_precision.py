"""Mixed and half precision through the Trainer, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.functional import precision
from tests import zoo
from tests.callbacks.smooth import Smooth

EPS = 0.05
IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)
ATTACK = PGD(ThreatModel(eps=EPS), steps=2)

pytestmark = pytest.mark.filterwarnings("ignore")

PRECISIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "bf16-mixed": lambda: {"precision": "bf16-mixed"},
    # On the CPU the Trainer makes bfloat16 of precision="16-mixed"; the plugin not.
    "16-mixed": lambda: {"plugins": [MixedPrecision("16-mixed", device="cpu")]},
    "bf16-true": lambda: {"precision": "bf16-true"},
    "16-true": lambda: {"precision": "16-true"},
    "64-true": lambda: {"precision": "64-true"},
}
DTYPES = {
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
    "bf16-true": torch.bfloat16,
    "16-true": torch.float16,
    "64-true": torch.float64,
}
every_precision = pytest.mark.parametrize("precision", PRECISIONS)


class Everything(zoo.Momentum, zoo.Metrics):
    """Moving averages, a memory bank, BatchNorm, dropout, metrics and counters."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        zoo.Metrics.training_step(self, batch, batch_idx)
        return super().training_step(batch, batch_idx)


@every_precision
def test_at_eps_zero_training_is_the_same_bit_for_bit(precision: str) -> None:
    plain = zoo.state(*zoo.fit(Everything, [], **PRECISIONS[precision]()))
    callback = AdversarialTraining(IDENTITY)
    attacked = zoo.state(*zoo.fit(Everything, [callback], **PRECISIONS[precision]()))
    assert len(plain.values) > 30
    assert plain.changes(attacked) == []


@every_precision
@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_views_move_inside_the_ball_and_the_loss_rises(
    precision: str, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    dtypes: set[torch.dtype] = set()
    call = PGD.perturb_views

    def spy(self: PGD, objective: Any, views: Any, **kwargs: Any) -> list[Tensor]:
        found = call(self, objective, views, **kwargs)
        # Where images themselves are coarse, so is the result.
        slack = 2 * torch.finfo(views[0].dtype).eps
        for view, moved in zip(views, found, strict=True):
            assert moved.dtype == view.dtype
            assert (moved.double() - view.double()).abs().max() <= EPS + slack
            assert moved.min() >= 0
            assert moved.max() <= 1
        before, after = (float(objective(each).detach()) for each in (views, found))
        seen.append((before, after))
        return found

    class Watching(Smooth):
        def forward(self, images: Tensor) -> Tensor:
            embedding = super().forward(images)
            dtypes.add(embedding.dtype)
            return embedding

    monkeypatch.setattr(PGD, "perturb_views", spy)
    callback = AdversarialTraining(ATTACK, mode=mode)
    zoo.fit(Watching, [callback], **PRECISIONS[precision]())
    assert dtypes == {DTYPES[precision]}
    assert len(seen) == 2 * zoo.STEPS
    assert all(after > before for before, after in seen)


class Faint(Smooth):
    """Its loss is scaled down so far that fp16 has no gradients of this size."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * 1e-7


@pytest.mark.parametrize(
    ("scale", "expected"), [(1.0, 0.0), (precision.FP16_SCALE, 1.0)]
)
def test_under_fp16_the_attack_scales_its_loss(
    scale: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unscaled, gradients underflow to zero, and the pixels stay where they are."""
    monkeypatch.setattr(precision, "FP16_SCALE", scale)
    moved: list[float] = []
    call = PGD.perturb_views

    def spy(self: PGD, objective: Any, views: Any, **kwargs: Any) -> list[Tensor]:
        found = call(self, objective, views, **kwargs)
        moved.extend(
            float((new != old).float().mean())
            for new, old in zip(found, views, strict=True)
        )
        return found

    monkeypatch.setattr(PGD, "perturb_views", spy)
    attack = PGD(ThreatModel(eps=EPS), steps=1, random_start=False)
    zoo.fit(
        Faint,
        [AdversarialTraining(attack, verify="off")],
        max_steps=1,
        **PRECISIONS["16-mixed"](),
    )
    assert moved == pytest.approx([expected, expected], abs=0.01)


@pytest.mark.filterwarnings("default")
def test_on_the_cpu_the_trainer_makes_bfloat16_of_16_mixed() -> None:
    """As docs/precision_and_processes.md says."""
    with pytest.warns(UserWarning, match=r"Using `precision='bf16-mixed'` instead"):
        trainer = pl.Trainer(
            precision="16-mixed",
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
        )
    assert trainer.precision == "bf16-mixed"
