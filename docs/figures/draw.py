"""Draw every figure of the documentation again, for light and for dark pages.

`python docs/figures/draw.py` takes about a minute; it trains a small network for one
of them. Names as arguments draw only these.
"""

from __future__ import annotations

import importlib
import sys

import matplotlib
import style

FIGURES = ("views", "isolation", "streams", "threat_model", "pretext")


def main() -> None:
    """Draw the figures named on the command line, or all."""
    matplotlib.rcParams.update(style.SETTINGS)
    for name in sys.argv[1:] or FIGURES:
        figure = importlib.import_module(name)
        for palette in (style.LIGHT, style.DARK):
            sys.stdout.write(f"{figure.draw(palette)}\n")


if __name__ == "__main__":
    main()
