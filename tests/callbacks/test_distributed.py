"""Two and four processes on the CPU, as they would run on accelerators."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from lightly.loss import NTXentLoss
from lightly.models.utils import deactivate_requires_grad
from torch import Tensor, distributed, nn
from torch.distributed.nn import functional as collectives

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.batch_norm import convert_dual_batchnorm
from tests import zoo
from tests.callbacks import processes
from tests.callbacks.smooth import Smooth

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not torch.distributed.is_gloo_available(), reason="needs the gloo backend"
    ),
]

ATTACK = PGD(ThreatModel(eps=0.05), steps=2)
IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)
BATCH, STEPS = 8, 3


class Gathering(zoo.Momentum):
    """The loss of one process depends on the embeddings of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = NTXentLoss(gather_distributed=True)
        self.register_buffer("seen", torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert isinstance(self.seen, Tensor)
        self.seen += batch[0][0].mean()
        return super().training_step(batch, batch_idx)


class Routed(Gathering):
    """BatchNorm layers of both streams, all of which have to get a gradient."""

    def __init__(self) -> None:
        super().__init__()
        deactivate_requires_grad(self.momentum_head)
        convert_dual_batchnorm(self)


def fit(
    create: Any, callbacks: Any, count: int, *, find_unused: bool = True, **options: Any
) -> Any:
    strategy = processes.strategy(find_unused=find_unused)
    return zoo.fit(create, callbacks, devices=count, strategy=strategy, **options)


def weights_of(
    rank: int,
    count: int,
    *,
    create: type[Gathering] = Gathering,
    mode: Any = "replace",
    bn_mode: Any = "eval",
    **options: Any,
) -> dict[str, Tensor]:
    """Train on batches of its own; return the weights, and what was seen."""
    callback = AdversarialTraining(ATTACK, mode=mode, bn_mode=bn_mode)
    module, _ = fit(create, [callback], count, max_epochs=1, **options)
    # Other buffers are each process's own until the next forward pass shares them.
    return {**dict(module.named_parameters()), "seen": module.seen}


def changes_at_eps_zero(rank: int, count: int) -> list[str]:
    plain, attacked = (
        zoo.state(*fit(Gathering, callbacks, count, max_epochs=1))
        for callbacks in ([], [AdversarialTraining(IDENTITY)])
    )
    return plain.changes(attacked)


summed_over_processes: Any = collectives.all_reduce


class SharedBatchNorm(nn.BatchNorm2d):
    """What SyncBatchNorm computes; that one refuses to run on the CPU."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        moments = torch.stack([images.mean((0, 2, 3)), images.square().mean((0, 2, 3))])
        count = 1
        if distributed.is_initialized():
            count = distributed.get_world_size()
            moments = summed_over_processes(moments) / count
        mean, var = moments[0], moments[1] - moments[0].square()
        size = count * images.numel() / images.shape[1]
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            self.running_mean.lerp_(mean, 0.1)
            self.running_var.lerp_(var * size / (size - 1), 0.1)
        weight, bias = (each[:, None, None] for each in (self.weight, self.bias))
        normal = (images - mean[:, None, None]) / (var[:, None, None] + self.eps).sqrt()
        return normal * weight + bias


class Shared(Smooth):
    """All processes together compute what one does on the batches of all."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone[1] = SharedBatchNorm(16)
        self.backbone[4] = SharedBatchNorm(16)
        self.criterion = NTXentLoss(gather_distributed=distributed.is_initialized())


def joint_run(
    rank: int, count: int, *, mode: Any, bn_mode: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Train on a share of every batch; return the perturbed views and the state."""
    share = slice(rank * BATCH // count, (rank + 1) * BATCH // count)
    generator = torch.Generator().manual_seed(0)
    batches = [
        ([torch.rand(BATCH, 3, 8, 8, generator=generator)[share] for _ in range(2)],)
        for _ in range(STEPS)
    ]
    options: dict[str, Any] = {
        "max_epochs": 1,
        "data": torch.utils.data.DataLoader(batches, batch_size=None),  # type: ignore[arg-type]
        "use_distributed_sampler": False,
    }
    attack = Keeping(ThreatModel(norm="L2", eps=0.5), steps=2, random_start=False)
    callback = AdversarialTraining(attack, mode=mode, bn_mode=bn_mode)
    if count == 1:
        module, _ = zoo.fit(Shared, [callback], **options)
    else:
        module, _ = fit(Shared, [callback], count, **options)
    return torch.stack(attack.found), module.state_dict()


class Keeping(PGD):
    """Keeps what it finds."""

    def perturb_views(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        found = super().perturb_views(*args, **kwargs)
        self.found.append(torch.stack(found))
        return found

    @functools.cached_property
    def found(self) -> list[Tensor]:
        return []


JOINT: list[processes.Scenario] = [
    functools.partial(joint_run, mode="replace", bn_mode="eval"),
    functools.partial(joint_run, mode="dual", bn_mode="batch"),
]


def bad_batches(rank: int, count: int, *, mode: Any) -> tuple[int, dict[str, Tensor]]:
    """Train where one process has a batch of levels, and one whose loss is NaN."""
    data = [[list(views), *rest] for views, *rest in zoo.batches(4)]
    if rank == 1:
        data[1][0] = [view * 255 for view in data[1][0]]

    class Bad(Gathering):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            output = super().training_step(batch, batch_idx)
            if self.is_attacked and batch_idx == 2 and rank == 1:
                output["loss"] = output["loss"] * torch.nan
            return output

        @property
        def is_attacked(self) -> bool:
            # The second stream is silent as well, but has to be differentiated.
            frozen = not any(each.requires_grad for each in self.parameters())
            return frozen and "log" in vars(self)

    callback = AdversarialTraining(ATTACK, mode=mode)
    loader: Any = torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]
    options = {"max_epochs": 1, "data": loader, "use_distributed_sampler": False}
    module, _ = fit(Bad, [callback], count, **options)
    return callback._attacked.clean.count, dict(module.named_parameters())


def uneven(rank: int, count: int) -> None:
    """Attack with more steps on the second process than on the first."""
    attack = PGD(ThreatModel(eps=0.05), steps=2 + rank)
    fit(Gathering, [AdversarialTraining(attack)], count, max_epochs=1)


class Failing(Gathering):
    """On one process no gradient reaches the views."""

    def forward(self, images: Tensor) -> Tensor:
        embedding = super().forward(images)
        return embedding.detach() if self.global_rank == 1 else embedding


def failing(rank: int, count: int) -> None:
    callback = AdversarialTraining(ATTACK, verify="off")
    fit(Failing, [callback], count, max_epochs=1)


WEIGHTS: list[processes.Scenario] = [
    functools.partial(weights_of, mode="replace", bn_mode="batch"),
    functools.partial(weights_of, mode="dual", accumulate_grad_batches=2),
    functools.partial(weights_of, mode="dual", create=Routed, find_unused=False),
]


def assert_same_weights(found: list[dict[str, Tensor]]) -> None:
    first, *others = found
    for other in others:
        # Otherwise equal weights would show nothing.
        assert not torch.equal(first["seen"], other["seen"])
        for name in first.keys() - {"seen"}:
            assert torch.equal(first[name], other[name]), name


def assert_as_one_process(found: list[Any], scenario: processes.Scenario) -> None:
    views, state = scenario(0, 1)
    # Views have the shape (batches, views of each image, images, C, H, W).
    together = torch.cat([each for each, _ in found], dim=2)
    torch.testing.assert_close(together, views, rtol=0, atol=1e-4)
    for _, other in found:
        torch.testing.assert_close(other, state, rtol=1e-4, atol=1e-4)


def test_two_processes(tmp_path: Path) -> None:
    scenarios = [*WEIGHTS, changes_at_eps_zero, *JOINT, uneven]
    *weights, changes, first, second, refused = processes.run(
        scenarios, count=2, folder=tmp_path
    )
    for found in weights:
        assert_same_weights(found)
    assert changes == [[], []]
    for found, scenario in zip((first, second), JOINT, strict=True):
        assert_as_one_process(found, scenario)
    for error in refused:
        assert "would evaluate the loss [2, 3] times per batch" in error


def test_four_processes(tmp_path: Path) -> None:
    scenarios = [WEIGHTS[1], JOINT[1]]
    weights, joint = processes.run(scenarios, count=4, folder=tmp_path)
    assert_same_weights(weights)
    assert_as_one_process(joint, JOINT[1])


def test_an_error_on_one_process_ends_the_others(tmp_path: Path) -> None:
    ((waiting, failed),) = processes.run([failing], count=2, folder=tmp_path)
    assert "does not depend on any of the views" in failed
    # It does not wait for the time-out, and says that the other one is gone.
    assert "losed by peer" in waiting or "reset by peer" in waiting


def test_a_bad_batch_of_one_process_does_not_stop_the_others(tmp_path: Path) -> None:
    scenarios: list[processes.Scenario] = [
        functools.partial(bad_batches, mode=mode) for mode in ("replace", "dual")
    ]
    for found in processes.run(scenarios, count=2, folder=tmp_path):
        assert not any(isinstance(each, str) for each in found), found
        (first, weights), (second, others) = found
        # A loss that gathers brings what is not finite to the other one, too.
        assert (first, second) == (1, 2)
        # Where the attack alone meets what is not finite, training goes on.
        assert all(each.isfinite().all() for each in weights.values())
        assert all(torch.equal(weights[name], others[name]) for name in weights)
