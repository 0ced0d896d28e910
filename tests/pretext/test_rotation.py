from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightly_adv.attacks import PGD
from lightly_adv.models import IMAGENET_NORMALIZE
from lightly_adv.pretext.rotation import RotationTask
from lightly_adv.threat_model import ThreatModel


def _tiny() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))


def test_draw_turns_each_image_by_its_target() -> None:
    images = torch.rand(9, 3, 32, 32)
    inputs, targets = RotationTask(_tiny()).draw(images)
    for image, turned, target in zip(images, inputs, targets.tolist(), strict=True):
        assert torch.equal(turned, torch.rot90(image, target, dims=(1, 2)))


def test_draw_with_a_generator_leaves_the_global_one_alone() -> None:
    task, images = RotationTask(_tiny()), torch.rand(8, 3, 32, 32)
    before = torch.get_rng_state()
    first = task.draw(images, torch.Generator().manual_seed(1))[1]
    second = task.draw(images, generator=torch.Generator().manual_seed(1))[1]
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_loss_draws_nothing_and_normalises_inside() -> None:
    task = RotationTask(_tiny(), normalize={"mean": [0.5] * 3, "std": [0.25] * 3})
    inputs, targets = task.draw(torch.rand(4, 3, 32, 32))
    before = torch.get_rng_state()
    logits = task.head(task.backbone((inputs - 0.5) / 0.25))
    expected = nn.functional.cross_entropy(logits, targets)
    assert torch.equal(task.loss(inputs, targets), expected)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("normalize", [None, IMAGENET_NORMALIZE])
def test_keys_do_not_depend_on_normalize(normalize: None) -> None:
    keys = RotationTask(_tiny(), normalize=normalize).state_dict().keys()
    assert set(keys) == {
        "backbone.1.weight",
        "backbone.1.bias",
        "head.layers.0.weight",
        "head.layers.0.bias",
    }


def test_plain_pixels() -> None:
    task = RotationTask(_tiny(), normalize=None)
    inputs = torch.rand(2, 3, 32, 32)
    assert torch.equal(task(inputs), task.head(task.backbone(inputs)))


def test_backbone_by_name() -> None:
    task = RotationTask("resnet8_tiny")
    assert task(torch.rand(2, 3, 32, 32)).shape == (2, 4)
    with pytest.raises(ValueError, match="Unknown backbone 'resnet8'"):
        RotationTask("resnet8")


def test_learns_the_turn_of_a_simple_image() -> None:
    torch.manual_seed(0)
    task = RotationTask("resnet8_tiny")
    optimizer = torch.optim.SGD(task.parameters(), lr=0.05, momentum=0.9)
    images = torch.linspace(0, 1, 32).expand(16, 3, 32, 32)
    for _ in range(10):
        loss = task.loss(*task.draw(images))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    inputs, targets = task.draw(images)
    assert task.accuracy(task(inputs), targets).item() == 100.0


def test_attack_on_the_inputs_raises_the_loss() -> None:
    task = RotationTask("resnet8_tiny").eval()
    nn.init.normal_(task.head.layers[0].weight)
    inputs, targets = task.draw(torch.rand(8, 3, 32, 32))
    attack = PGD(ThreatModel(eps=4 / 255), steps=2, step_size=2 / 255)

    def objective(views: list[Tensor]) -> Tensor:
        return task.loss(views[0], targets)

    (adversarial,) = attack(objective, [inputs])  # type: ignore[arg-type]
    assert task.loss(adversarial, targets) > task.loss(inputs, targets)


def test_restore_undoes_draw() -> None:
    task, images = RotationTask(_tiny()), torch.rand(8, 3, 32, 32)
    inputs, targets = task.draw(images)
    assert torch.equal(task.restore(inputs, targets), images)
