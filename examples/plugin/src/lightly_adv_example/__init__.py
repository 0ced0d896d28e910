"""A plug-in to lightly_adv: an attack, a pretext task and a corruption."""

from lightly_adv_example.gamma import GammaTask as GammaTask
from lightly_adv_example.lines import create_lines as create_lines
from lightly_adv_example.mi_fgsm import MIFGSM as MIFGSM
