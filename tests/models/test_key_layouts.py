from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from lightly_adv.batch_norm import convert_dual_batchnorm
from lightly_adv.methods import RobustClassifier
from lightly_adv.models import create_backbone, load_backbone

State = dict[str, Tensor]


def _write(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "file.pth")
    return folder / "file.pth"


def _random(backbone: nn.Module) -> nn.Module:
    """Give all parameters and statistics values of their own."""
    with torch.no_grad():
        for value in backbone.state_dict().values():
            value.copy_(torch.rand(value.shape) if value.is_floating_point() else 7)
    return backbone


def _small() -> nn.Module:
    return _random(create_backbone("resnet8_tiny"))


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def _assert_same(first: nn.Module, second: nn.Module) -> None:
    state = second.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in first.state_dict().items())


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("net", "module."),
        ("P_state", "module.encoder."),
        ("model_ema", ""),
        ("ema", "module."),
        ("classy_state_dict.base_model.model.trunk", "_feature_blocks."),
        ("state_dict.model", "module.encoder_q._orig_mod."),
    ],
)
def test_dictionaries_in_each_other(path: str, prefix: str, tmp_path: Path) -> None:
    source, target = _small(), _small()
    content: Any = _prefixed(source.state_dict(), prefix)
    for name in reversed(path.split(".")):
        content = {name: content, "epoch": 3, "optimizer": {"state": {0: {"m": 1}}}}
    report = load_backbone(target, _write(content, tmp_path))
    _assert_same(source, target)
    assert report.prefix.endswith(prefix)
    assert not report.missing
    assert not report.unexpected


def test_student_and_teacher_have_to_be_chosen_from(tmp_path: Path) -> None:
    student, teacher, target = _small(), _small(), _small()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    content = {
        "student": _prefixed(student.state_dict(), "module."),
        "teacher": _prefixed(teacher.state_dict(), "backbone."),
    }
    path = _write(content, tmp_path)
    with pytest.raises(ValueError, match=r"'student\.module\.', 'teacher\.backb.*pref"):
        load_backbone(target, path)
    assert all(torch.equal(before[k], v) for k, v in target.state_dict().items())
    load_backbone(target, path, prefix="teacher.backbone")
    _assert_same(teacher, target)
    load_backbone(target, path, prefix="student.module.")
    _assert_same(student, target)
    classifier = RobustClassifier(
        "resnet8_tiny", checkpoint=path, checkpoint_prefix="teacher.backbone"
    )
    _assert_same(teacher, classifier.backbone)


def test_a_prefix_of_one_of_several_networks_in_it(tmp_path: Path) -> None:
    student, teacher, target = _small(), _small(), _small()
    content = {
        "student": _prefixed(student.state_dict(), "module."),
        "teacher": _prefixed(teacher.state_dict(), "backbone."),
    }
    load_backbone(target, _write(content, tmp_path), prefix="teacher.")
    _assert_same(teacher, target)


def test_equal_networks_are_one(tmp_path: Path) -> None:
    source, target = _small(), _small()
    state = source.state_dict()
    load_backbone(target, _write({"student": state, "teacher": state}, tmp_path))
    _assert_same(source, target)


def test_moving_average_beside_the_weights_is_told(tmp_path: Path) -> None:
    source, average, target = _small(), _small(), _small()
    content = {
        "state_dict": source.state_dict(),
        "state_dict_ema": average.state_dict(),
    }
    report = load_backbone(target, _write(content, tmp_path))
    _assert_same(source, target)
    assert report.unexpected[0] == "state_dict_ema.conv1.weight"
    load_backbone(target, tmp_path / "file.pth", prefix="state_dict_ema.")
    _assert_same(average, target)


@pytest.mark.parametrize("content", [{"epoch": 3, "weights": [1]}, {}])
def test_no_tensors(content: Any, tmp_path: Path) -> None:
    match = r"holds no tensors under names, but ('epoch' \(int\), 'weigh|nothing)"
    with pytest.raises(ValueError, match=match):
        load_backbone(_small(), _write(content, tmp_path))


def test_a_dictionary_inside_of_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"other": torch.ones(1)}
    content["again"] = content
    with pytest.raises(ValueError, match="none of the"):
        load_backbone(_small(), _write(content, tmp_path))


@pytest.mark.skipif(
    not hasattr(torch.serialization, "safe_globals"),
    reason="torch reads argparse.Namespace with weights_only=True from 2.5 on",
)
def test_options_of_a_script_beside_the_weights(tmp_path: Path) -> None:
    source, target = _small(), _small()
    content = {"model": source.state_dict(), "args": argparse.Namespace(lr=0.1)}
    load_backbone(target, _write(content, tmp_path))
    _assert_same(source, target)


def test_without_counters(tmp_path: Path) -> None:
    source, target = _small(), _small()
    state = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    report = load_backbone(target, _write(state, tmp_path))
    _assert_same(source, target)
    assert len(report.missing) == 9
    assert all(key.endswith("num_batches_tracked") for key in report.missing)
    assert "missing: 9" in str(report)


def test_compiled_layers(tmp_path: Path) -> None:
    source, target = _small(), _small()
    state = {
        key.replace("layer1.", "layer1._orig_mod."): value
        for key, value in source.state_dict().items()
    }
    assert load_backbone(target, _write(_prefixed(state, "net."), tmp_path))
    _assert_same(source, target)
    plain = _write(source.state_dict(), tmp_path)
    # As torch.compile wraps a layer.
    wrapped = nn.Module()
    wrapped.add_module("_orig_mod", _small().get_submodule("layer1"))
    target.add_module("layer1", wrapped)
    load_backbone(target, plain)
    assert torch.equal(
        target.get_parameter("layer1._orig_mod.0.conv1.weight"),
        source.get_parameter("layer1.0.conv1.weight"),
    )


def _with_norms(state: State, names: tuple[str, ...]) -> State:
    """Put one more name into the keys of BatchNorm layers, once for each of them."""
    norms = {key.rpartition(".")[0] for key in state if key.endswith("running_mean")}
    found = {}
    for key, value in state.items():
        stem, _, leaf = key.rpartition(".")
        for at, name in enumerate(names):
            new = f"{stem}.{name}.{leaf}" if stem in norms else key
            found[new] = value + at if value.is_floating_point() else value
    return found


@pytest.mark.parametrize("names", [("0", "1"), ("bn_list.0", "bn_list.1")])
def test_two_batch_norms_have_to_be_chosen_from(
    names: tuple[str, str], tmp_path: Path
) -> None:
    source, target = _small(), _small()
    state = _with_norms(source.state_dict(), names)
    path = _write({"state_dict": _prefixed(state, "backbone.")}, tmp_path)
    with pytest.raises(ValueError, match=rf"several BatchNorm.*'{names[1]}'.*norm="):
        load_backbone(target, path, allow_missing=True)
    with pytest.raises(ValueError, match=r"norm='2' is not one of them"):
        load_backbone(target, path, norm="2")
    report = load_backbone(target, path, norm="1")
    assert f"BatchNorm from '{names[1]}'" in str(report)
    key = "layer1.0.bn1.running_mean"
    assert torch.equal(target.get_buffer(key), source.get_buffer(key) + 1)
    classifier = RobustClassifier("resnet8_tiny", checkpoint=path, checkpoint_norm="0")
    assert torch.equal(classifier.backbone.get_buffer(key), source.get_buffer(key))


def test_one_batch_norm_under_another_name(tmp_path: Path) -> None:
    source, target = _small(), _small()
    state = _with_norms(source.state_dict(), ("inner",))
    assert load_backbone(target, _write(state, tmp_path)).norm == "inner"
    _assert_same(source, target)


def test_plain_weights_fill_all_routes(tmp_path: Path) -> None:
    source, target = _small(), convert_dual_batchnorm(_small())
    report = load_backbone(target, _write({"net": source.state_dict()}, tmp_path))
    assert not report.missing
    for route in ("clean", "adv"):
        assert torch.equal(
            target.get_buffer(f"layer1.0.bn1.routes.{route}.running_var"),
            source.get_buffer("layer1.0.bn1.running_var"),
        )


def test_norm_layers_are_never_advised_away(tmp_path: Path) -> None:
    state = {k: v for k, v in _small().state_dict().items() if ".bn" not in k}
    state |= {"layer1.0.scale.weight": torch.ones(8)}
    with pytest.raises(ValueError, match=r"norm layers.*layer1.0.scale.w") as caught:
        load_backbone(_small(), _write(state, tmp_path))
    assert "allow_missing" not in str(caught.value)


def _numbered(network: nn.Module, *more: nn.Module) -> nn.Sequential:
    return _random(nn.Sequential(*list(network.children())[:-1], *more))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def idiom() -> nn.Sequential:
    return _numbered(torchvision.models.resnet18())


@pytest.mark.parametrize("prefix", ["backbone.", "", "model.backbone.0.", "teacher."])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_numbered_layers_into_named_ones(
    prefix: str, ending: str, tmp_path: Path
) -> None:
    idiom = _numbered(_small())
    state = _prefixed(idiom.state_dict(), prefix) | {"head.weight": torch.ones(1)}
    if ending == "pth":
        path = _write({"state_dict": state}, tmp_path)
    else:
        path = tmp_path / "file.safetensors"
        save_file(state, path)
    target = _small()
    report = load_backbone(target, path)
    assert report.unexpected == ("head.weight",)
    assert report.prefix == prefix
    wanted = idiom.state_dict().values()
    assert all(map(torch.equal, target.state_dict().values(), wanted))


def test_numbered_layers_of_torchvision_into_timm(
    idiom: nn.Sequential, tmp_path: Path
) -> None:
    path = _write(_prefixed(idiom.state_dict(), "backbone."), tmp_path)
    target = timm.create_model("resnet18", num_classes=0)
    assert len(load_backbone(target, path).matched) == 120
    wanted = idiom.state_dict().values()
    assert all(map(torch.equal, target.state_dict().values(), wanted))


def test_numbered_layers_with_a_convolution_behind(tmp_path: Path) -> None:
    source = _numbered(torchvision.models.resnet18(), nn.Conv2d(512, 32, 1))
    path = _write(_prefixed(source.state_dict(), "backbone."), tmp_path)
    target = torchvision.models.resnet18()
    with pytest.raises(ValueError, match=r"lacks 2 of the 122.*fc\.weight, fc\.bias"):
        load_backbone(target, path)
    target.fc = nn.Identity()
    report = load_backbone(target, path)
    assert report.unexpected == ("backbone.9.weight", "backbone.9.bias")
    assert torch.equal(
        target.get_buffer("layer4.1.bn2.running_var"),
        source.get_buffer("7.1.bn2.running_var"),
    )


def test_numbered_layers_of_a_deeper_network(
    idiom: nn.Sequential, tmp_path: Path
) -> None:
    path = _write(_prefixed(idiom.state_dict(), "backbone."), tmp_path)
    for name in ("resnet34", "resnet50"):
        target = timm.create_model(name, num_classes=0)
        for allow_missing in (False, True):
            with pytest.raises(ValueError, match=r"backbone\.\* \(120 ten") as caught:
                load_backbone(target, path, allow_missing=allow_missing)
            assert "several networks" not in str(caught.value)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_named_layers_into_numbered_ones(ending: str, tmp_path: Path) -> None:
    source = _random(torchvision.models.resnet18())
    target = _numbered(torchvision.models.resnet18())
    path = tmp_path / f"file.{ending}"
    (torch.save if ending == "pth" else save_file)(source.state_dict(), path)
    report = load_backbone(target, path)
    assert set(report.unexpected) == {"fc.weight", "fc.bias"}
    assert torch.equal(
        target.get_buffer("7.1.bn2.running_var"),
        source.get_buffer("layer4.1.bn2.running_var"),
    )


def test_order_of_names_is_not_trusted(tmp_path: Path) -> None:
    source = nn.ModuleDict({"b": nn.Linear(2, 2), "a": nn.Linear(2, 2)})
    target = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"none of the 4"):
        load_backbone(target, _write(source.state_dict(), tmp_path))


def test_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    source = nn.Sequential(*(nn.Linear(2, 2) for _ in range(11)))
    target = nn.ModuleDict({f"layer{at}": nn.Linear(2, 2) for at in range(11)})
    state = dict(sorted(source.state_dict().items()))
    load_backbone(target, _write(state, tmp_path))
    for at in range(11):
        assert torch.equal(
            target.get_parameter(f"layer{at}.weight"),
            source.get_parameter(f"{at}.weight"),
        )
