"""The experiment on the paper's claims, at a size that says nothing about them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchvision.utils import save_image

SCRIPTS = Path(__file__).parents[2] / "examples" / "benchmarks"

TINY = [
    "backbone.options={channels: [8, 8, 16], stem_width: 4}",
    "pretraining.batch_size=8",
    "pretraining.fraction=0.5",
    "pretraining.tasks={rotation: {}, jigsaw: {grid: 2, num_permutations: 3}, "
    "simclr: {temperature: 0.5}}",
    "pretraining.epochs={standard: 1, adversarial: 1}",
    "pretraining.ensemble.tasks=[rotation, jigsaw]",
    "pretraining.overrides={standard-jigsaw: {epochs: 2}}",
    "finetuning.num_labelled=4",
    "finetuning.batch_size=4",
    "finetuning.protocols={"
    "SLF: {trainable: head, attacked: false, epochs: 2, val_every: 2, lr: [0.1]}, "
    "AFF: {trainable: all, attacked: true, epochs: 1, val_every: 1, lr: [0.03, 0.1]}}",
    "evaluation.validation.steps=1",
    "evaluation.suite={name: pgd, steps: 2}",
    "evaluation.strong={name: pgd, steps: 3, every: 2}",
    "evaluation.draws=20",
    "data.val_fraction=0.25",
]


class InProcess:
    """Runs jobs one after the other, and counts them."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def run(self, jobs: list[Any], progress: Any) -> None:
        for job in jobs:
            if not job.path.exists():
                self.names.append(job.name)
                progress.tell(job, job.run())


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = ("settings", "jobs", "phases", "tables")
    yield {name: importlib.import_module(f"claims.{name}") for name in names}
    own = ("claims", "bn_mode")
    for name in [name for name in sys.modules if name.split(".")[0] in own]:
        del sys.modules[name]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 8), ("test", 4)):
        for label in "ab":
            folder = tmp_path / "images" / part / label
            folder.mkdir(parents=True)
            for index in range(count):
                image = torch.rand(3, 32, 32, generator=generator)
                save_image(image, folder / f"{index}.png")
    return tmp_path / "images"


@pytest.mark.slow
def test_from_images_to_tables(
    claims: dict[str, Any], images: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    out = tmp_path / "out"
    settings = claims["settings"].read("small", TINY, out, [0, 1])
    experiment = claims["phases"].Experiment(settings, images, out)
    workers = InProcess()
    experiment.run(workers)
    content = claims["tables"].collect(experiment)

    rows = {row["key"]: row for row in content["rows"]}
    assert len(rows) == len(content["rows"])
    assert rows["none-AFF-x2"]["epochs"] == 2
    # 4 labelled images, 3 steps and the update; 6 others, 2 steps and 2 updates.
    assert rows["none-AFF"]["passes"] == 4 * 4
    assert rows["adversarial-rotation-AFF"]["passes"] == 4 * 4 + 6 * 4
    assert rows["standard-jigsaw-AFF"]["passes"] == 4 * 4 + 6 * 2
    # A head on a frozen network goes forward only; SimCLR has two views, of which the
    # attack moves one.
    assert rows["standard-simclr-SLF"]["passes"] == 2 * 4 * 0.5 + 6 * 2
    assert rows["adversarial-simclr-SLF"]["passes"] == 2 * 4 * 0.5 + 6 * (2 * 1.5 + 2)
    assert rows["ensemble-of-tasks"]["task"] == "rotation, jigsaw"
    assert rows["ensemble-of-seeds"]["task"] in ("rotation", "jigsaw")
    for row in rows.values():
        assert row["pretraining"] in ("none", "standard", "adversarial")
        assert row["finetuning"] in ("SLF", "ALF", "AFF", "ensemble")
        assert set(row["seeds"]) == {"0", "1"}
        assert 0 <= row["robust_accuracy"] <= row["clean_accuracy"] <= 100
        assert row["seconds"] > 0
    claimed = {each["claim"] for each in content["differences"]}
    assert claimed == {"a", "b", "d", "e"}
    for each in content["differences"]:
        assert each["low"] <= each["difference"] <= each["high"]
        part = {"suite": lambda row: row, "strong": lambda row: row["strong"]}
        first, second = (
            part[each["part"]](rows[each[key]])["robust_accuracy"]
            for key in ("first", "second")
        )
        assert each["difference"] == pytest.approx(first - second)
    compared = {
        (each["first"], each["second"])
        for each in content["differences"]
        if each["claim"] == "d"
    }
    # Ensembles are compared with the best task of all, in the ensemble or not.
    assert ("ensemble-of-tasks", f"adversarial-{content['best_task']}-AFF") in compared

    assert "adversarial rotation, AFF" in claims["tables"].markdown(content)
    claims["tables"].draw(content, out / "figure1.png")
    assert (out / "figure1.png").stat().st_size > 10_000

    # What is done is not done again, and what is lost is.
    done = len(workers.names)
    assert content["job"]["seconds"] >= content["job"]["processor_seconds"] * 0.5 > 0
    lost = out / "seed-1" / "test-suite-none-AFF.json"
    lost.unlink()
    experiment.run(workers)
    assert workers.names[done:] == ["seed 1, suite, none-AFF"]


def test_epochs_are_counted_where_validation_is_rarer(claims: dict[str, Any]) -> None:
    reached = claims["tables"]._reached
    assert reached({"epochs": 25, "val_robust": [20.0]}, 15.0) == 25
    assert reached({"epochs": 4, "val_robust": [10.0, 20.0]}, 15.0) == 4
    assert reached({"epochs": 3, "val_robust": [10.0, 20.0, 30.0]}, 15.0) == 2
    assert reached({"epochs": 3, "val_robust": [10.0, 20.0, 30.0]}, 35.0) is None


def test_other_settings_do_not_mix(claims: dict[str, Any], tmp_path: Path) -> None:
    read = claims["settings"].read
    read("small", [], tmp_path, [0])
    read("small", [], tmp_path, [0])
    with pytest.raises(SystemExit, match="other settings"):
        read("small", ["pretraining.weight=1"], tmp_path, [0])
    with pytest.raises(SystemExit, match="other settings or seeds"):
        read("small", [], tmp_path, [0, 1])


def test_unknown_setting(claims: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no pretraining\.wieght"):
        claims["settings"].read("small", ["pretraining.wieght=1"], tmp_path, [0])


def test_paper_scale_lists_its_jobs(claims: dict[str, Any], tmp_path: Path) -> None:
    settings = claims["settings"].read("paper", [], tmp_path, [0, 1, 2])
    experiment = claims["phases"].Experiment(settings, tmp_path, tmp_path)
    names = [job.name for job in experiment.pretraining()]
    assert len(names) == 3 * (4 + 4 + 3)
    assert "seed 2, pre-training, adversarial ensemble, h reversed" in names


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_whichever_task_is_best_all_that_is_compared_is_tested(
    claims: dict[str, Any],
    tmp_path: Path,
    scale: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = claims["settings"].read(scale, [], tmp_path, [0, 1, 2])
    experiment = claims["phases"].Experiment(settings, tmp_path, tmp_path)
    kind = type(experiment)
    monkeypatch.setattr(kind, "best_rate", lambda self, classifier: 0.1)
    for best in experiment.singles:
        monkeypatch.setattr(kind, "validation_accuracy", lambda self, c, b=best: c == b)
        assert experiment.best_single() == best
        parts = {"suite": experiment.tested(0), "strong": experiment.key_rows(0)}
        for _, first, second, part in claims["tables"]._comparisons(experiment):
            assert {first, second} <= set(parts[part])


def test_too_few_seeds_are_refused(claims: dict[str, Any], tmp_path: Path) -> None:
    settings = claims["settings"].read("small", [], tmp_path, [0, 1])
    with pytest.raises(SystemExit, match="give at least 3"):
        claims["phases"].Experiment(settings, tmp_path, tmp_path)


def test_paper_scale_has_the_numbers_of_its_recipes(
    claims: dict[str, Any], tmp_path: Path
) -> None:
    settings = claims["settings"].read("paper", [], tmp_path, [0])
    arms = {arm.name: arm for arm in claims["settings"].arms_of(settings)}
    folder = SCRIPTS.parent / "recipes" / "pretraining" / "paper"
    for path in folder.glob("*.yaml"):
        task, pretraining = path.stem.split("_")
        if path.stem == "ensemble_standard":
            continue  # the claims are about adversarial ensembles
        ending = "-h-on" if task == "ensemble" else ""
        arm = arms[f"{pretraining}-{task}{ending}"]
        found = claims["settings"].pretraining_of(settings, arm)
        recipe = yaml.safe_load(path.read_text())
        model = recipe["model"]["init_args"]
        data = recipe["data"]["init_args"]
        assert found["epochs"] == recipe["trainer"]["max_epochs"]
        assert found["batch_size"] == data["batch_size"]
        assert found["crop_padding"] == data.get("crop_padding", 4)
        assert found.get("flip_probability") == data.get("flip_probability")
        for key in ("lr", "weight_decay", "warmup"):
            assert found["optimizer"][key] == model[key], (path.stem, key)
        assert settings["backbone"]["name"] == model["backbone"]
        options = model.get("task_options", {})
        tasks = settings["pretraining"]["tasks"]
        if task == "ensemble":
            assert tasks.items() >= options.items()
            assert options
        else:
            assert tasks[task] == options


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["adversarial-ensemble-h-on", "adversarial-selfie", "adversarial-simclr"],
)
def test_paper_scale_starts(
    claims: dict[str, Any], images: Path, tmp_path: Path, name: str
) -> None:
    torch.set_num_threads(1)
    tiny = ["pretraining.attack.steps=1", "pretraining.overrides={}"]
    tiny += ["pretraining.batch_size=4", "pretraining.epochs={adversarial: 1}"]
    tiny += ["pretraining.fraction=0.5", "data.val_fraction=0.25"]
    settings = claims["settings"].read("paper", tiny, tmp_path, [0])
    arm = {each.name: each for each in claims["settings"].arms_of(settings)}[name]
    path = tmp_path / "backbone.json"
    training = importlib.import_module("claims.training")
    training.pretrain(settings, images, path, arm=arm, seed=0)
    assert path.with_suffix(".safetensors").exists()


def test_views_of_simclr_stay_pixels(claims: dict[str, Any]) -> None:
    simclr = importlib.import_module("claims.simclr")
    images = torch.rand(64, 3, 16, 16)
    torch.manual_seed(0)
    views = simclr.random_view(images)
    assert views.shape == images.shape
    assert views.amin() >= 0
    assert views.amax() <= 1
    grey = (views - views[:, :1]).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert 0.05 < grey.float().mean() < 0.4


def failing(path: Path) -> None:
    raise ValueError("broken")


def writing(path: Path) -> None:
    path.write_text("{}")


@pytest.mark.slow
def test_a_failed_job_is_named(claims: dict[str, Any], tmp_path: Path) -> None:
    jobs = claims["jobs"]
    good = jobs.Job("good", tmp_path / "good.json", writing, {}, cost=2.0)
    bad = jobs.Job("bad", tmp_path / "bad.json", failing, {}, cost=1.0)
    progress = jobs.Progress(3.0)
    with jobs.processes(1) as pool, pytest.raises(SystemExit, match="bad failed"):
        jobs.Workers(pool).run([bad, good], progress)
    assert good.path.exists()


@pytest.mark.slow
def test_bn_modes_are_compared(
    claims: dict[str, Any],
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = importlib.import_module("bn_mode")
    places = ("--data", str(images), "--out", str(tmp_path / "out"))
    options = ("--seeds", "0", "--set", *TINY)
    monkeypatch.setattr(sys, "argv", ["bn_mode.py", *places, *options])
    script.main()
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[::2]] == [
        "eval",
        "batch",
        "train",
    ]
    # What is there is not measured again.
    monkeypatch.setattr(script, "measure", None)
    script.main()
    assert capsys.readouterr().out == shown
