from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.callbacks import RobustValidation
from lightly_adv.evaluation import evaluate_robustness, suites
from lightly_adv.threat_model import ThreatModel

THREAT_MODEL = ThreatModel(eps=0.06)
SUITE = suites.pgd(steps=3)
dtypes: set[torch.dtype] = set()
"""Of logits; outside, as validation leaves a module and its class as they were."""


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.model = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(48, 2))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        dtypes.clear()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        dtypes.add(logits.dtype)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class History(pl.Callback):
    """Keeps the logged value of every validation."""

    def __init__(self) -> None:
        self.values: list[float | None] = []

    def on_validation_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        if not trainer.sanity_checking:
            value = trainer.callback_metrics.get("val_robust_top1")
            self.values.append(None if value is None else float(value))


def dataset(count: int = 40, *, seed: int = 1) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 4, 4, generator=generator)
    return TensorDataset(images, torch.randint(2, (count,), generator=generator))


def loader(**changes: Any) -> DataLoader[Any]:
    return DataLoader(dataset(**changes), batch_size=16)


def ready(*batches: Any) -> DataLoader[Any]:
    """Lightning takes a list for several loaders, so batches need a loader."""
    return DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]


def trainer(*callbacks: pl.Callback, **changes: Any) -> pl.Trainer:
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "callbacks": list(callbacks),
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "logger": False,
        "max_epochs": 1,
    }
    return pl.Trainer(**{**options, **changes})


def robust_validation(**changes: Any) -> RobustValidation:
    return RobustValidation(THREAT_MODEL, **{"suite": SUITE, **changes})


def validated(batches: Any, callback: RobustValidation, **changes: Any) -> float:
    model = Classifier()
    trainer(callback, **changes).validate(model, batches, verbose=False)
    assert callback.state_dict()["last_value"] is not None
    return float(callback.state_dict()["last_value"])


def expected(batches: Any, **changes: Any) -> float:
    suite = suites.pgd(steps=3, **changes)
    report = evaluate_robustness(Classifier(), batches, THREAT_MODEL, suite=suite)
    assert 0 < report.robust_accuracy < report.clean_accuracy
    return report.robust_accuracy


def test_the_value_is_that_of_evaluate_robustness() -> None:
    model, history = Classifier(), History()
    trainer(robust_validation(), history).validate(model, loader(), verbose=False)
    assert history.values == pytest.approx([expected(loader())])


def test_file_names_are_left_behind() -> None:
    images, labels = dataset().tensors
    batches = ready((images, labels, ["a.png"] * len(images)))
    assert validated(batches, robust_validation()) == expected(batches)


def test_max_samples_takes_the_first_images() -> None:
    value = validated(loader(), robust_validation(max_samples=20))
    assert value == expected(loader(), max_samples=20)
    assert value == validated(
        loader(), robust_validation(suite=suites.pgd(steps=3, max_samples=20))
    )
    more = robust_validation(suite=suites.pgd(steps=3, max_samples=5), max_samples=20)
    assert validated(loader(), more) == value


def test_one_loader_of_several_is_attacked() -> None:
    loaders = [loader(), loader(seed=2)]
    value = validated(loaders, robust_validation(dataloader_idx=1))
    assert value == expected(loaders[1])
    with pytest.raises(ValueError, match="validation loader 2 gave none"):
        validated(loaders, robust_validation(dataloader_idx=2))


def test_checkpoints_are_chosen_by_it(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(
        tmp_path, monitor="val_robust_top1", mode="max", save_top_k=1
    )
    history = History()
    trainer(robust_validation(), history, checkpoint, max_epochs=3).fit(
        Classifier(), loader(), loader()
    )
    best = checkpoint.best_model_score
    assert best is not None
    assert float(best) == max(value for value in history.values if value is not None)


def test_between_two_attacks_the_last_value_is_logged_again() -> None:
    callback, history = robust_validation(every_n_epochs=2), History()
    trainer(callback, history, max_epochs=5).fit(Classifier(), loader(), loader())
    first, again, third, once_more, _ = history.values
    assert None not in history.values
    assert first == again
    assert third == once_more
    assert callback.state_dict()["last_epoch"] == 4


def test_epochs_count_and_not_validations() -> None:
    """Validated in epochs 1, 3, 5: at least two epochs lie between any two."""
    callback = robust_validation(every_n_epochs=2)
    epochs = []

    class Watch(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
            epochs.append(callback.state_dict()["last_epoch"])

    trainer(callback, Watch(), max_epochs=6, check_val_every_n_epoch=2).fit(
        Classifier(), loader(), loader()
    )
    assert [epoch for epoch in epochs if epoch is not None] == [1, 3, 5]


def test_nothing_is_attacked_in_the_sanity_check() -> None:
    model, callback = Classifier(), robust_validation()
    trainer(callback, max_epochs=0).fit(model, loader(), loader())
    trainer(callback, limit_train_batches=0).fit(model, loader(), loader())
    assert callback.state_dict() == {"last_value": None, "last_epoch": None}
    assert not dtypes


def test_training_is_the_same_with_and_without() -> None:
    states = []
    for callbacks in ([], [robust_validation()]):
        model = Classifier()
        torch.manual_seed(0)
        trainer(*callbacks, max_epochs=2).fit(model, loader(), loader())
        states.append((model.state_dict(), torch.get_rng_state()))
    for key, value in states[0][0].items():
        assert torch.equal(value, states[1][0][key])
    assert torch.equal(states[0][1], states[1][1])


def test_it_computes_in_float32_under_mixed_precision() -> None:
    model = Classifier()
    trainer(robust_validation(), precision="bf16-mixed").validate(
        model, loader(), verbose=False
    )
    assert dtypes == {torch.float32}


def test_the_last_value_survives_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    first = trainer(robust_validation(every_n_epochs=10), max_epochs=2)
    first.fit(Classifier(), loader(), loader())
    first.save_checkpoint(path)
    value = float(first.callback_metrics["val_robust_top1"])
    callback, history = robust_validation(every_n_epochs=10), History()
    trainer(callback, history, max_epochs=3).fit(
        Classifier(), loader(), loader(), ckpt_path=str(path)
    )
    assert history.values == [value]
    assert callback.state_dict() == {"last_value": value, "last_epoch": 0}


def test_counts_are_summed_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    reduced = []

    def reduce(counts: Tensor, *, reduce_op: str) -> Tensor:
        if counts.dim() == 0:  # Lightning itself sums the lengths of loaders
            return counts
        reduced.append((counts.tolist(), reduce_op))
        return counts + torch.tensor([5, 8])  # what another process found

    callback = robust_validation()
    run = trainer(callback)
    monkeypatch.setattr(run.strategy, "reduce", reduce)
    run.validate(Classifier(), loader(), verbose=False)
    (((right, total), operation),) = reduced
    assert (total, operation) == (40, "sum")
    assert callback.state_dict()["last_value"] == 100 * (right + 5) / 48


def test_two_of_them_keep_their_states_apart() -> None:
    callbacks = [robust_validation(), robust_validation(name="val_robust_2_top1")]
    run = trainer(*callbacks)
    run.validate(Classifier(), loader(), verbose=False)
    assert len({callback.state_key for callback in callbacks}) == 2
    assert {"val_robust_top1", "val_robust_2_top1"} <= set(run.callback_metrics)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="every_n_epochs=0 is too small"):
        robust_validation(every_n_epochs=0)
    with pytest.raises(ValueError, match="Unknown suite 'pdg-20'"):
        robust_validation(suite="pdg-20")
    with pytest.raises(ValueError, match="max_samples=0 is too small"):
        robust_validation(max_samples=0)
    images, labels = dataset().tensors
    with pytest.raises(TypeError, match="a dict with the keys"):
        validated(ready({"image": images, "label": labels}), robust_validation())


def test_overshoot_is_told_of_once() -> None:
    images, labels = dataset().tensors
    images[:, 0, 0, 0] = torch.linspace(1.01, 1.05, 40)
    batches = DataLoader(TensorDataset(images, labels), batch_size=10)
    with pytest.warns(UserWarning, match="overshoot") as caught:
        trainer(robust_validation()).validate(Classifier(), batches, verbose=False)
    assert sum("overshoot" in str(each.message) for each in caught) == 1
