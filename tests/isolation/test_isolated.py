from __future__ import annotations

import copy
import itertools
import pickle
import random
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightly_adv import isolated
from lightly_adv.isolation import leaks
from lightly_adv.isolation.isolated import Isolation, SharedIsolation
from lightly_adv.testing import assert_no_side_effects
from tests import zoo


@pytest.mark.parametrize("create", zoo.ZOO)
def test_every_training_step_leaves_no_trace(create: Any) -> None:
    module = create()
    batch = next(iter(zoo.batches()))
    assert_no_side_effects(module, lambda: module.training_step(batch, 0))


def test_assert_no_side_effects_finds_what_is_out_of_reach() -> None:
    module = nn.Linear(2, 2)
    rates = (rate for rate in (0.1, 0.2, 0.3))
    module.rates = rates  # type: ignore[assignment]
    with pytest.raises(AssertionError, match=r"of Linear changed: rates \(position\)"):
        assert_no_side_effects(module, lambda: next(rates))


def test_the_original_objects_come_back_by_identity() -> None:
    module = zoo.Momentum()
    parameters = [id(each) for each in module.parameters()]
    buffers = [id(each) for each in module.buffers()]
    modules = [id(each) for each in module.modules()]
    with isolated(module):
        inside = [id(each) for each in module.parameters()]
        assert not set(inside) & set(parameters)
        assert not any(each.requires_grad for each in module.parameters())
        module.extra = nn.Linear(1, 1)
        module.head = nn.Identity()
        del module.backbone
    assert [id(each) for each in module.parameters()] == parameters
    assert [id(each) for each in module.buffers()] == buffers
    assert [id(each) for each in module.modules()] == modules
    assert not hasattr(module, "extra")


def test_everything_comes_back_after_an_error() -> None:
    module = zoo.Metrics()
    before = leaks.snapshot(module)

    def fail() -> None:
        module.calls = 7
        module.history.append(1.0)
        torch.rand(3), random.random(), np.random.rand()
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"), isolated(module):
        fail()
    assert before.changes(leaks.snapshot(module)) == []


class Holding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.bank: Tensor
        self.register_buffer("bank", torch.zeros(2), persistent=False)
        self.plain = torch.zeros(2)
        self.items: list[Any] = [torch.zeros(2), [1]]
        self.ordered = OrderedDict(a=torch.zeros(2))
        self.grouped: defaultdict[str, list[int]] = defaultdict(list)
        self.recent: deque[int] = deque([1], maxlen=2)
        self.pair = (torch.zeros(2), {"deep": torch.zeros(2)})
        self.names = {"a"}
        self.array = np.zeros(2)
        self.source = torch.Generator().manual_seed(1)
        self.python = random.Random(1)
        self.numpy = np.random.default_rng(1)
        self.momenta = iter([0.9, 0.95, 1.0])
        self.ahead = (iter(range(3)), iter((1, 2)))
        self.nothing = None

    def disturb(self) -> None:
        with torch.no_grad():
            self.weight.add_(1)
        self.bank.add_(1)
        self.plain.add_(1)
        self.items[0].add_(1)
        self.items[1].append(2)
        self.ordered["b"] = self.ordered.pop("a") + 1
        self.grouped["x"].append(1)
        self.recent.append(2)
        self.pair[0].add_(1)
        self.pair[1]["deep"].add_(1)
        self.names.add("b")
        self.array += 1
        torch.rand(1, generator=self.source)
        self.python.random()
        self.numpy.random()
        next(self.momenta), [next(each) for each in self.ahead]
        self.nothing = 1  # type: ignore[assignment]
        self.new = 1


def test_every_kind_of_attribute_is_set_aside() -> None:
    module = Holding()
    before = leaks.snapshot(module)
    with isolated(module):
        module.disturb()
        inside = before.changes(leaks.snapshot(module))
    assert before.changes(leaks.snapshot(module)) == []
    # Otherwise the comparison would pass because it sees nothing.
    named = {name.split("[")[0].split(" ")[0] for name in inside}
    kept = {"training"} | {name for name in vars(module) if "hook" in name}
    assert named >= {
        name
        for name in vars(Holding())
        if not name.startswith("_") and name not in kept
    }
    assert named >= {"weight", "bank", "new"}


def test_attributes_are_the_same_at_every_evaluation() -> None:
    module = Holding()
    isolation = Isolation(module)
    seen = []
    for _ in range(3):
        with isolation.evaluation():
            seen.append(float(module.weight.sum() + module.plain.sum()))
            module.disturb()
            # What escapes the stand-ins must not reach the next evaluation either.
            module.weight.data = torch.full((2,), 9.0)
            module.plain.data = module.weight.data
    assert seen == [2.0, 2.0, 2.0]


def test_ties_stay_ties() -> None:
    module = nn.Module()
    module.first, module.second = nn.Linear(2, 2), nn.Linear(2, 2)
    module.second.weight = module.first.weight
    module.listed = [module.first.weight]  # type: ignore[assignment]
    with isolated(module):
        assert module.second.weight is module.first.weight
        assert module.listed[0] is module.first.weight  # type: ignore[index]


def test_random_streams_go_on_as_without() -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), random.random(), float(np.random.rand())

    module = nn.Linear(1, 1)
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    with isolated(module):
        first = draw()
    assert draw() == first
    with Isolation(module).evaluation(seed=1):
        one = draw()
    with Isolation(module).evaluation(seed=2):
        assert draw() != one
    with Isolation(module).evaluation(seed=1):
        assert draw() == one


def test_differentiable_streams_add_up() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4)
    module = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 1))
    module[2].bias.requires_grad_(False)
    first, second = torch.randn(5, 3), torch.randn(5, 3)

    def gradients(*inputs: Tensor) -> list[Tensor]:
        module.zero_grad()
        module(torch.cat([*inputs])).sum().square().backward()
        return [
            each.grad.clone() for each in module.parameters() if each.grad is not None
        ]

    alone = [gradients(first), gradients(second)]
    module.zero_grad()
    steps = int(norm.num_batches_tracked or 0)
    with isolated(module, differentiable=True):
        isolated_loss = module(second).sum().square()
    (module(first).sum().square() + isolated_loss).backward()
    together = [each.grad for each in module.parameters() if each.grad is not None]
    assert len(together) == 5
    for one, two, both in zip(*alone, together, strict=True):
        assert torch.allclose(one + two, both, atol=1e-4)
    assert int(norm.num_batches_tracked or 0) == steps + 1


def test_a_module_in_eval_mode_is_left_so() -> None:
    module = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    with isolated(module):
        module.train()
    assert [each.training for each in module] == [True, False]


def test_loggers_are_muted_and_come_back() -> None:
    class Logger:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        @property
        def experiment(self) -> Any:
            return self

        def add_image(self, name: str, value: Any) -> None:
            self.seen.append(value)

    class Trainer:
        def __init__(self) -> None:
            self.loggers = [Logger()]

    class Module(nn.Module):
        def log(self, name: str, value: Any) -> None:
            trainer.loggers[0].seen.append(value)

        def log_dict(self, values: dict[str, Any]) -> None:
            trainer.loggers[0].seen.append(values)

    trainer, module = Trainer(), Module()
    logger = trainer.loggers[0]
    module._trainer = trainer  # type: ignore[assignment]
    with isolated(module):
        module.log("loss", 1)
        module.log_dict({"loss": 1})
        trainer.loggers[0].experiment.add_image("image", 1)
    assert trainer.loggers[0] is logger
    assert logger.seen == []
    module.log("loss", 2)
    assert logger.seen == [2]


def test_a_trainer_that_comes_later_is_muted() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.loggers = [object()]
            self.lock = threading.Lock()  # like Lightning's, it is not looked into

    module, trainer = nn.Linear(2, 2), Trainer()
    isolation = Isolation(nn.ModuleList([module]))
    with isolation.evaluation():
        pass
    module._trainer = trainer  # type: ignore[assignment]
    logger = trainer.loggers[0]
    with isolation.evaluation():
        assert trainer.loggers[0] is not logger
    assert trainer.loggers[0] is logger


def test_lazy_and_scripted_modules_are_refused() -> None:
    message = r"lazy parameter.*run one forward pass"
    with pytest.raises(ValueError, match=message), isolated(nn.LazyLinear(2)):
        pass
    module = nn.Sequential(torch.jit.script(nn.Linear(2, 2)))
    before = dict(vars(module))
    with pytest.raises(TypeError, match=r"is a scripted module"), isolated(module):
        pass
    assert vars(module) == before


def test_counters_and_named_tuples_are_copied() -> None:
    class Place(NamedTuple):
        tensor: Tensor

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.numbers = itertools.count(3, 2)
            self.letters = Counter("ab")
            self.place = Place(torch.zeros(2))

        def forward(self) -> None:
            next(self.numbers)
            self.letters["a"] += 1
            self.place.tensor.add_(1)

    module = Counting()
    before = leaks.snapshot(module)
    with isolated(module):
        module()
        assert next(module.numbers) == 5
        assert type(module.place) is Place
    assert before.changes(leaks.snapshot(module)) == []
    module()
    assert before.changes(leaks.snapshot(module)) == [
        "numbers (position)",
        "letters['a']",
        "place[0]",
    ]


def test_random_numbers_of_the_system_are_drawn_as_ever() -> None:
    module: Any = nn.Linear(2, 1)
    module.source = random.SystemRandom()
    with isolated(module):
        assert 0 <= module.source.random() < 1


def test_modules_used_together_share_a_plan_while_they_stay() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    shared = SharedIsolation()
    module, isolation = shared.of([first, second])
    assert list(module) == [first, second]
    assert shared.of([second, first, second]) == (module, isolation)
    other, another = shared.of([first])
    assert (list(other), another is isolation) == ([first], False)
    with another.evaluation():
        assert shared.of([first])[1] is another
    for copied in (copy.deepcopy(shared), pickle.loads(pickle.dumps(shared))):
        assert list(copied.of([])[0]) == []
        assert copied.of([first])[1] is not another
