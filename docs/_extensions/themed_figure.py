"""The directive `themed-figure`: a figure that is drawn for light and dark pages."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.directives.patches import Figure

THEMES = ("light", "dark")


class ThemedFigure(Figure):
    """Show `NAME-light.svg` or `NAME-dark.svg`, as the reader chose.

    The argument is the path without its ending; options and caption are those of
    `figure`. The theme hides what has the other class.
    """

    def run(self) -> list[nodes.Node]:
        """Return one figure for each theme."""
        (path,), options = self.arguments, dict(self.options)
        found: list[nodes.Node] = []
        for theme in THEMES:
            self.arguments = [f"{path}-{theme}.svg"]
            self.options = {**options, "figclass": [f"only-{theme}"], "width": "100%"}
            found += super().run()
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("themed-figure", ThemedFigure)
    return {"parallel_read_safe": True}
