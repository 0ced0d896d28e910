from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from lightly_adv import pretext
from lightly_adv.batch_norm import convert_dual_batchnorm
from lightly_adv.functional import gradient_diversity
from lightly_adv.models import stages
from lightly_adv.pretext import PretextEnsemble, PretextTask, SelfieTask
from lightly_adv.pretext.ensemble import Frame, share_trunk
from tests.pretext.tiny import (
    BrightTask,
    CroppedTask,
    FlatTask,
    TinyNet,
    no_task,
)

TWO = ("rotation", "jigsaw")
SMALL: dict[str, dict[str, Any]] = {
    "jigsaw": {"grid": 2, "num_permutations": 3},
    "selfie": {"grid": 2, "num_masked": 2, "stages": None, "depth": 1},
}


def ensemble(*tasks: str) -> PretextEnsemble:
    names = tasks or TWO
    options = {name: SMALL[name] for name in names if name in SMALL}
    return PretextEnsemble(names, TinyNet(), task_options=options)


def ties(module: PretextEnsemble) -> list[tuple[str, ...]]:
    """Names of the parameters and buffers of the backbones that are one object."""
    names: dict[int, list[str]] = {}
    for task in module.tasks.values():
        backbone = task.get_submodule("backbone")
        tensors = [*backbone.named_parameters(), *backbone.named_buffers()]
        for name, tensor in tensors:
            names.setdefault(id(tensor), []).append(name)
    return sorted(tuple(each) for each in names.values())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet8_tiny", {}),
        ("resnetv2_18_small", {}),
        ("convnext_atto", {}),
        ("vit_tiny_patch16_224", {"img_size": 16, "depth": 2, "embed_dim": 12}),
        ("swin_tiny_patch4_window7_224", {"img_size": 32, "window_size": 1}),
    ],
)
def test_all_but_the_last_stage_is_shared(name: str, arguments: dict[str, Any]) -> None:
    backbone = timm.create_model(name, num_classes=0, **arguments).eval()
    last = stages.last_stage(backbone)
    tensors = [*backbone.named_parameters(), *backbone.named_buffers()]
    others = [share_trunk(backbone, last) for _ in range(2)]
    for other in others:
        found = dict([*other.named_parameters(), *other.named_buffers()])
        for key, tensor in tensors:
            assert (found[key] is tensor) == (not key.startswith(last)), key
            assert torch.equal(found[key], tensor)
    size = arguments.get("img_size", 32)
    images = torch.rand(1, 3, size, size)
    assert torch.equal(others[0](images), backbone(images))


@pytest.mark.parametrize("tasks", [TWO, ("rotation", "jigsaw", "selfie")])
def test_trunk_stages_and_heads(tasks: tuple[str, ...]) -> None:
    module = ensemble(*tasks)
    assert module.names == list(tasks)
    for key in ("stem", "layer1"):
        parts = {id(task.backbone.get_submodule(key)) for task in module._each}
        assert len(parts) == 1
    stages = {id(task.backbone.get_submodule("layer2")) for task in module._each}
    assert len(stages) == len(tasks)
    assert module.backbone is module._each[0].backbone
    net = TinyNet()
    trunk, last = (
        sum(p.numel() for part in parts for p in part.parameters())
        for parts in ([net.stem, net.layer1], [net.layer2])
    )
    heads = sum(
        p.numel() for n, p in module.named_parameters() if ".backbone." not in n
    )
    count = sum(p.numel() for p in module.parameters())
    assert count == trunk + len(tasks) * last + heads


def test_a_step_of_one_task_moves_the_trunk_of_all() -> None:
    module = ensemble()
    rotation, jigsaw = (task.backbone for task in module._each)
    optimizer = torch.optim.SGD(rotation.parameters(), lr=1.0)
    inputs, targets = module.draw(torch.rand(4, 3, 8, 8))
    module.losses(inputs, targets)[0].backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    weights = [each.get_parameter("stem.weight") for each in (rotation, jigsaw)]
    assert torch.equal(*weights)
    assert not torch.equal(
        rotation.get_parameter("layer2.0.weight"),
        jigsaw.get_parameter("layer2.0.weight"),
    )


CHANGES: dict[str, Callable[[PretextEnsemble], Any]] = {
    "nothing": lambda module: module,
    "double": lambda module: module.double(),
    "format": lambda module: module.to(memory_format=torch.channels_last),
    "copy": copy.deepcopy,
    "dual": convert_dual_batchnorm,
}


@pytest.mark.parametrize("change", CHANGES)
def test_ties_survive(change: str, tmp_path: Path) -> None:
    module = CHANGES[change](ensemble())
    expected = ties(module)
    for names in expected:
        shared = names[0].startswith(("stem", "layer1"))
        assert names == (names[0],) * (2 if shared else 1)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    fresh = CHANGES[change](ensemble())
    fresh.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert ties(fresh) == expected
    for key, value in module.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value)


def test_each_loss_is_that_of_the_task_alone() -> None:
    module = ensemble("rotation", "jigsaw", "selfie").eval()
    images = torch.rand(6, 3, 8, 8)
    inputs, targets = module.draw(images, Generator().manual_seed(3))
    losses = module.losses(inputs, targets)
    logits = module.logits(inputs, targets)
    generator = Generator().manual_seed(3)
    for index, task in enumerate(module._each):
        drawn, answers = task.draw(images, generator)
        assert torch.equal(drawn, inputs[index])
        assert torch.equal(answers, targets[index])
        assert torch.equal(task.loss(drawn, answers), losses[index])
        assert torch.equal(task.logits(drawn, answers), logits[index])


def separate_gradients(
    module: PretextEnsemble, inputs: list[Tensor], targets: list[Tensor]
) -> list[Tensor]:
    found = []
    for task, x, y in zip(module._each, inputs, targets, strict=True):
        x = x.detach().requires_grad_()
        found.append(torch.autograd.grad(task.loss(x, y), x)[0])
    return found


@pytest.mark.parametrize("frame", ["inputs", "images"])
def test_diversity_is_that_of_gradients_taken_one_by_one(frame: Frame) -> None:
    module = ensemble("rotation", "jigsaw", "selfie").double().eval()
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    inputs, targets = module.draw(images)
    inputs = [each.clone().requires_grad_() for each in inputs]
    losses = module.losses(inputs, targets)
    found = module.diversity(losses, inputs, targets, frame=frame)

    grads = separate_gradients(module, inputs, targets)
    if frame == "images":
        turned = [
            torch.rot90(grad, -turn, dims=(1, 2))
            for grad, turn in zip(grads[0], targets[0].tolist(), strict=True)
        ]
        orders = module._each[1].get_buffer("permutations")
        ordered = torch.empty_like(grads[1])
        for index, target in enumerate(targets[1].tolist()):
            for place, tile in enumerate(orders[target].tolist()):
                to_top, to_left = tile // 2 * 4, tile % 2 * 4
                top, left = place // 2 * 4, place % 2 * 4
                ordered[index, :, to_top : to_top + 4, to_left : to_left + 4] = grads[
                    1
                ][index, :, top : top + 4, left : left + 4]
        grads = [torch.stack(turned), ordered, grads[2]]
    torch.testing.assert_close(found, gradient_diversity(grads))


def test_frames_differ_and_need_tasks_that_tell_theirs() -> None:
    tasks = {"one": BrightTask, "other": BrightTask}
    with pytest.raises(
        NotImplementedError, match="BrightTask does not implement resto"
    ):
        diversity(PretextEnsemble(tasks, TinyNet()), frame="images")
    module = ensemble()
    assert diversity(module, frame="images") != diversity(module, frame="inputs")


def diversity(module: PretextEnsemble, *, frame: Frame = "inputs") -> Tensor:
    images = torch.rand(4, 3, 8, 8, generator=Generator().manual_seed(0))
    inputs, targets = module.draw(images, Generator().manual_seed(0))
    inputs = [each.clone().requires_grad_() for each in inputs]
    losses = module.losses(inputs, targets)
    return module.diversity(losses, inputs, targets, frame=frame)


@pytest.mark.parametrize("tasks", [TWO, ("rotation", "selfie")])
@pytest.mark.parametrize("frame", ["inputs", "images"])
def test_second_derivatives_by_the_inputs(tasks: tuple[str, ...], frame: Frame) -> None:
    module = ensemble(*tasks).double().eval()
    inputs, targets = module.draw(torch.rand(1, 3, 4, 4, dtype=torch.float64))
    inputs = [each.clone().requires_grad_() for each in inputs]

    def attacked(*inputs: Tensor) -> Tensor:
        losses = module.losses(inputs, targets)
        diversity = module.diversity(losses, inputs, targets, frame=frame)
        return torch.stack(losses).sum() + 0.1 * diversity

    assert torch.autograd.gradcheck(attacked, inputs)


@pytest.mark.parametrize("tasks", [TWO, ("rotation", "selfie")])
def test_second_derivatives_by_the_weights_in_train_mode(
    tasks: tuple[str, ...],
) -> None:
    module = ensemble(*tasks).double()
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.eval()
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
    inputs, targets = module.draw(torch.rand(2, 3, 4, 4, dtype=torch.float64))
    inputs = [each.clone().requires_grad_() for each in inputs]
    wrapped = Loss(module, inputs, targets)
    keys = ["stem.weight", "layer1.1.weight", "layer2.0.weight"]
    keys = [f"ensemble.tasks.rotation.backbone.{key}" for key in keys]
    weights = [wrapped.get_parameter(key) for key in keys]

    def trained(*weights: Tensor) -> Tensor:
        found: Tensor = functional_call(
            wrapped, dict(zip(keys, weights, strict=True)), (), tie_weights=True
        )
        return found

    assert torch.autograd.gradcheck(trained, weights)


class Loss(nn.Module):
    """Loss and diversity of an ensemble, as a function of its weights."""

    def __init__(
        self, ensemble: PretextEnsemble, inputs: list[Tensor], targets: list[Tensor]
    ) -> None:
        super().__init__()
        self.ensemble, self.inputs, self.targets = ensemble, inputs, targets

    def forward(self) -> Tensor:
        losses = self.ensemble.losses(self.inputs, self.targets)
        diversity = self.ensemble.diversity(losses, self.inputs, self.targets)
        return torch.stack(losses).mean() + 0.1 * diversity


def test_a_task_of_another_package_joins_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = dict(pretext.REGISTRY._entries)
    monkeypatch.setattr(pretext.REGISTRY, "_entries", entries)
    pretext.register_pretext_task("bright")(BrightTask)
    options: dict[str, dict[str, Any]] = {
        "bright": {"factor": 0.25},
        "jigsaw": SMALL["jigsaw"],
    }
    module = PretextEnsemble(["bright", "jigsaw"], TinyNet(), task_options=options)
    bright = module._each[0]
    assert isinstance(bright, BrightTask)
    assert bright.factor == 0.25
    assert diversity(module).isfinite()


def test_several_tasks_of_a_kind_by_names_of_ones_own() -> None:
    tasks: dict[str, Callable[..., PretextTask]] = {"a": SelfieTask, "b": SelfieTask}
    options = {"a": SMALL["selfie"], "b": {**SMALL["selfie"], "num_masked": 3}}
    module = PretextEnsemble(tasks, TinyNet(), task_options=options)
    inputs, targets = module.draw(torch.rand(2, 3, 8, 8))
    shapes = [each.shape for each in module.logits(inputs, targets)]
    assert shapes == [(2, 2, 2), (2, 3, 3)]


def test_backbone_by_name() -> None:
    module = PretextEnsemble(["rotation", "selfie"], "resnet8_tiny")
    assert module.backbone(torch.rand(2, 3, 32, 32)).shape == (2, 128)


@pytest.mark.parametrize(
    ("other", "shape"),
    [(CroppedTask, r"\(4, 3, 4, 4\)"), (FlatTask, r"\(4, 3, 4, 16\)")],
)
def test_inputs_of_different_shapes_are_refused(
    other: type[PretextTask], shape: str
) -> None:
    module = PretextEnsemble({"one": BrightTask, "other": other}, TinyNet())
    message = rf"'one': \(4, 3, 8, 8\), 'other': {shape}.*one image size.*weights to 0"
    with pytest.raises(ValueError, match=message):
        diversity(module)


def test_what_is_put_back_in_place_may_have_any_shape() -> None:
    module = PretextEnsemble(
        {"one": FlatTask, "other": SelfieTask},
        TinyNet(),
        task_options={"other": SMALL["selfie"]},
    )
    assert diversity(module, frame="images").isfinite()


def test_a_compiled_network_is_refused() -> None:
    module = ensemble()
    layer = module.backbone.get_submodule("layer1")
    layer._compiled_call_impl = layer._call_impl  # what layer.compile() sets
    with pytest.raises(ValueError, match=r"rotation.backbone.layer1 is compiled"):
        diversity(module)


def test_an_unknown_frame_is_refused() -> None:
    with pytest.raises(ValueError, match=r"frame='pixels' is unknown; use one of"):
        diversity(ensemble(), frame="pixels")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tasks", "options", "error", "message"),
    [
        (["rotation"], {}, ValueError, r"\['rotation'\] is no ensemble; name at least"),
        ("rotation", {}, ValueError, r"\['rotation'\] is no ensemble"),
        ([], {}, ValueError, r"\[\] is no ensemble"),
        (["jigsaw", "jigsaw"], {}, ValueError, "has one task twice; give a mapping"),
        (["rotation", "pkg.rot"], {}, ValueError, "name 'pkg.rot' cannot .* no dot"),
        ({"half": BrightTask, "b": BrightTask}, {}, ValueError, "'half' .*ModuleDict"),
        (
            {"a": BrightTask, "values": BrightTask},
            {},
            ValueError,
            "'values' .* your own",
        ),
        ({"a": BrightTask, "": BrightTask}, {}, ValueError, "'' cannot .*not empty"),
        (["rotation", "jigsw"], {}, ValueError, "Unknown pretext task 'jigsw'"),
        (TWO, {"selfie": {}}, ValueError, r"task_options are given for \['selfie'\]"),
        (TWO, {"jigsaw": {"gird": 2}}, ValueError, r"\{'gird': 2\} do not fit"),
        ({"a": BrightTask, "b": no_task}, {}, TypeError, "'b' is a Linear"),
    ],
)
def test_bad_arguments_are_refused(
    tasks: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PretextEnsemble(tasks, TinyNet(), task_options=options)


def test_a_backbone_without_stages_is_refused() -> None:
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="Sequential does not tell its stages"):
        PretextEnsemble(TWO, backbone)
