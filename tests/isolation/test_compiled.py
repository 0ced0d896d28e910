from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import nn

from lightly_adv import isolated
from lightly_adv.isolation.compiled import is_compiled
from tests import zoo


def wrapped() -> nn.Module:
    compiled: Any = torch.compile(nn.Linear(2, 2), backend="eager")
    return nn.Sequential(compiled)


def in_place() -> nn.Module:
    inner = nn.Linear(2, 2)
    inner.compile(backend="eager")
    return nn.Sequential(inner)


def by_lightning() -> nn.Module:
    from pytorch_lightning.utilities.compile import from_compiled

    compiled: Any = torch.compile(zoo.Base(), backend="eager")
    module: nn.Module = from_compiled(compiled)
    return module


@pytest.fixture
def old_version() -> Any:
    """Ask for what PyTorch 2.4 does by default; newer ones only keep the answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch._dynamo.config.patch(inline_inbuilt_nn_modules=False):
            yield


@pytest.mark.parametrize("create", [wrapped, in_place, by_lightning])
def test_compiled_modules_are_found(create: Callable[[], nn.Module]) -> None:
    module = create()
    assert any(is_compiled(each) for each in module.modules())
    with isolated(module):
        pass


@pytest.mark.usefixtures("old_version")
@pytest.mark.parametrize("create", [wrapped, in_place, by_lightning])
def test_old_versions_are_refused(create: Callable[[], nn.Module]) -> None:
    module = create()
    before = dict(vars(module))
    message = r"is compiled, and this version of PyTorch.*torch>=2.5"
    with pytest.raises(TypeError, match=message), isolated(module):
        pass
    assert vars(module) == before


@pytest.mark.usefixtures("old_version")
def test_what_is_not_compiled_is_accepted_everywhere() -> None:
    module = zoo.Base()
    assert not any(is_compiled(each) for each in module.modules())
    with isolated(module):
        pass
