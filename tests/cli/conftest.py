"""What the tests of the commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightly_adv import lightning
from lightly_adv.cli.main import main

TINY = ("--data", "tests.cli.tiny.TinyDataModule", "--model.backbone", "resnet8_tiny")

Command = Callable[..., int]


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Commands silence Lightning; other tests want to hear it."""
    loggers = [logging.getLogger(name) for name in lightning.LOGGERS]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command on the tiny data, in an empty folder; return its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> int:
        tiny = TINY if name in ("pretrain", "finetune") else ()
        return main([name, *tiny, *arguments])

    return run
