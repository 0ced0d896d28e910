"""What autodoc has to know about the docstrings of this package."""

from __future__ import annotations

import pkgutil
from typing import Any

import pytorch_lightning as pl
from docutils.nodes import Element
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

TOP_LEVEL = ("class", "data", "exception", "function", "module", "type")
HIDDEN_COLON = "\N{SYMBOL FOR NULL}"


class AnyName(PyXRefRole):
    """Single backticks: a link where the name is documented, code elsewhere."""

    def process_link(
        self,
        env: BuildEnvironment,
        refnode: Element,
        has_explicit_title: bool,
        title: str,
        target: str,
    ) -> tuple[str, str]:
        """Look for Python objects, and mark what need not be one."""
        refnode["refdomain"], refnode["reftype"] = "py", "obj"
        refnode["py:module"] = env.ref_context.get("py:module")
        refnode["py:class"] = env.ref_context.get("py:class")
        refnode["optional"] = True
        return title, target


def find_elsewhere(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: Any
) -> Any:
    """Find the one class or function of a name in whatever module it is documented.

    Names in annotations that exist but have no page are shown without a link, and so
    are exceptions that are documented nowhere.
    """
    if not node.get("optional") and node.get("reftype") != "exc":
        return content if _exists(node.get("reftarget", "")) else None
    found = [
        (path, entry)
        for path, entry in env.domains.python_domain.objects.items()
        if path.endswith(f".{node['reftarget']}")
        and entry.objtype in TOP_LEVEL
        and not entry.aliased
    ]
    if len(found) != 1:
        return content
    ((path, entry),) = found
    return make_refnode(
        app.builder, node["refdoc"], entry.docname, entry.node_id, content, path
    )


def _exists(path: str) -> bool:
    """Whether a name such as `lightly_adv.training.cost.StepCost` can be imported."""
    if not path.startswith("lightly_adv."):
        return False
    try:
        pkgutil.resolve_name(path)
    except (AttributeError, ImportError):
        return False
    return True


def skip_hook(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what Lightning calls, not the user: hooks of callbacks."""
    return True if what == "class" and hasattr(pl.Callback, name) else None


def hide_colon(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep napoleon from reading a type out of "Length in pixels: ..."."""
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(":", HIDDEN_COLON)


def show_colon(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Undo `hide_colon`, once napoleon has passed."""
    lines[:] = [line.replace(HIDDEN_COLON, ":") for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect them, around napoleon, which has the default priority of 500."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_role("any_name", AnyName())
    app.connect("missing-reference", find_elsewhere)
    app.connect("autodoc-skip-member", skip_hook)
    app.connect("autodoc-process-docstring", hide_colon, priority=400)
    app.connect("autodoc-process-docstring", show_colon, priority=600)
    return {"parallel_read_safe": True}
