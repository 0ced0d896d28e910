"""The page about the examples names all of them, and shows what is in them."""

from __future__ import annotations

import re

from tests.examples import watching

PAGE = (watching.EXAMPLES.parent / "docs" / "examples.md").read_text()
FOLDERS = (
    "manual_optimization",
    "pytorch",
    "pytorch_lightning",
    "pytorch_lightning_distributed",
    "small_images",
)


def test_the_table_lists_every_script_and_notebook() -> None:
    listed = set(re.findall(r"\]\(\.\./(examples/[^)]+)\)", PAGE))
    scripts = {
        f"examples/{folder}/{path.name}"
        for folder in FOLDERS
        for path in (watching.EXAMPLES / folder).glob("*.py")
        if (folder, path.name) != ("pytorch_lightning", "rotation.py")
    }
    notebooks = (watching.EXAMPLES / "notebooks").glob("*.ipynb")
    assert listed == scripts | {f"examples/notebooks/{each.name}" for each in notebooks}


def test_the_differences_lead_to_the_scripts() -> None:
    blocks = re.findall(r"```diff\n(.*?)```", PAGE, flags=re.DOTALL)
    scripts = ("pytorch_lightning/simclr.py", "pytorch/simsiam.py")
    for block, name in zip(blocks, scripts, strict=True):
        lines = (watching.EXAMPLES / name).read_text().splitlines()
        rest = iter([line.strip() for line in lines])
        new = [line[1:].strip() for line in block.splitlines() if line[:1] != "-"]
        # Each is found behind the one before.
        missing = [line for line in new if line and line not in rest]
        assert missing == [], name
