from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lightly_adv.functional.invariance import invariance_loss, matched_log_shares


def test_shares_are_a_softmax_over_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    views, images = torch.randn(2, 6, 4, generator=generator)
    scores = torch.stack(
        [
            torch.exp((v @ o) / (v.norm() * o.norm()) / 0.5)
            for v, o in zip(views, images, strict=True)
        ]
    )
    found = matched_log_shares(views, images, temperature=0.5).exp()
    torch.testing.assert_close(found, scores / scores.sum())


def test_it_is_the_divergence_of_the_second_from_the_first() -> None:
    p, q = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.6, 0.3, 0.1])
    expected = F.kl_div(p.log(), q, reduction="sum")
    torch.testing.assert_close(invariance_loss(p.log(), q.log()), expected)


def test_the_public_code_forgets_a_logarithm() -> None:
    p, q = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.6, 0.3, 0.1])
    found = invariance_loss(p.log(), q.log(), legacy=True)
    expected = F.kl_div(p, q.log(), log_target=True, reduction="sum")
    torch.testing.assert_close(found, expected)
    assert float(found) != pytest.approx(float(invariance_loss(p.log(), q.log())))
