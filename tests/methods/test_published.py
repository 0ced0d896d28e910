"""What holds for all published methods; each has a file for its own formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.batch_norm.routes import bn_route, routed_layers
from lightly_adv.cli.main import main
from lightly_adv.evaluation import evaluate_encoder
from lightly_adv.methods import list_methods
from lightly_adv.models import Normalize
from lightly_adv.models.export import load_exported
from lightly_adv.threat_model import ThreatModel
from tests.methods.published import BATCH, EPS, METHODS, SIZE, Published, counted_passes

pytestmark = pytest.mark.filterwarnings("ignore")

every = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


class SaveFirstEpoch(pl.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def fit(
    method: Published, *callbacks: pl.Callback, ckpt_path: Path | None = None
) -> Any:
    pl.seed_everything(7, verbose=False)
    module = method.create()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=method.data(), ckpt_path=ckpt_path)
    assert torch.isfinite(trainer.callback_metrics["train_loss"])
    return module


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm)
        for key, value in part.named_buffers()
    }


@every
def test_two_epochs_move_all_that_is_trained_and_resume(
    method: Published, tmp_path: Path
) -> None:
    before = method.create().state_dict()
    path = tmp_path / "first.ckpt"
    straight = fit(method, SaveFirstEpoch(path))
    trained = {name for name, p in straight.named_parameters() if p.requires_grad}
    after = straight.state_dict()
    # What only shifts the embeddings before BatchNorm or a cosine may stay.
    moved = {name for name in trained if not torch.equal(before[name], after[name])}
    assert {name for name in trained if name.endswith("weight")} <= moved
    resumed = fit(method, ckpt_path=path).state_dict()
    assert after.keys() == resumed.keys()
    assert all(torch.equal(after[key], resumed[key]) for key in after)


@every
def test_a_step_costs_what_the_table_says(method: Published) -> None:
    module = method.create(steps=method.steps)
    networks = [module.get_submodule(name) for name in method.copies]
    with counted_passes(*networks) as counts:
        module.training_step(method.batch(), 0)
    assert counts["forward"] == method.forward * BATCH
    assert counts["backward"] == method.backward * BATCH


@every
def test_the_attack_moves_no_statistics_and_the_step_its_own(
    method: Published,
) -> None:
    module = method.create(steps=2)
    module.training_step(method.batch(), 0)
    part: Any
    for name, part in module.backbone.named_modules():
        if isinstance(part, _BatchNorm):
            route = name.rpartition("routes.")[2] if "routes." in name else ""
            assert part.num_batches_tracked == method.tracked[route], name


@every
def test_a_route_touches_the_statistics_of_no_other(method: Published) -> None:
    module = method.create()
    layers = routed_layers(module.backbone).values()
    names = list(next(iter(layers)).routes) if layers else []
    assert set(names) == set(method.tracked) - {""}
    for route in names:
        before = statistics(module)
        with bn_route(route):
            module.backbone(torch.rand(4, 3, SIZE, SIZE))
        after = statistics(module)
        moved = {key for key in after if not torch.equal(before[key], after[key])}
        assert moved
        assert all(f".routes.{route}." in key for key in moved)


@every
def test_training_gives_every_trained_parameter_a_gradient(method: Published) -> None:
    module = method.create()
    module.training_step(method.batch(), 0).backward()
    without = [
        n for n, p in module.named_parameters() if p.requires_grad and not has(p)
    ]
    assert without == []
    assert not any(has(p) for p in module.parameters() if not p.requires_grad)


def has(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None


@every
def test_the_attack_raises_what_it_says_inside_of_the_ball(
    method: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = method.create(steps=4)
    seen: list[tuple[Any, Any, Any]] = []
    perturb = module.perturb

    def watched(loss: Any, *views: Tensor, **options: Any) -> Any:
        found = perturb(loss, *views, **options)
        seen.append((loss, views, [found] if len(views) == 1 else found))
        return found

    monkeypatch.setattr(module, "perturb", watched)
    module.training_step(method.batch(), 0)
    ((loss, clean, found),) = seen
    for x, x_adv in zip(clean, found, strict=True):
        assert 0 < float((x_adv - x).abs().max()) <= EPS + 1e-6
        assert 0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1
    with module.attack_mode():
        assert float(loss(*found).mean()) > float(loss(*clean).mean())


@every
def test_the_encoder_is_evaluated(method: Published) -> None:
    module = method.create()
    module.training_step(method.batch(), 0)
    module.eval()
    images = torch.rand(12, 3, SIZE, SIZE)
    route = "adv" if "adv" in method.tracked else "clean"
    with bn_route(route):
        expected = module.backbone(module.normalize(images))
    assert torch.equal(module.encoder(images), expected)
    loader = DataLoader(TensorDataset(images, torch.arange(12) % 2), batch_size=6)
    report = evaluate_encoder(
        module.encoder, loader, ThreatModel(eps=EPS), bank=loader, steps=1, k=3
    )
    robust = report.metrics()["val_robust_knn_top1"]
    assert robust is not None
    assert 0 <= robust <= 100


@every
def test_other_numbers_of_views_are_refused(method: Published) -> None:
    batch = [*method.batch(), torch.rand(BATCH, 3, SIZE, SIZE)]
    with pytest.raises(ValueError, match=f"{len(batch)} views.*ContrastiveViews"):
        method.create().training_step((batch, torch.arange(BATCH)), 0)


@every
def test_the_command_line_trains_evaluates_and_exports(
    method: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    transform = method.views()
    strong, weak, clean = transform.counts
    options = [
        f"--model={method.name}",
        "--model.backbone=resnet8_tiny",
        *(f"--model.{name}={value}" for name, value in method.options.items()),
        *("--model.attack=pgd", "--model.attack.threat_model.eps=8/255"),
        "--model.attack.steps=1",
        "--data=tests.methods.published.TinyViews",
        "--data.transform=lightly_adv.data.ContrastiveViews",
        *(f"--data.transform.strong={strong}", f"--data.transform.weak={weak}"),
        *(f"--data.transform.clean={clean}", f"--data.transform.size={SIZE}"),
        "--trainer.max_epochs=2",
    ]
    if transform.schedule:
        kind = "lightly_adv.functional.schedules.StrengthSchedule"
        options += [
            f"--data.transform.strength={kind}",
            "--data.transform.strength.epochs=2",
            "--data.transform.strength.period=1",
        ]
    assert main(["pretrain", *options, "--out=run"]) == 0
    assert Path("run/backbone.safetensors").is_file()
    assert main(["encoder", "run", "--steps=1", "--knn_k=5"]) == 0
    routed = ["--route=adv"] if "adv" in method.tracked else []
    assert main(["export", "run", "--out=exported", *routed]) == 0
    exported = load_exported(Path("exported"))
    assert isinstance(exported.normalize, dict | Normalize)
    images = torch.rand(2, 3, SIZE, SIZE)
    assert exported.model.eval()(images).shape == (2, 128)


def test_every_published_method_is_tested() -> None:
    others = {"pretext", "pretext_ensemble", "robust_distillation"}
    assert set(list_methods()) - others == {method.name for method in METHODS}
