"""Backbones, their checkpoints, and the modules and pretext tasks built on them."""

from lightly_adv.models.backbones import create_backbone as create_backbone
from lightly_adv.models.backbones import feature_dim as feature_dim
from lightly_adv.models.checkpoints import LoadReport as LoadReport
from lightly_adv.models.checkpoints import load_backbone as load_backbone
from lightly_adv.models.checkpoints import save_backbone as save_backbone
from lightly_adv.models.ensemble import Ensemble as Ensemble
