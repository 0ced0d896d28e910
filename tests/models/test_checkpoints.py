from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lightly_adv.models import LoadReport, create_backbone, load_backbone, save_backbone

State = dict[str, Tensor]


class Net(nn.Module):
    """A backbone with a depth and a width."""

    def __init__(self, depth: int = 2, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        blocks = [nn.Linear(width, width) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)


class Foreign:
    """An object that a checkpoint should not hold."""


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def _write(content: Any, folder: Path) -> Path:
    path = folder / "checkpoint.ckpt"
    torch.save(content, path)
    return path


def _assert_same(first: nn.Module, second: nn.Module) -> None:
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_round_trip(tmp_path: Path) -> None:
    source, target = create_backbone("resnet8_tiny"), create_backbone("resnet8_tiny")
    save_backbone(source, tmp_path / "new" / "backbone.safetensors")
    report = load_backbone(target, tmp_path / "new" / "backbone.safetensors")
    _assert_same(source, target)
    assert report == LoadReport(tuple(report.matched), (), (), "")
    assert set(report.matched) == set(source.state_dict())
    assert [path.name for path in (tmp_path / "new").iterdir()] == [
        "backbone.safetensors"
    ]


def test_round_trip_of_ties_and_strides(tmp_path: Path) -> None:
    source, target = Net(), Net()
    source.blocks[1].register_parameter(
        "weight", source.blocks[0].get_parameter("weight")
    )
    source.to(memory_format=torch.channels_last)
    save_backbone(source, tmp_path / "tied.safetensors")
    load_backbone(target, tmp_path / "tied.safetensors")
    _assert_same(source, target)


@pytest.mark.parametrize(
    "prefix",
    ["", "backbone.", "model.", "module.", "model.module.backbone._orig_mod.", "e.l."],
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_prefixes_and_wrappers(
    prefix: str, wrapper: str | None, tmp_path: Path
) -> None:
    source, target = Net(), Net()
    state = _prefixed(source.state_dict(), prefix) | {"head.weight": torch.ones(2)}
    path = _write({wrapper: state, "epoch": 3} if wrapper else state, tmp_path)
    report = load_backbone(target, path)
    _assert_same(source, target)
    assert report.prefix == prefix
    assert report.unexpected == ("head.weight",)


def test_prefix_is_cut_off_and_not_stripped_by_letter(tmp_path: Path) -> None:
    source, target = nn.ModuleDict({"block": nn.Linear(2, 2)}), nn.Module()
    target.add_module("block", nn.Linear(2, 2))
    state = _prefixed(source.state_dict(), "backbone.")  # all letters of "block"
    assert load_backbone(target, _write(state, tmp_path)).matched == (
        "block.weight",
        "block.bias",
    )


def test_backbone_goes_before_its_momentum_twin(tmp_path: Path) -> None:
    source, twin, target = Net(), Net(), Net()
    state = _prefixed(twin.state_dict(), "backbone_momentum.")
    state |= _prefixed(source.state_dict(), "backbone.")
    report = load_backbone(target, _write(state, tmp_path))
    _assert_same(source, target)
    assert report.prefix == "backbone."
    assert len(report.unexpected) == len(twin.state_dict())


def test_several_networks_need_a_prefix(tmp_path: Path) -> None:
    student, teacher, target = Net(), Net(), Net()
    state = _prefixed(student.state_dict(), "student.")
    path = _write(state | _prefixed(teacher.state_dict(), "teacher."), tmp_path)
    with pytest.raises(ValueError, match=r"'student.', 'teacher.'; pass prefix="):
        load_backbone(target, path)
    load_backbone(target, path, prefix="teacher.")
    _assert_same(teacher, target)


def test_lightning_checkpoint(tmp_path: Path) -> None:
    class Method(pl.LightningModule):
        def __init__(self, rate: float) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.backbone = Net()
            self.head = nn.Linear(4, 2)

    method, target = Method(rate=0.1), Net()
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=0
    )
    trainer.strategy.connect(method)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    report = load_backbone(target, tmp_path / "last.ckpt")
    _assert_same(method.backbone, target)
    assert report.unexpected == ("head.weight", "head.bias")


def test_missing_keys(tmp_path: Path) -> None:
    source, target = Net(), Net()
    state = {k: v for k, v in source.state_dict().items() if "blocks.1" not in k}
    path = _write(state, tmp_path)
    before = target.state_dict()["blocks.1.weight"].clone()
    with pytest.raises(ValueError, match=r"lacks 2 of the 11.*blocks.1.weight, "):
        load_backbone(target, path)
    report = load_backbone(target, path, allow_missing=True)
    assert report.missing == ("blocks.1.weight", "blocks.1.bias")
    assert torch.equal(target.state_dict()["blocks.1.weight"], before)
    assert torch.equal(target.conv1.weight, source.conv1.weight)


def test_nothing_matches(tmp_path: Path) -> None:
    path = _write({"stem.kernel": torch.ones(2)}, tmp_path)
    match = r"none of the 1 tensors in .*\(stem.kernel\).*expects conv1.weight, conv1"
    with pytest.raises(ValueError, match=match):
        load_backbone(Net(), path)
    with pytest.raises(ValueError, match=match):
        load_backbone(Net(), path, prefix="backbone.")


@pytest.mark.parametrize("allow_missing", [False, True])
def test_other_width(allow_missing: bool, tmp_path: Path) -> None:
    target = Net()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    path = _write(_prefixed(Net(width=8).state_dict(), "net."), tmp_path)
    match = r"'net\.\*'.*another architecture.*conv1.weight is \(8, 3, 3, 3\) there"
    with pytest.raises(ValueError, match=match):
        load_backbone(target, path, allow_missing=allow_missing)
    assert all(torch.equal(before[k], v) for k, v in target.state_dict().items())


def test_other_width_without_a_prefix(tmp_path: Path) -> None:
    path = _write(Net(width=8).state_dict(), tmp_path)
    message = f"^{re.escape(str(path))} comes from another architecture"
    with pytest.raises(ValueError, match=message):
        load_backbone(Net(), path)


def test_deeper_network_of_the_same_kind(tmp_path: Path) -> None:
    path = _write(Net(depth=3).state_dict(), tmp_path)
    with pytest.raises(ValueError, match=r"deeper architecture.*\(blocks.2.weight"):
        load_backbone(Net(depth=2), path)


def test_classifier_of_a_flat_sequential_is_only_reported(tmp_path: Path) -> None:
    source = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2))
    target = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    report = load_backbone(target, _write(source.state_dict(), tmp_path))
    assert report.unexpected == ("2.weight", "2.bias")


def test_foreign_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = _write({"state_dict": Net().state_dict(), "args": Foreign()}, tmp_path)
    match = r"weights_only=True \(an object of .*Foreign\).*state_dict\(\), path"
    with pytest.raises(ValueError, match=match):
        load_backbone(Net(), path)


@pytest.mark.parametrize("name", ["broken.ckpt", "broken.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_file(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.\w+ (cannot be read|is not a)"):
        load_backbone(Net(), tmp_path / name)


def test_a_file_of_the_older_format_that_is_cut_off_anywhere(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"
    torch.save(Net().state_dict(), whole, _use_new_zipfile_serialization=False)
    content = whole.read_bytes()
    for length in range(0, len(content), 7):
        cut.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.pt cannot be read"):
            load_backbone(Net(), cut)


@pytest.mark.parametrize("name", ["whole.ckpt", "whole.safetensors"])
def test_a_file_that_is_cut_off_anywhere(name: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / name, tmp_path / f"cut{Path(name).suffix}"
    state = {"0.weight": torch.rand(200, 200)}
    if whole.suffix == ".ckpt":
        torch.save(state, whole)
    else:
        save_file(state, whole)
    content = whole.read_bytes()
    # Torch raises an OSError below 70,000 bytes, and RuntimeErrors above.
    for length in (1, 3_000, 20_000, 60_000, 100_000, len(content) - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.\w+ (cannot be read|is not a)"):
            load_backbone(nn.Sequential(nn.Linear(200, 200)), cut)


def test_file_without_a_state_dict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds a list; expected a state dict"):
        load_backbone(Net(), _write([1, 2], tmp_path))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nothing\.ckpt"):
        load_backbone(Net(), tmp_path / "nothing.ckpt")


def test_save_does_not_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    save_backbone(Net(), path)
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        save_backbone(Net(), path)
    newer, target = Net(), Net()
    save_backbone(newer, path, overwrite=True)
    load_backbone(target, path)
    _assert_same(newer, target)


def test_save_to_another_format(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in '\.safetensors'"):
        save_backbone(Net(), tmp_path / "backbone.pt")


def test_safetensors_of_others(tmp_path: Path) -> None:
    source, target = Net(), Net()
    state = _prefixed(source.state_dict(), "encoder.")
    save_file(state, tmp_path / "theirs.safetensors")
    assert load_backbone(target, tmp_path / "theirs.safetensors").prefix == "encoder."
    _assert_same(source, target)


def test_report_in_words() -> None:
    report = LoadReport(("a", "b"), ("c",), ("d", "e", "f", "g"), "backbone.")
    assert str(report) == (
        "2 of 3 tensors loaded from 'backbone.*'; missing: 1 (c); "
        "unused in the file: 4 (d, e, f, ...)"
    )
    assert str(LoadReport(("a", "b"), (), ())) == "2 of 2 tensors loaded"
