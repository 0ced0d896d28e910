from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.evaluation.card import examples
from lightly_adv.threat_model import ThreatModel
from tests.evaluation.card.cards import (
    THREAT_MODEL,
    batches,
    classifier,
    report,
    two,
)


def test_most_are_broken_and_some_stand() -> None:
    known = report(batches())
    chosen = examples.choose(known, 8)
    worst = list(known.flags.values())[-1]
    broken = known.flags["clean"] & ~worst
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 8
    assert int(broken[chosen].sum()) == min(6, int(broken.sum()))
    assert worst[chosen].any()
    assert len(examples.choose(known, 100)) == known.num_samples


def test_examples_are_the_images_that_they_say() -> None:
    data = batches()
    images, labels = (torch.cat(each) for each in zip(*data, strict=True))
    known = report(data)
    model = classifier()
    found = examples.attack_again(model, data, known, two(), count=8)
    assert [each.number for each in found] == examples.choose(known, 8)
    for each in found:
        image = images[each.number] * 0.5 + 0.5
        assert torch.allclose(each.clean, image, atol=1e-6)
        assert each.label == labels[each.number]
        assert each.clean_prediction == known.predictions["clean"][each.number]
        delta = (each.attacked - each.clean).abs().max()
        assert 0 < delta <= THREAT_MODEL.eps + 1e-6
        shown = model((each.attacked[None] - 0.5) / 0.5).argmax(dim=1)
        assert each.attacked_prediction == int(shown)
        broken_by = "pgd" if not known.flags["pgd"][each.number] else "pgd-2"
        standing = known.flags["pgd-2"][each.number]
        expected = "pgd" if standing or not known.flags["clean"][each.number] else None
        assert each.attack == (expected or broken_by)


def test_the_same_again() -> None:
    data = batches()
    known = report(data)
    first, second = (
        examples.attack_again(classifier(), data, known, two()) for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        assert one.to_dict() == other.to_dict()
        assert torch.equal(one.attacked, other.attacked)


def test_a_loader_that_shuffles_gives_the_images_of_the_report() -> None:
    images, labels = (torch.cat(each) for each in zip(*batches(), strict=True))
    loader = DataLoader(TensorDataset(images, labels), batch_size=10, shuffle=True)
    model = classifier()
    known = evaluate_robustness(
        model, loader, THREAT_MODEL, suite=two(), seed=3, checks=()
    )
    assert known.labels is not None
    assert known.labels.tolist() != labels.tolist()
    torch.manual_seed(11)
    found = examples.attack_again(model, loader, known, two())
    for each in found:
        assert each.label == known.labels[each.number]
        assert each.clean_prediction == known.predictions["clean"][each.number]


def test_other_images_than_those_of_the_report_are_refused() -> None:
    data = batches()
    known = report(data)
    images, labels = (torch.cat(each) for each in zip(*data, strict=True))
    own = DataLoader(
        TensorDataset(images, labels),
        shuffle=True,
        generator=torch.Generator().manual_seed(5),
    )
    with pytest.raises(ValueError, match=r"of class \d, that of .* shuffle=False"):
        examples.attack_again(classifier(), own, known, two())
    for few in ([(images[:3], labels[:3])], iter(())):
        with pytest.raises(ValueError, match=r"no image \d+, which the report has"):
            examples.attack_again(classifier(), few, known, two())


def test_examples_of_other_bounds_are_shown_in_0_to_1() -> None:
    data = [(127.5 * (images + 1), labels) for images, labels in batches()]
    model = nn.Sequential(nn.BatchNorm2d(3, affine=False, eps=0), classifier()).eval()
    model[0].running_mean.fill_(127.5)  # type: ignore[operator]
    model[0].running_var.fill_(127.5**2)  # type: ignore[operator]
    threat_model = ThreatModel(eps=8, bounds=(0, 255))
    known = evaluate_robustness(model, data, threat_model, suite=two(), checks=())
    images = torch.cat([images for images, _ in data]) / 255
    for each in examples.attack_again(model, data, known, two(), count=3):
        assert torch.allclose(each.clean, images[each.number], atol=1e-6)
        assert 0 < (each.attacked - each.clean).abs().max() <= 8 / 255 + 1e-6
