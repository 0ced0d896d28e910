"""The directive `method-facts`: the row of one method in the table of all methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

TABLE = Path(__file__).parents[1] / "methods.md"


def facts(name: str) -> list[tuple[str, str]]:
    """Return heading and content of each cell; raise if there is no such method.

    Examples:
        >>> facts("SimCLR")[2]
        ('views that receive gradient', 'both (0, 1)')
    """
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in TABLE.read_text().splitlines()
        if line.startswith("|")
    ]
    for row in rows:
        if row[0] == name or row[0].startswith(f"[{name}]"):
            return list(zip(rows[0], row, strict=True))
    raise ValueError(f"there is no method {name!r} in {TABLE.name}.")


class MethodFacts(SphinxDirective):
    """Show what the tests hold for one method, as a small table."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Hand a table to the parser; read the page again when the other changes."""
        self.env.note_dependency(str(TABLE))
        lines = [
            line
            for heading, cell in facts(self.arguments[0])[1:]
            if cell
            for line in (f"* - {heading}", f"  - {cell}")
        ]
        table = ["```{list-table}", ":widths: 30 70", "", *lines, "```"]
        return self.parse_text_to_nodes("\n".join(table))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("method-facts", MethodFacts)
    return {"parallel_read_safe": True}
