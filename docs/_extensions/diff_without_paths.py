"""Diffs lose their first two lines, which say where both files lie."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def drop_paths(app: Sphinx, document: nodes.document) -> None:
    """Cut `--- path` and `+++ path` from what `literalinclude` with `diff` made."""
    for block in document.findall(nodes.literal_block):
        lines = block.rawsource.split("\n")
        if block.get("language") == "udiff" and lines[0].startswith("--- "):
            block.rawsource = "\n".join(lines[2:])
            block.children = [nodes.Text(block.rawsource)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect it."""
    app.connect("doctree-read", drop_paths)
    return {"parallel_read_safe": True}
