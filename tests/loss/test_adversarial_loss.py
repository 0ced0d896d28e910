from __future__ import annotations

import copy
import functools
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightly import loss as lightly_loss
from lightly.models.utils import update_momentum
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.isolation import isolated, leaks
from lightly_adv.isolation.plan import Plan
from lightly_adv.loss import AdversarialLoss
from lightly_adv.training import noise
from tests import zoo

ATTACK = PGD(ThreatModel(eps=0.05), steps=2)
VIEWS = [
    torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    for seed in (1, 2)
]


def encoder(width: int = 8) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, width),
    )


class Negative(nn.Module):
    """SimSiam's criterion in one argument per view, as `lightly.loss` has it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = lightly_loss.NegativeCosineSimilarity()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        value: Tensor = self.inner(first, second)
        return value


class WithPrototypes(nn.Module):
    """Compares two views by their likeness to prototypes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        prototypes = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
        self.register_buffer("prototypes", prototypes)

    def forward(self, anchors: Tensor, targets: Tensor) -> Tensor:
        value: Tensor = self.inner(anchors, targets, self.prototypes)
        return value


class Named(nn.Module):
    """LeJEPA's criterion takes the views of all crops by name."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        views = torch.stack([first, second])
        value: Tensor = self.inner(local_proj=views, global_proj=views)
        return value


CRITERIA: dict[str, Callable[[], nn.Module]] = {
    "NTXent": lightly_loss.NTXentLoss,
    "NTXent with bank": lambda: lightly_loss.NTXentLoss(memory_bank_size=(16, 8)),
    "DCL": lightly_loss.DCLLoss,
    "DCLW": lightly_loss.DCLWLoss,
    "cosine": Negative,
    "Barlow Twins": lightly_loss.BarlowTwinsLoss,
    "VICReg": lightly_loss.VICRegLoss,
    "TiCo": lightly_loss.TiCoLoss,
    "DirectCLR": lambda: lightly_loss.DirectCLRLoss(loss_dim=4),
    "MACL": lightly_loss.MACLLoss,
    "MSN": lambda: WithPrototypes(lightly_loss.MSNLoss()),
    "PMSN": lambda: WithPrototypes(lightly_loss.PMSNLoss()),
    "LeJEPA": lambda: Named(lightly_loss.LeJEPALoss()),
}


class Stacked(nn.Module):
    """MMCR's criterion takes the embeddings of all views in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = lightly_loss.MMCRLoss()

    def forward(self, online: list[Tensor], momentum: list[Tensor]) -> Tensor:
        value: Tensor = self.inner(torch.stack(online, 1), torch.stack(momentum, 1))
        return value


Arrange = Callable[[Tensor, Tensor], tuple[Any, ...]]
LISTED: dict[str, tuple[Callable[[], nn.Module], Arrange]] = {
    "SwAV": (lightly_loss.SwaVLoss, lambda first, second: ([first, second], [])),
    "DINO": (
        lambda: lightly_loss.DINOLoss(output_dim=8),
        lambda first, second: ([first, second], [first, second]),
    ),
    "MMCR": (Stacked, lambda first, second: ([first, second], [second, first])),
    "FroSSL": (lightly_loss.FroSSLLoss, lambda first, second: ([first, second],)),
    "EMP-SSL": (lightly_loss.EMPSSLLoss, lambda first, second: ([first, second],)),
    "KoLeo": (lightly_loss.KoLeoLoss, lambda first, second: (first,)),
}
"""Criteria of lists, and what lists of views they get here."""


def arranged(name: str, views: Any) -> Any:
    return LISTED[name][1](*views) if name in LISTED else tuple(views)


# Some give no gradient to the second view.
@pytest.mark.filterwarnings("ignore:the objective does not depend on the views")
@pytest.mark.parametrize("name", [*CRITERIA, *LISTED])
@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_it_equals_the_callback(name: str, mode: Any) -> None:
    class Plain(zoo.Base):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = encoder()
            self.head = nn.Identity()
            self.criterion = (CRITERIA.get(name) or LISTED[name][0])()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            views = arranged(name, batch[0])
            return self.criterion(*pytree.tree_map(self.forward, views))

    class Swapped(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.criterion = AdversarialLoss(self.criterion, ATTACK, mode=mode)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            generator = noise.training_generator(
                rank=0, epoch=self.current_epoch, batch_idx=batch_idx
            )
            views = arranged(name, batch[0])
            return self.criterion(self.forward, views, generator=generator)

    callback = AdversarialTraining(ATTACK, mode=mode)
    # Later VICReg diverges under this learning rate.
    expected, _ = zoo.fit(Plain, [callback], max_steps=4)
    found, _ = zoo.fit(Swapped, [], max_steps=4)
    wanted = dict(expected.backbone.state_dict())  # type: ignore[union-attr]
    start = encoder().state_dict()
    assert not torch.equal(start["0.weight"], wanted["0.weight"])
    for key, value in found.backbone.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(value, wanted[key]), key


@pytest.mark.parametrize("options", [{"independent": True}, {"rng": "resample"}])
def test_options_of_the_callback_mean_the_same(options: dict[str, Any]) -> None:
    class Plain(zoo.Base):
        def __init__(self) -> None:
            super().__init__()
            self.backbone[3] = nn.Identity()  # draws between the views

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            first, second = (view + 0.1 * torch.rand(8) for view in batch[0])
            return self.criterion(self(first), self(second))

    class Swapped(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.criterion = AdversarialLoss(self.criterion, ATTACK, **options)

        def noisy(self, view: Tensor) -> Tensor:
            found: Tensor = self(view + 0.1 * torch.rand(8))
            return found

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            generator = noise.training_generator(rank=0, epoch=0, batch_idx=batch_idx)
            return self.criterion(self.noisy, batch[0], generator=generator)

    expected, _ = zoo.fit(Plain, [AdversarialTraining(ATTACK, **options)], max_steps=2)
    same, _ = zoo.fit(Plain, [AdversarialTraining(ATTACK)], max_steps=2)
    found, _ = zoo.fit(Swapped, [], max_steps=2)
    wanted, other = (dict(each.named_parameters()) for each in (expected, same))
    for name, value in found.named_parameters():
        assert torch.allclose(value, wanted[name], atol=1e-6), name
    weight = "backbone.0.weight"
    assert not torch.allclose(wanted[weight], other[weight], atol=1e-6)


def test_state_advances_once() -> None:
    module = encoder()
    own = lightly_loss.NTXentLoss(memory_bank_size=(16, 8))
    plain_module, plain = copy.deepcopy(module), copy.deepcopy(own)
    AdversarialLoss(own, ATTACK, mode="dual")(module, VIEWS)
    plain(plain_module(VIEWS[0]), plain_module(VIEWS[1]))
    for first, second in ((module, plain_module), (own, plain)):
        assert leaks.snapshot(first).changes(leaks.snapshot(second)) == []


@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_two_encoders_and_a_loss_that_is_symmetric(mode: Any) -> None:
    online = encoder()
    target = copy.deepcopy(online).requires_grad_(False)
    update_momentum(online, target, m=0.5)
    criterion = AdversarialLoss(Negative(), ATTACK, mode=mode)
    first, second = VIEWS

    def detached(view: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = target(view)
        return out

    criterion = AdversarialLoss(Negative(), ATTACK, mode=mode, modules=[target])
    with pytest.warns(UserWarning, match=r"does not depend on the views \[1\]"):
        left = criterion((online, detached), (first, second))
    with warnings.catch_warnings():  # it is said once
        warnings.simplefilter("error")
        right = criterion((online, detached), (second, first))
    (0.5 * (left + right)).backward()
    assert all(each.grad is not None for each in online.parameters())
    clean = Negative()(online(first), detached(second))
    assert left > clean


def test_lists_of_views_go_to_criteria_of_lists() -> None:
    # As SwAV and DINO have it: several views of one network, some of another.
    student, teacher = encoder(16), encoder(16)
    criterion = AdversarialLoss(
        lightly_loss.DINOLoss(output_dim=16), ATTACK, mode="replace", modules=[teacher]
    )
    small = torch.rand(6, 3, 8, 8)

    def teach(view: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = teacher(view)
        return out

    before = leaks.snapshot(criterion)
    # The large views go to both networks: they are perturbed once, for both.
    loss = criterion((teach, student), (VIEWS, [*VIEWS, small]))
    loss.backward()
    assert loss.dim() == 0
    assert "criterion.center" in str(before.changes(leaks.snapshot(criterion)))


def test_in_eval_mode_it_is_the_criterion() -> None:
    module = encoder().eval()
    plain = lightly_loss.NTXentLoss()
    criterion = AdversarialLoss(plain, ATTACK).eval()
    assert torch.equal(
        criterion(module, VIEWS), plain(module(VIEWS[0]), module(VIEWS[1]))
    )


def test_at_eps_zero_replace_is_the_criterion_bit_for_bit() -> None:
    module = encoder()
    plain = lightly_loss.NTXentLoss()
    criterion = AdversarialLoss(
        plain, PGD(ThreatModel(eps=0.0), steps=2), mode="replace"
    )
    other = copy.deepcopy(module)
    expected = plain(other(VIEWS[0]), other(VIEWS[1]))
    assert torch.equal(criterion(module, VIEWS), expected)


def test_only_the_chosen_views_move() -> None:
    seen: list[list[Tensor]] = []

    class Seeing(nn.Module):
        def forward(self, *views: Tensor) -> Tensor:
            seen.append([view.detach() for view in views])
            return sum(view.square().mean() for view in views)  # type: ignore[return-value]

    AdversarialLoss(Seeing(), ATTACK, views=[0], mode="replace")(nn.Identity(), VIEWS)
    first, second = seen[-1]
    assert not torch.equal(first, VIEWS[0])
    assert torch.equal(second, VIEWS[1])


def test_modules_behind_an_encoder_must_be_known() -> None:
    module = encoder()
    criterion = AdversarialLoss(lightly_loss.NTXentLoss(), ATTACK)
    with pytest.raises(TypeError, match=r"name them: AdversarialLoss\(..., modules="):
        criterion(lambda view: module(view), VIEWS)
    criterion(functools.partial(module.forward), VIEWS)
    named = AdversarialLoss(lightly_loss.NTXentLoss(), ATTACK, modules=[module])
    named(lambda view: module(view), VIEWS)
    assert list(named.state_dict()) == list(criterion.state_dict())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"attack": 0.1}, TypeError, r"attack is a float; expected an attack"),
        ({"mode": "both"}, ValueError, r"mode='both' is unknown"),
        ({"bn_mode": "test"}, ValueError, r"bn_mode='test' is unknown; use one of"),
        ({"weight": 2.0}, ValueError, r"weight=2.0 must lie in \[0, 1\]"),
        ({"criterion": "ce"}, TypeError, r"criterion is a str; expected a module or"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        AdversarialLoss(**{"criterion": nn.Identity(), "attack": ATTACK, **arguments})


def test_bad_views_are_refused() -> None:
    criterion = AdversarialLoss(lightly_loss.NTXentLoss(), ATTACK)
    with pytest.raises(ValueError, match=r"2 encoders came with 1 views"):
        criterion((encoder(), encoder()), VIEWS[:1])
    with pytest.raises(TypeError, match=r"views is a Tensor; expected a list"):
        criterion(encoder(), VIEWS[0])


def test_a_criterion_may_be_a_function() -> None:
    module = encoder()
    found = AdversarialLoss(torch.nn.functional.mse_loss, ATTACK)(module, VIEWS)
    again = AdversarialLoss(nn.MSELoss(), ATTACK)
    assert found.dim() == 0
    assert not list(again.criterion.parameters())  # type: ignore[attr-defined]
    assert found > torch.nn.functional.mse_loss(*(module(view) for view in VIEWS))


def test_loggers_hear_of_training_only() -> None:
    heard: list[str] = []

    class Logger(DummyLogger):
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            heard.extend(name for name in metrics if name == "from forward")

    class Logs(zoo.Base):
        def __init__(self) -> None:
            super().__init__()
            self.criterion = AdversarialLoss(lightly_loss.NTXentLoss(), ATTACK)

        def forward(self, images: Tensor) -> Tensor:
            if self.logger is not None:
                self.logger.log_metrics({"from forward": 1.0})
            return super().forward(images)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.criterion(self.forward, batch[0])

    zoo.fit(Logs, [], data=zoo.batches(1), max_epochs=1, logger=Logger())
    # Two views on the clean stream; nothing in the attack nor in the other stream.
    assert len(heard) == 2


def test_modules_behind_a_criterion_are_isolated() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = torch.zeros(())

        def loss(self, first: Tensor, second: Tensor) -> Tensor:
            self.calls += 1
            return (first - second).square().mean()

    for wrapped in (lambda each: each.loss, lambda each: functools.partial(each.loss)):
        counting = Counting()
        AdversarialLoss(wrapped(counting), ATTACK)(encoder(), VIEWS)
        assert counting.calls == 1


def test_isolation_is_planned_once_per_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[nn.Module] = []

    class Counted(Plan):
        def __init__(self, module: nn.Module) -> None:
            made.append(module)
            super().__init__(module)

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = encoder()
            loss = lightly_loss.NTXentLoss(memory_bank_size=(16, 8))
            self.criterion = AdversarialLoss(loss, ATTACK, mode="dual")

        def forward(self, images: Tensor) -> Any:
            return self.network(images)

        def step(self) -> Tensor:
            loss: Tensor = self.criterion(self.forward, VIEWS)
            return loss

    module = Module()
    monkeypatch.setattr(isolated, "Plan", Counted)
    for _ in range(3):
        module.step().backward()  # type: ignore[no-untyped-call]
    assert len(made) == 1
    made.clear()
    copied = copy.deepcopy(module)
    states = leaks.snapshot(module)
    copied.step().backward()  # type: ignore[no-untyped-call]
    assert states.changes(leaks.snapshot(module)) == [], "copies are apart"
    assert len(made) == 2, "the copy has one for its modules"
    again = pickle.loads(pickle.dumps(module.criterion))
    assert torch.equal(again(module.network, VIEWS), module.step())


def test_modules_that_change_between_batches_are_isolated() -> None:
    module, plain_module = encoder(), encoder()
    criterion = AdversarialLoss(nn.MSELoss(), ATTACK, mode="dual")
    norms = [nn.BatchNorm2d(4) for _ in range(3)]
    for norm in norms:
        criterion(module, VIEWS)
        [plain_module(view) for view in VIEWS]
        assert leaks.snapshot(module).changes(leaks.snapshot(plain_module)) == []
        module[1], plain_module[1] = norm, copy.deepcopy(norm)
    counts = [norm.state_dict()["num_batches_tracked"].item() for norm in norms]
    assert counts == [2, 2, 0]
