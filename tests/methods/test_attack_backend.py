"""The modules of this package, with attacks that are recorded and repeated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightly_adv import PGD, ThreatModel
from lightly_adv.methods import (
    AdversarialModule,
    PretextEnsembleModule,
    PretextModule,
    RobustClassifier,
)
from lightly_adv.training.backends import AttackRunner
from tests.methods.published import METHODS, Published
from tests.training.tape import Tape

pytestmark = pytest.mark.filterwarnings("ignore")

ATTACK = PGD(ThreatModel(eps=0.05), steps=2)
OPTIONS: dict[str, Any] = {"backbone": "resnet8_tiny", "attack": ATTACK, "lr": 0.01}

MODULES: dict[str, Callable[[], AdversarialModule]] = {
    "rotation": lambda: PretextModule("rotation", **OPTIONS),
    "jigsaw": lambda: PretextModule("jigsaw", **OPTIONS, weight=1.0),
    "ensemble": lambda: PretextEnsembleModule(**OPTIONS, diversity_weight=0.1),
    "classifier": lambda: RobustClassifier(**OPTIONS, num_classes=4),
    "trades": lambda: RobustClassifier(
        **OPTIONS, num_classes=4, criterion="trades", trainable="head"
    ),
}


def fitted(
    create: Callable[[], AdversarialModule], runner: AttackRunner
) -> AdversarialModule:
    pl.seed_everything(0, verbose=False)
    module = create()
    module._run_attack = runner
    images = torch.rand(36, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    data: Any = [(image, at % 4) for at, image in enumerate(images)]
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(data, batch_size=8))
    return module


@pytest.mark.parametrize("name", MODULES)
def test_training_is_the_same_bit_for_bit(name: str) -> None:
    tapes: list[Tape] = []

    def create() -> Tape:
        tapes.append(Tape())
        return tapes[-1]

    recorded = fitted(MODULES[name], AttackRunner("cuda_graph", create=create))
    expected = fitted(MODULES[name], AttackRunner())
    # Of 5 batches the first comes as it is, the last is a smaller one.
    assert [tape.repeats for tape in tapes] == [3]
    for key, value in expected.state_dict().items():
        assert torch.equal(recorded.state_dict()[key], value), key


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_steps_of_published_methods_are_the_same_bit_for_bit(method: Published) -> None:
    def losses(runner: AttackRunner) -> list[Tensor]:
        module = method.create(steps=2)
        module._run_attack = runner
        found = []
        for number in range(4):
            views = method.batch()
            torch.manual_seed(number)
            batch = (views, torch.arange(len(views[0])))
            found.append(module.training_step(batch, 0).detach())
        return found

    tape = Tape()
    recorded = losses(AttackRunner("cuda_graph", create=lambda: tape))
    assert torch.equal(torch.stack(recorded), torch.stack(losses(AttackRunner())))
    assert tape.repeats == 3


@pytest.mark.parametrize("name", MODULES)
def test_the_backend_is_a_choice(name: str) -> None:
    module = MODULES[name]()
    assert module.attack_backend == "auto"
    module.attack_backend = "compile"
    assert copy.deepcopy(module).attack_backend == "compile"
    with pytest.raises(ValueError, match=r"attack_backend='gpu' is unknown; use one"):
        module.attack_backend = "gpu"  # type: ignore[assignment]


@pytest.mark.parametrize(
    "create",
    [
        lambda **options: PretextModule("rotation", **OPTIONS, **options),
        lambda **options: PretextEnsembleModule(**OPTIONS, **options),
        lambda **options: RobustClassifier(**OPTIONS, **options),
    ],
)
def test_a_machine_without_a_gpu_is_told(create: Callable[..., Any]) -> None:
    module = create(attack_backend="cuda_graph")
    batch = torch.rand(4, 3, 32, 32), torch.arange(4)
    with pytest.raises(ValueError, match=r"on cpu; .*attack_backend='eager'"):
        module.training_step(batch, 0)
