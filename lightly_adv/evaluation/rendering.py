"""Pages and Markdown from the templates of this package."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image
from torch import Tensor

from lightly_adv import markdown


def render(template: str, **content: Any) -> str:
    """Fill in a template.

    In `.html.j2` everything is escaped; in `.md.j2` text goes through the filter
    `plain`, or through the function `table`.

    Args:
        template: File name of the template.
        **content: What it names. Whatever is missing is an error.

    Examples:
        >>> pairs = {"suite": "pgd-20", "seed": 0}
        >>> page = render("page.html.j2", title="a<b", lead="", warnings=[],
        ...               settings=pairs)
        >>> "<h1>a&lt;b</h1>" in page, "<td>pgd-20</td>" in page
        (True, True)
    """
    environment = markdown.templates("lightly_adv.evaluation")
    return environment.get_template(template).render(content)


def to_png(image: Tensor) -> str:
    """Return an image as a PNG file in base64.

    Args:
        image: Pixels (C, H, W) in [0, 1], with 1 or at least 3 channels, of which the
            first 3 are shown.
    """
    levels = (255 * image.clamp(0, 1)).round().byte()
    levels = levels.expand(3, -1, -1) if len(levels) == 1 else levels[:3]
    buffer = io.BytesIO()
    Image.fromarray(levels.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
