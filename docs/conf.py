"""How Sphinx builds the documentation; `make docs` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import lightly_adv

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "lightly_adv"
author = "The lightly_adv developers"
copyright = author
version = release = lightly_adv.__version__

extensions = [
    "myst_parser",
    "diff_without_paths",
    "docstrings",
    "method_facts",
    "public_names",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "themed_figure",
]
exclude_patterns = ["_build", "_extensions"]

# "adv" in a docstring is a value: its quotes stay straight.
smartquotes = False

html_theme = "furo"
html_title = "lightly_adv"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_sphinx = False
pygments_dark_style = "github-dark"

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "fieldlist"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 72
python_use_unqualified_type_names = True
add_module_names = False
napoleon_numpy_docstring = False

# Single backticks in docstrings link to what they name where that is documented, and
# are code elsewhere.
default_role = "any_name"

nitpick_ignore_regex = [
    # Other packages: their documentation is not at hand without a network.
    ("py:.*", r"(torch|torchvision|pytorch_lightning|timm|lightly)\..*"),
    ("py:.*", r"(abc|argparse|collections|contextlib|os|pathlib)\..*"),
    ("py:.*", r"(typing|typing_extensions)\..*"),
    # Imported for type checkers only, or names of types.
    ("py:class", r"Figure|Matrix|NormalizeStats|Path|Space|Tensor|Row"),
]
