from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from lightly_adv import isolated
from lightly_adv.isolation.mute import Muted


class Run:
    id, folder = 7, Path("runs")

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.summary = {"best": 1.0}

    def __len__(self) -> int:
        return len(self.seen)

    def log(self, values: Any) -> str:
        self.seen.append(values)
        return "done"

    def get_url(self) -> str:
        return "there"


def test_plain_values_are_real_and_calls_do_nothing() -> None:
    run = Run()
    muted: Any = Muted(run)
    assert (muted.id, muted.folder, muted.get_url()) == (7, Path("runs"), "there")
    assert (isinstance(muted, Run), muted == run) == (True, True)
    muted.log({"loss": 1}).further[3].calls()
    muted.id = 8
    muted["loss"] = 1
    assert (run.id, run.seen, len(muted), bool(muted)) == (7, [], 0, False)
    muted.summary["best"] = 2.0
    assert run.summary == {"best": 1.0}
    with pytest.raises(AttributeError):
        _ = muted.absent


def test_what_a_silent_call_returns_can_be_used() -> None:
    nothing: Any = Muted(Run()).log({})
    assert os.path.isdir(os.path.join(nothing, ""))
    with nothing as inside:
        assert list(inside) == []
    assert (len(nothing), bool(nothing), nothing < 1, 3 in nothing) == (
        0,
        False,
        True,
        0,
    )
    assert (int(nothing), float(nothing + 1), str(nothing)) == (0, 0.0, "")
    assert nothing != "a"
    assert {nothing: 1}[nothing] == 1


def _module(name: str) -> Any:
    return ModuleType(name)


def test_known_packages_are_silent_when_they_are_called_directly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, wandb = Run(), _module("wandb")
    Run.__module__ = "wandb.sdk.wandb_run"
    wandb.run, wandb.log = run, run.log
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    inner = _module("wandb.sdk.wandb_run")
    inner.Run = Run
    monkeypatch.setitem(sys.modules, "wandb.sdk.wandb_run", inner)
    module: Any = nn.Linear(1, 1)
    module.run = run
    with isolated(module):
        wandb.log({})
        wandb.run.log({})
        module.run.log({})
        run.log({})
        assert wandb.run.id == 7
        assert module.run is not run
    assert run.seen == []
    assert module.run is run
    wandb.log(1)
    run.log(2)
    assert run.seen == [1, 2]
