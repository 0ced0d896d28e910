from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from lightly_adv.callbacks.wrapped_step import WrappedStep


class Module(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int, scale: int = 1) -> Any:
        self.seen.append((batch, batch_idx, scale))
        return batch * scale


class Named(nn.Module):
    def training_step(self, *, batch: Any, batch_idx: int) -> Any:
        return batch


class Otherwise(nn.Module):
    def training_step(self, images: Any, number: int) -> Any:
        return images


class Free(nn.Module):
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if args else kwargs["batch"]


def wrap(module: nn.Module) -> WrappedStep:
    return WrappedStep(module, lambda step, batch: step(batch + 1))


@pytest.mark.parametrize(
    ("create", "args", "kwargs"),
    [
        (Module, (1, 0), {}),
        (Module, (1,), {"batch_idx": 0}),
        (Module, (), {"batch_idx": 0, "batch": 1}),
        (Named, (), {"batch": 1, "batch_idx": 0}),
        (Otherwise, (), {"number": 0, "images": 1}),
        (Otherwise, (1,), {"number": 0}),
        (Free, (1, 2, 3), {}),
        (Free, (), {"batch": 1}),
    ],
)
def test_the_batch_is_found_however_it_is_given(
    create: type[nn.Module], args: Any, kwargs: Any
) -> None:
    module: Any = create()
    wrap(module)
    assert module.training_step(*args, **kwargs) == 2


def test_other_arguments_are_handed_on() -> None:
    module = Module()
    wrap(module)
    assert module.training_step(1, 5, scale=3) == 6
    assert module.training_step(1, 5, 3) == 6
    assert module.seen == 2 * [(2, 5, 3)]


def test_what_lacks_the_batch_fails_as_without_us() -> None:
    module: Any = Module()
    wrap(module)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        module.training_step(batch_idx=0)


def test_copies_and_pickles_have_the_step_from_before() -> None:
    module = Module()
    wrapped = wrap(module)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = [
        copy.deepcopy(module),
        copy.deepcopy(copy.deepcopy(module)),
        pickle.loads(pickle.dumps(module)),
        torch.load(file, weights_only=False),
        copy.deepcopy({"best": module, "layer": module.layer})["best"],
    ]
    assert module.training_step(1, 0) == 2
    for each in copies:
        assert each.training_step(1, 0) == 1
        assert each.seen == [(1, 0, 1)]
        # A copy can be wrapped again, and is on its own then.
        WrappedStep(each, lambda step, batch: step(batch + 10))
        assert each.training_step(1, 0) == 11
    assert module.seen == [(2, 0, 1)]
    wrapped.unwrap()
    assert module.training_step(1, 0) == 1


def test_nothing_is_left_behind() -> None:
    module = Module()
    before = dict(vars(module))
    step = module.training_step
    wrapped = wrap(module)
    kept = module.training_step
    wrapped.unwrap()
    assert vars(module) == before
    assert module.training_step == step
    assert kept(1, 0) == 1
    wrapped.unwrap()


def test_a_step_of_the_instance_comes_back() -> None:
    module: Any = Module()

    def own(batch: Any, batch_idx: int) -> Any:
        return 100 * batch

    module.training_step = own
    wrapped = wrap(module)
    assert module.training_step(1, 0) == 200
    assert copy.deepcopy(module).training_step(1, 0) == 100
    wrapped.unwrap()
    assert module.training_step is own


def test_who_wraps_later_is_left_in_place() -> None:
    module: Any = Module()
    wrapped = wrap(module)
    inner = module.training_step

    def outer(batch: Any, batch_idx: int) -> Any:
        return -inner(batch, batch_idx)

    module.training_step = outer
    assert module.training_step(1, 0) == -2
    wrapped.unwrap()
    assert module.training_step is outer
    assert module.training_step(1, 0) == -1
