"""Networks go into folders and come back, through timm and through `load_exported`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import config as timm_config
from torch import Tensor, nn

from lightly_adv.batch_norm import convert_dual_batchnorm
from lightly_adv.batch_norm.routes import bn_route
from lightly_adv.models import Normalize, create_backbone
from lightly_adv.models.export import card, export_model, folder, load_exported
from tests import damage

HALF = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}

SMALL = {"layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8), "stem_chs": 8}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "resnet8_tiny": {},
    "test_resnet": {"in_chans": 1},
    "test_vit": {"img_size": 32, "patch_size": 8},
    "test_efficientnet": {},
    "resnetv2_18_small": SMALL,
}


def backbone_of(name: str) -> nn.Module:
    """Return a backbone whose statistics are not those it was made with."""
    torch.manual_seed(0)
    backbone = create_backbone(name, **ARCHITECTURES.get(name, {}))
    channels = ARCHITECTURES.get(name, {}).get("in_chans", 3)
    with torch.no_grad():
        backbone.train()(torch.rand(4, channels, 32, 32))
    return backbone.eval()


def sample_images(name: str = "") -> Tensor:
    channels = ARCHITECTURES.get(name, {}).get("in_chans", 3)
    return torch.rand(3, channels, 32, 32, generator=torch.Generator().manual_seed(1))


def answers(*parts: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = nn.Sequential(*parts).eval()(images)
    return found


def configuration(network: nn.Module) -> dict[str, Any]:
    found: Any = network.pretrained_cfg
    return dict(found)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_classifier_comes_back_in_three_ways(name: str, tmp_path: Path) -> None:
    backbone, images = backbone_of(name), sample_images(name)
    head = nn.Linear(answers(backbone, images=images).shape[1], 7)
    names = [f"class {number}" for number in range(7)]
    path = export_model(
        backbone, tmp_path / "mine", head=head, image_size=32, class_names=names
    )
    expected = answers(backbone, head, images=images)
    loaded = load_exported(path)
    found = answers(loaded.model, images=images)
    if name == "resnetv2_18_small":  # timm has a 1 x 1 convolution for a head
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
        expected = found
    assert torch.equal(found, expected)
    assert not loaded.model.training
    assert loaded.class_names == tuple(names)
    assert (loaded.report.missing, loaded.report.unexpected) == ((), ())
    local = timm.create_model(f"local-dir:{path}", pretrained=True)
    assert torch.equal(answers(local, images=images), expected)
    assert configuration(local)["label_names"] == names
    weights = path / "model.safetensors"
    by_name = timm.create_model(
        name, num_classes=7, checkpoint_path=weights, **ARCHITECTURES[name]
    )
    assert torch.equal(answers(by_name, images=images), expected)


@pytest.mark.parametrize("name", ["resnet8_tiny", "test_vit"])
def test_a_backbone_comes_back(name: str, tmp_path: Path) -> None:
    backbone, images = backbone_of(name), sample_images(name)
    path = export_model(backbone, tmp_path / "mine", image_size=32)
    expected = answers(backbone, images=images)
    assert torch.equal(answers(load_exported(path).model, images=images), expected)
    local = timm.create_model(f"local-dir:{path}", pretrained=True)
    assert torch.equal(answers(local, images=images), expected)
    assert local.num_classes == 0


def test_normalisation_is_that_of_timm(tmp_path: Path) -> None:
    backbone, head, images = (
        backbone_of("resnet8_tiny"),
        nn.Linear(128, 4),
        sample_images(),
    )
    path = export_model(backbone, tmp_path / "mine", head=head, normalize=HALF)
    loaded = load_exported(path)
    assert loaded.normalize == HALF
    expected = answers(Normalize(HALF), backbone, head, images=images)
    assert torch.equal(answers(loaded.on_pixels(), images=images), expected)
    local = timm.create_model(f"local-dir:{path}", pretrained=True)
    for model in (local, loaded.model):
        resolve: Any = timm_config.resolve_data_config
        used = resolve({}, model=model)  # for timm's own transforms
        assert tuple(used["mean"]) == HALF["mean"]
        assert tuple(used["std"]) == HALF["std"]
        assert used["crop_pct"] == 1
    card = (path / "README.md").read_text()
    assert "mean `[0.5, 0.4, 0.3]`" in card
    plain = load_exported(export_model(backbone, tmp_path / "plain", normalize=None))
    assert plain.normalize is None
    assert plain.on_pixels() is plain.model
    assert "without normalisation" in (tmp_path / "plain" / "README.md").read_text()


def test_timm_can_push_what_was_loaded(tmp_path: Path) -> None:
    path = export_model(backbone_of("resnet8_tiny"), tmp_path / "a", normalize=HALF)
    model = load_exported(path).model
    # What timm.models.push_to_hf_hub uploads.
    timm.models.save_for_hf(model, str(tmp_path / "b"), safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path / 'b'}", pretrained=True)
    expected = answers(model, images=sample_images())
    assert torch.equal(answers(again, images=sample_images()), expected)
    assert tuple(configuration(again)["mean"]) == HALF["mean"]


def test_one_route_is_written(tmp_path: Path) -> None:
    dual = convert_dual_batchnorm(backbone_of("resnet8_tiny"))
    with bn_route("adv"), torch.no_grad():
        dual.train()(1 - sample_images())
        expected = dual.eval()(sample_images())
    with pytest.raises(ValueError, match="routes 'clean', 'adv', which answer diff"):
        export_model(dual, tmp_path / "mine")
    path = export_model(dual, tmp_path / "mine", route="adv")
    found = answers(load_exported(path).model, images=sample_images())
    assert torch.equal(found, expected)
    assert not torch.equal(found, answers(dual, images=sample_images()))
    with pytest.raises(ValueError, match="no BatchNorm layers with routes"):
        export_model(backbone_of("resnet8_tiny"), tmp_path / "b", route="adv")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    backbone = backbone_of("resnet8_tiny")
    (tmp_path / "empty").mkdir()
    export_model(backbone, tmp_path / "empty")
    before = (tmp_path / "empty" / "config.json").read_text()
    with pytest.raises(FileExistsError, match="is not an empty folder"):
        export_model(backbone, tmp_path / "empty", normalize=None)
    assert (tmp_path / "empty" / "config.json").read_text() == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is not an empty folder"):
        export_model(backbone, tmp_path / "file")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty", "file"]


def changed() -> nn.Module:
    backbone: Any = backbone_of("resnet8_tiny")
    backbone.act1 = nn.Tanh()
    return backbone  # type: ignore[no-any-return]


def wider() -> nn.Module:
    backbone: Any = backbone_of("resnet8_tiny")
    backbone.layer1.append(nn.BatchNorm2d(32))
    return backbone  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("create", "options", "message"),
    [
        (lambda: nn.Linear(2, 2), {}, "no configuration of timm"),
        (changed, {}, r"answers otherwise .* model_args="),
        (wider, {}, "do not fit SmallStemResNet"),
        (None, {"head": nn.Linear(64, 3)}, "expected layers of one size"),
        (None, {"head": nn.Linear(128, 3, bias=False)}, "expected layers of one size"),
        (None, {"head": nn.Sequential(nn.Linear(128, 3))}, "head is a Sequential"),
        (None, {"head": nn.Linear(128, 3), "class_names": "ab"}, "2 class_names for 3"),
        (None, {"normalize": "automatic"}, "use 'auto', None, or"),
        (None, {"model_args": {"act_layer": nn.GELU}}, "no place in a JSON file"),
        (None, {"reports": [{"rows": []}]}, "expected one row"),
    ],
)
def test_refusals(
    create: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    backbone = create() if create else backbone_of("resnet8_tiny")
    with pytest.raises(ValueError, match=message):
        export_model(backbone, tmp_path / "mine", **options)
    assert not list(tmp_path.iterdir())


def test_the_card_tells_what_was_measured(tmp_path: Path) -> None:
    row = {"clean_accuracy": 81.25, "robust_accuracy": 44.0, "suite": "apgd"}
    ball = {"norm": "Linf", "eps_text": "8/255", "num_samples": 500}
    evaluation = {
        "rows": [{**row, **ball}],
        "intervals": {"clean": [77.6, 84.4], "ce": [50, 60], "t": [39.7, 48.4]},
        "warnings": ["half of the gradients are zero."],
    }
    other = {"rows": [{"clean_accuracy": 80.0, "robust_accuracy": 31.0}]}
    path = export_model(
        backbone_of("resnet8_tiny"),
        tmp_path / "mine",
        head=nn.Linear(128, 2),
        class_names=["cat", "dog"],
        reports=[evaluation, other],
        facts={"checkpoint": "last.ckpt"},
    )
    card = (path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\npipeline_tag: image-classif")
    expected = "| apgd | Linf 8/255 | 500 | 81.2 (77.6 to 84.4) | 44.0 (39.7 to 48.4) |"
    assert expected in card
    assert "| - | - | - | 80.0 | 31.0 |" in card
    assert "- warning (apgd): half of the gradients are zero." in card
    assert "Classes, in order: cat, dog." in card
    assert "- **checkpoint:** last.ckpt" in card
    assert "import lightly_adv  # registers resnet8_tiny" in card
    unknown = export_model(backbone_of("test_vit"), tmp_path / "unknown")
    card = (unknown / "README.md").read_text()
    assert "image-feature-extraction" in card
    assert "is not known" in card
    assert "import lightly_adv " not in card


def test_the_configuration_is_plain_json(tmp_path: Path) -> None:
    path = export_model(backbone_of("test_vit"), tmp_path / "mine", image_size=64)
    config = json.loads((path / "config.json").read_text())
    assert config["model_args"] == {"num_classes": 0, "img_size": 32, "patch_size": 8}
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]  # it takes no other
    free = export_model(backbone_of("resnet8_tiny"), tmp_path / "b", image_size=64)
    config = json.loads((free / "config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 64]


def test_whatever_is_damaged_in_a_report_is_told(tmp_path: Path) -> None:
    row = {"clean_accuracy": 81.0, "robust_accuracy": 44.0, "suite": "apgd"}
    report = {
        "rows": [{**row, "norm": "Linf", "eps_text": "8/255", "num_samples": 500}],
        "intervals": {"clean": [77.6, 84.4], "ce": [39.7, 48.4]},
        "warnings": ["half"],
    }
    backbone = backbone_of("resnet8_tiny")
    config = folder.configuration(
        backbone, normalize=None, image_size=32, class_names=(), model_args={}
    )
    told = []
    for edited in damage.edited(report):
        try:
            card.text("mine", config, backbone, reports=[edited], facts={})
        except ValueError as error:
            told.append(str(error))
    assert len(told) > 50
    assert all(text.startswith("a report for the card is not a") for text in told)


def test_names_mean_themselves_on_the_card(tmp_path: Path) -> None:
    names = ["a|b", "<script>alert(1)</script>", "[x](http://y)", "`z`\n# w"]
    head = nn.Linear(128, 4)
    path = export_model(
        backbone_of("resnet8_tiny"),
        tmp_path / "mine",
        head=head,
        class_names=names,
        facts={"data": "x|`y`\n## z"},
    )
    text = (path / "README.md").read_text()
    assert "<script" not in text
    assert "[x](" not in text
    assert "\n# w" not in text
    assert "\n## z" not in text
    assert load_exported(path).class_names == tuple(names)
