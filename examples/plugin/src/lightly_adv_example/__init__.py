"""A plug-in to lightly_adv: the attack "mi-fgsm" and the pretext task "gamma"."""

from lightly_adv_example.gamma import GammaTask as GammaTask
from lightly_adv_example.mi_fgsm import MIFGSM as MIFGSM
