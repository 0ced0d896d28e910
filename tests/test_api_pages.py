"""Every package that exports something has a page in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
INTERNAL = {"lightly_adv.cli.demo", "lightly_adv.doctor.checks"}


def exporting_packages() -> set[str]:
    """Return the packages whose `__init__.py` imports names `as` themselves."""
    return {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "lightly_adv").rglob("__init__.py")
        if re.search(
            r" import .*\b(\w+) as \1\b|^    (\w+) as \2,", path.read_text(), re.M
        )
    }


def test_every_package_that_exports_names_has_a_page() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md"))
    described = set(re.findall(r"```\{public-names\} (\S+)", pages))
    assert "lightly_adv.attacks" in exporting_packages()
    assert exporting_packages() - INTERNAL <= described
