"""Figures about robustness. They need matplotlib: `pip install lightly-adv[plot]`."""

from lightly_adv.evaluation.figures.canvas import save as save
from lightly_adv.evaluation.figures.canvas import to_png as to_png
from lightly_adv.evaluation.figures.curves import robustness_curves as robustness_curves
from lightly_adv.evaluation.figures.maps import corruption_map as corruption_map
from lightly_adv.evaluation.figures.maps import transfer_maps as transfer_maps
from lightly_adv.evaluation.figures.scatter import accuracy_scatter as accuracy_scatter
