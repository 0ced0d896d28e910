from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightly_adv import APGD, PGD, ThreatModel
from lightly_adv.attacks import APGDTargeted, ClassificationObjective
from lightly_adv.attacks.attack import Attack
from lightly_adv.testing import NORMALIZE, AttackTester
from lightly_adv.types import Norm
from tests.attacks.small_classifier import labelled_images, trained

BALLS = [ThreatModel("Linf", 2 / 255), ThreatModel("L2", 0.08)]


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    return trained()


def right(model: nn.Module, count: int = 400) -> tuple[Tensor, Tensor]:
    images, labels = labelled_images(2 * count, seed=1)
    known = model(images).argmax(1) == labels
    return images[known][:count], labels[known][:count]


def withstood(
    attack: Attack, model: nn.Module, images: Tensor, labels: Tensor
) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    objective = ClassificationObjective(model, labels)
    (found,) = attack(objective, [images], generator=generator)
    kept: Tensor = model(found).argmax(1) == labels
    return kept


@pytest.mark.parametrize("threat_model", BALLS, ids=lambda each: each.norm)
@pytest.mark.parametrize("name", ["apgd", "apgd_targeted"])
def test_verdicts_are_those_of_pyautoattack(
    classifier: nn.Module, threat_model: ThreatModel, name: str
) -> None:
    pyautoattack = pytest.importorskip("pyautoattack")
    images, labels = right(classifier, 250 if name == "apgd" else 60)
    attack = APGD(threat_model) if name == "apgd" else APGDTargeted(threat_model)
    with torch.random.fork_rng():
        reference = pyautoattack.AutoAttack(
            classifier, norm=threat_model.norm, eps=threat_model.eps, seed=0
        )
        adversarial = getattr(reference, name).perturb(images, labels)
    expected = classifier(adversarial).argmax(1) == labels
    found = withstood(attack, classifier, images, labels)
    assert 0.2 < float(expected.float().mean()) < 0.8
    assert float((found == expected).float().mean()) >= 0.995


@pytest.mark.parametrize("threat_model", BALLS, ids=lambda each: each.norm)
def test_it_beats_pgd_of_the_same_cost(
    classifier: nn.Module, threat_model: ThreatModel
) -> None:
    images, labels = right(classifier)
    plain = PGD(threat_model, steps=21, step_size=2 * threat_model.eps)
    adaptive = APGD(threat_model, steps=20)

    def loss(views: Sequence[Tensor]) -> Tensor:
        return functional.cross_entropy(classifier(views[0]), labels, reduction="none")

    generator = torch.Generator().manual_seed(0)
    reached = [
        loss(attack(loss, [images], generator=generator)).mean()
        for attack in (plain, adaptive)
    ]
    assert reached[1] > reached[0]


def one_image(
    loss: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, norm: Norm, eps: float
) -> Tensor:
    """APGD with 100 steps on one image, as the paper's algorithm 1 has it."""

    def project(z: Tensor) -> Tensor:
        delta = z - x
        if norm == "L2":
            delta = delta * min(1.0, eps / max(float(delta.norm()), 1e-30))
        else:
            delta = delta.clamp(-eps, eps)
        return (x + delta).clamp(0, 1)

    def value_and_slope(z: Tensor) -> tuple[float, Tensor]:
        z = z.clone().requires_grad_()
        value = loss(z[None]).squeeze()
        (slope,) = torch.autograd.grad(value, z)
        return float(
            value.detach()
        ), slope / slope.norm() if norm == "L2" else slope.sign()

    marks = [0, 22, 41, 57, 70, 80, 87, 93, 99]
    eta = 2 * eps
    points = [start]
    value, slope = value_and_slope(start)
    values, slopes = [value], [slope]
    best, top = start, value
    top_before, halved_before, rises = top, False, 0
    for k in range(100):
        ahead = project(points[-1] + eta * slopes[-1])
        if k == 0:
            new = ahead
        else:
            move = 0.75 * (ahead - points[-1]) + 0.25 * (points[-1] - points[-2])
            new = project(points[-1] + move)
        value, slope = value_and_slope(new)
        rises += value > values[-1]
        if value > top:
            best, top = new, value
        if k + 1 in marks:
            first = rises < 0.75 * (k + 1 - marks[marks.index(k + 1) - 1])
            second = not halved_before and top == top_before
            halved_before, top_before, rises = first or second, top, 0
            if halved_before:
                eta, new = eta / 2, best
                value, slope = value_and_slope(best)
        points.append(new)
        values.append(value)
        slopes.append(slope)
    return best


@pytest.mark.parametrize("threat_model", BALLS, ids=lambda each: each.norm)
def test_it_is_the_algorithm_of_the_paper(threat_model: ThreatModel) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(48, 12), nn.Tanh(), nn.Linear(12, 1)
    )
    network = network.double()
    images = torch.rand(5, 3, 4, 4, dtype=torch.float64)

    def loss(images: Tensor) -> Tensor:
        wave: Tensor = (8 * network(images)).sin().squeeze(1)
        return wave

    attack = APGD(threat_model)
    generator = torch.Generator().manual_seed(3)
    (found,) = attack(lambda views: loss(views[0]), [images], generator=generator)
    box = threat_model.box(images)
    noise = threat_model.random_start(box, generator=torch.Generator().manual_seed(3))
    for index, image in enumerate(images):
        expected = one_image(
            loss, image, image + noise[index], threat_model.norm, threat_model.eps
        )
        torch.testing.assert_close(found[index], expected, atol=1e-9, rtol=0)


def test_targets_are_the_most_likely_wrong_classes(
    monkeypatch: pytest.MonkeyPatch, classifier: nn.Module
) -> None:
    images, labels = right(classifier, 20)
    aims: list[Tensor] = []

    def note(self: Any, objective: Any, tracks: Any, best: Any) -> Any:
        aims.append(objective.targets)
        return original(self, objective, tracks, best)

    original = APGD._once_more
    monkeypatch.setattr(APGD, "_once_more", note)
    withstood(APGDTargeted(BALLS[0], steps=1), classifier, images, labels)
    expected = classifier(images).sort(dim=1, descending=True).indices[:, 1:]
    assert torch.equal(torch.stack(aims, dim=1), expected)


@pytest.mark.parametrize("classes", [2, 3, 4, 6, 12])
def test_any_number_of_classes(classes: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh())
    model.append(nn.Linear(16, classes))
    images = torch.rand(40, 3, 4, 4)
    labels = model(images).argmax(1)
    threat_model = ThreatModel(eps=0.03)
    attack = APGDTargeted(threat_model, steps=30)
    targeted = withstood(attack, model, images, labels)
    plain = withstood(APGD(threat_model), model, images, labels)
    assert 0 < int(targeted.sum()) < 40
    assert int(targeted.sum()) <= int(plain.sum()) + 2
    notes = attack.notes(classes=classes)
    assert len(notes) == (classes < 10)
    assert all(f"with {classes} classes" in note for note in notes)


def test_one_class_cannot_be_left() -> None:
    images, labels = torch.rand(2, 3, 4, 4), torch.zeros(2).long()
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
    objective = ClassificationObjective(model, labels)
    (found,) = APGDTargeted(BALLS[0], steps=2)(objective, [images])
    assert torch.equal(found, images)


def test_nothing_is_spent_on_broken_images(classifier: nn.Module) -> None:
    images, labels = right(classifier, 100)
    sizes: list[int] = []

    class Counted(nn.Module):
        def forward(self, views: Tensor) -> Tensor:
            sizes.append(len(views))
            logits: Tensor = classifier(views)
            return logits

    attack = APGD(BALLS[0], restarts=2)
    left = withstood(attack, Counted(), images, labels)
    runs = sizes[:101], sizes[101:202]
    assert all(each == sorted(each, reverse=True) for each in runs)
    assert sizes[0] == 100
    assert runs[1][0] == runs[0][-1] or runs[1][0] == runs[0][-1] - 1
    assert int(left.sum()) <= runs[1][-1] < 80


def test_restarts_keep_what_an_earlier_one_broke(classifier: nn.Module) -> None:
    images, labels = right(classifier)
    once, often = (
        withstood(APGD(BALLS[0], steps=3, restarts=n), classifier, images, labels)
        for n in (1, 6)
    )
    assert bool((often <= once).all())
    assert int(often.sum()) < int(once.sum())


def test_the_verdict_on_a_image_does_not_hang_on_its_neighbours(
    classifier: nn.Module,
) -> None:
    images, labels = right(classifier, 60)
    attack = APGD(BALLS[0], steps=20, random_start=False)
    together = withstood(attack, classifier, images, labels)
    apart = torch.cat(
        [
            withstood(attack, classifier, *each)
            for each in zip(torch.split(images, 7), torch.split(labels, 7), strict=True)
        ]
    )
    assert int((together != apart).sum()) <= 1
    assert 0 < int(together.sum()) < 60


def test_a_scalar_objective_is_raised_for_the_batch_as_a_whole() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(48, 12), nn.Tanh(), nn.Linear(12, 4)
    )
    first, second = torch.rand(2, 6, 3, 4, 4).unbind()

    def loss(views: Sequence[Tensor]) -> Tensor:
        one, two = (network(view) for view in views)
        return functional.cross_entropy(one @ two.T, torch.arange(6))

    attacks = [APGD(BALLS[0], steps=30, restarts=n) for n in (1, 4)]
    values = [
        float(loss(attack(loss, [first, second], generator=generator)))
        for attack in attacks
        for generator in [torch.Generator().manual_seed(0)]
    ]
    assert values[1] >= values[0] > float(loss([first, second]))


def test_normalised_views_get_the_same_perturbation(classifier: nn.Module) -> None:
    images, labels = right(classifier, 50)
    mean, std = (torch.tensor(NORMALIZE[k])[:, None, None] for k in ("mean", "std"))

    class Restored(nn.Module):
        def forward(self, views: Tensor) -> Tensor:
            logits: Tensor = classifier(views * std + mean)
            return logits

    normalised = ThreatModel("L2", 0.08, NORMALIZE)
    plain = withstood(APGD(BALLS[1], steps=20), classifier, images, labels)
    views = (images - mean) / std
    other = withstood(APGD(normalised, steps=20), Restored(), views, labels)
    assert int((plain != other).sum()) <= 1


def test_a_plain_objective_is_not_enough_to_aim() -> None:
    with pytest.raises(TypeError, match=r"given a function.*ClassificationObjective"):
        APGDTargeted(BALLS[0])(lambda views: views[0].sum(), [torch.rand(2, 3, 4, 4)])


def test_other_norms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"APGD is not made for L1; .* Linf or L2"):
        APGD(ThreatModel("L1", 1.0))


@pytest.mark.parametrize("check", AttackTester.checks())
def test_restarts_pass_the_table(check: str) -> None:
    tester = AttackTester(
        lambda each: APGDTargeted(each, steps=3, restarts=2),
        norms=APGD.norms,
        classifies=True,
    )
    tester.run(check)
