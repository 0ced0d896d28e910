"""The vote of neighbours against Lightly's, and against loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from lightly.utils.benchmarking import knn_predict

from lightly_adv.evaluation.encoders import NeighborBank


def make_bank(*, k: int = 7, temperature: float = 0.1, count: int = 40) -> NeighborBank:
    generator = torch.Generator().manual_seed(0)
    embeddings = 3 * torch.randn(count, 5, generator=generator)
    labels = torch.randint(4, (count,), generator=generator)
    return NeighborBank(embeddings, labels, k=k, temperature=temperature)


@pytest.fixture
def asked() -> torch.Tensor:
    return torch.randn(30, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
def test_the_vote_is_that_of_lightly(
    asked: torch.Tensor, k: int, temperature: float
) -> None:
    bank = make_bank(k=k, temperature=temperature)
    expected = knn_predict(
        F.normalize(asked, dim=1),
        F.normalize(bank.embeddings, dim=1).T,
        bank.labels,
        num_classes=4,
        knn_k=k,
        knn_t=temperature,
    )
    assert bank.predict(asked).equal(expected[:, 0])


def test_all_vote_softly(asked: torch.Tensor) -> None:
    bank = make_bank()
    found = bank.class_log_scores(asked)
    for row, embedding in enumerate(asked):
        votes = [0.0] * 4
        for voter, label in zip(bank.embeddings, bank.labels.tolist(), strict=True):
            cosine = float(F.cosine_similarity(embedding, voter, dim=0))
            votes[label] += math.exp(cosine / bank.temperature)
        assert found[row].tolist() == pytest.approx([math.log(v) for v in votes], 1e-4)


def test_with_all_as_neighbours_both_votes_agree(asked: torch.Tensor) -> None:
    bank = make_bank(k=40)
    assert bank.class_log_scores(asked).argmax(dim=1).equal(bank.predict(asked))


def test_a_sharp_vote_keeps_its_gradient() -> None:
    # exp(-2 / 0.005) is zero in float32; the other class must pull all the same.
    bank = NeighborBank(
        torch.tensor([[1.0, 0.0], [-1.0, 0.1]]), torch.tensor([0, 2]), 1, 0.005
    )
    asked = torch.tensor([[1.0, 0.2]], requires_grad=True)
    votes = bank.class_log_scores(asked)
    assert votes.isfinite().all()
    assert votes.argmax() == 0
    assert votes[0, 1] < votes[0, 2]
    (gradient,) = torch.autograd.grad(votes[0, 2] - votes[0, 0], asked)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 1


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"40 images, but k=200 .*k=4\."):
        make_bank(k=200)
    with pytest.raises(ValueError, match="k=0 is too small"):
        make_bank(k=0)
    with pytest.raises(ValueError, match=r"temperature=0\.0 must be finite"):
        make_bank(temperature=0.0)
    with pytest.raises(ValueError, match="of 1 class; expected at least two"):
        NeighborBank(torch.rand(5, 3), torch.full((5,), 3), k=2)
