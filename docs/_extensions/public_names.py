"""The directive `public-names`: everything that a package exports, with docstrings.

What a package exports are the names that its `__init__.py` imports `as` themselves or
assigns, and all of a module its own public functions, classes and constants. New
exports appear in the site by themselves.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

TOP = "lightly_adv"
LOGGER = logging.getLogger(__name__)


def public_names(module: ModuleType) -> dict[str, str]:
    """Names that a package exports or a module defines, and where each comes from."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    names: dict[str, str] = {}
    for node in tree.body:
        names |= dict.fromkeys(_defined(node), module.__name__)
        if isinstance(node, ast.ImportFrom):
            exported = (each.name for each in node.names if each.asname == each.name)
            names |= dict.fromkeys(exported, str(node.module))
    return {name: home for name, home in names.items() if not name.startswith("_")}


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        return [each.id for each in node.targets if isinstance(each, ast.Name)]
    return []


class PublicNames(SphinxDirective):
    """Document the names of a module; of the top level, list where they are."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Hand directives of Sphinx to the parser."""
        module, top = (importlib.import_module(at) for at in (self.arguments[0], TOP))
        lines = [inspect.getdoc(module) or "", ""]
        if module is top:
            lines += _table(module)
        else:
            names = public_names(module)
            above = [name for name in names if name in public_names(top)]
            if above:
                lines += [f"``from {TOP} import {', '.join(above)}`` works, too.", ""]
            inner = {n: home for n, home in names.items() if _is_inner(home, module)}
            for name, home in names.items():
                if name not in inner:
                    lines += _described(module, name, home)
            lines += _linked(inner)
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))


def _table(module: ModuleType) -> list[str]:
    lines = [".. list-table::", "   :widths: 35 65", ""]
    names = public_names(module)
    for name in sorted(names, key=lambda each: (each[0].islower(), each)):
        home, summary = names[name], inspect.getdoc(getattr(module, name)) or ""
        lines += [f"   * - :py:obj:`{name} <{home}.{name}>`"]
        lines += [f"     - {summary.splitlines()[0]}"]
    return [*lines, ""]


def _is_inner(home: str, module: ModuleType) -> bool:
    """Whether a name comes from an inner package, which has a page of its own."""
    is_package = hasattr(importlib.import_module(home), "__path__")
    return is_package and home != module.__name__


def _linked(names: dict[str, str]) -> list[str]:
    if not names:
        return []
    links = ", ".join(f":py:obj:`{name} <{names[name]}.{name}>`" for name in names)
    return [f"Also from here, and described on pages of their own: {links}.", ""]


def _described(module: ModuleType, name: str, home: str) -> list[str]:
    value, path = getattr(module, name), f"{module.__name__}.{name}"
    if isinstance(value, ModuleType):
        return [f".. automodule:: {path}", "   :members:", ""]
    if inspect.isclass(value):
        return [f".. autoclass:: {path}", "   :members:", "   :show-inheritance:", ""]
    if isinstance(value, TypeVar):
        return []
    if callable(value):
        return [f".. autofunction:: {path}", ""]
    # Where a constant is defined, there is its docstring.
    if ("", name) not in ModuleAnalyzer.for_module(home).find_attr_docs():
        LOGGER.warning("the constant %s.%s has no docstring", home, name)
        return []
    return [f".. autodata:: {home}.{name}", "   :no-value:", ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True}
