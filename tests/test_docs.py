"""Every Python block of the documentation runs, in order, page by page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import lightly_adv
from lightly_adv import methods

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "```python" in page.read_text()
]


REGISTER: tuple[Any, ...] = (
    lightly_adv.register_attack,
    lightly_adv.register_method,
    lightly_adv.register_pretext_task,
    lightly_adv.register_suite,
    methods.register_criterion,
)


@pytest.fixture(autouse=True)
def own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what a page registers."""
    for register in REGISTER:
        registry = register.__self__
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    assert blocks


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(
            r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text()
        ):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
