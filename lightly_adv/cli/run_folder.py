"""The folder of a run: what was asked for, what came out, and the checkpoints."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightly_adv import files, json_files
from lightly_adv.json_files import Need
from lightly_adv.versions import versions


@dataclass
class RunFolder:
    """Where a run writes: config.yaml, run.json, result.json, checkpoints/, logs/.

    Args:
        path: The folder.

    Examples:
        >>> RunFolder(Path("runs/mine")).last_checkpoint.as_posix()
        'runs/mine/checkpoints/last.ckpt'
    """

    path: Path
    _started: float = field(default_factory=time.perf_counter)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint to resume from."""
        return self.checkpoints / "last.ckpt"

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> RunFolder:
        """Return the run that a checkpoint belongs to.

        Raises:
            FileNotFoundError: If there is no such checkpoint, or if it is not in the
                folder of a run.
        """
        if not checkpoint.is_file():
            raise FileNotFoundError(
                f"there is no checkpoint at {checkpoint}; expected the folder of a "
                "run, <run>/checkpoints/<name>.ckpt in it, or a folder that "
                "lightly-adv export has written."
            )
        folder = checkpoint.resolve().parent.parent
        if not (folder / "config.yaml").is_file():
            raise FileNotFoundError(
                f"{checkpoint} does not lie in the folder of a run: there is no "
                f"{folder / 'config.yaml'}. Expected <run>/checkpoints/<name>.ckpt, as "
                "lightly-adv finetune writes it. For other models call "
                "lightly_adv.evaluation.evaluate_robustness in Python."
            )
        return cls(folder)

    def command(self) -> str:
        """Return the command that the run is of, "pretrain" or "finetune".

        Raises:
            FileNotFoundError: If there is no run.json.
            ValueError: If it is damaged, or does not name the command.
        """
        found = json_files.read(
            self.path / "run.json",
            {"command": Need(_is_command, f"{_COMMAND}, as a list")},
            what="the run.json of a run",
            remedy=f'Write {{"command": [{_COMMAND}]}} into it, or train again.',
        )
        command: str = found["command"][1]
        return command

    def check(self, checkpoint: Path | None) -> None:
        """Refuse to overwrite another run; resuming this one is fine.

        Args:
            checkpoint: What training is resumed from, if it is.

        Raises:
            FileExistsError: If the folder holds something and `checkpoint` is not in
                it.
            FileNotFoundError: If there is no such checkpoint.
        """
        if checkpoint is not None and not checkpoint.is_file():
            raise FileNotFoundError(f"there is no checkpoint at {checkpoint}.")
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file; choose another --out.")
        own = checkpoint and self.path.resolve() in checkpoint.resolve().parents
        if not own and self._holds_something():
            resume = (
                f", or go on with that run: --ckpt_path {self.last_checkpoint}"
                if self.last_checkpoint.exists()
                else ""
            )
            raise FileExistsError(
                f"{self.path} exists and is not empty; choose another folder with "
                f"--out{resume}."
            )

    def _holds_something(self) -> bool:
        """Return whether there is more than a run leaves that has not begun."""
        held = (path for path in self.path.rglob("*") if not path.is_dir())
        found = {path.relative_to(self.path).parts[0] for path in held}
        return not found <= {"config.yaml", "run.json", "logs"}

    def remove_empty(self) -> None:
        """Remove the folder and those in it, as far as they hold no file."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def write_run(self, command: Sequence[str], **facts: Any) -> None:
        """Write run.json: the command, versions, and how long it took so far."""
        content = {
            "command": list(command),
            "written": datetime.datetime.now().astimezone().isoformat("T", "seconds"),
            "seconds": round(time.perf_counter() - self._started, 1),
            **facts,
            "versions": versions(),
        }
        write_json(self.path / "run.json", content)

    def write_result(self, rows: Sequence[dict[str, Any]], **facts: Any) -> None:
        """Write result.json: rows with accuracies in percent, and other facts."""
        write_json(self.path / "result.json", {"rows": list(rows), **facts})


_TRAINING = ("pretrain", "finetune")
_COMMAND = '"lightly-adv", "pretrain" or "finetune"'


def _is_command(part: Any) -> bool:
    words = json_files.is_list(part, json_files.is_text)
    return words and len(part) > 1 and part[1] in _TRAINING


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: readers see the old file or the new one."""
    files.replace(path, json.dumps(content, indent=2) + "\n")
