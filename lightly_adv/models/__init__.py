"""Backbones, their checkpoints and their normalisation, and ensembles of models."""

from lightly_adv.models.backbones import create_backbone as create_backbone
from lightly_adv.models.backbones import feature_dim as feature_dim
from lightly_adv.models.checkpoints import LoadReport as LoadReport
from lightly_adv.models.checkpoints import load_backbone as load_backbone
from lightly_adv.models.checkpoints import save_backbone as save_backbone
from lightly_adv.models.ensemble import Ensemble as Ensemble
from lightly_adv.models.normalization import IMAGENET_NORMALIZE as IMAGENET_NORMALIZE
from lightly_adv.models.normalization import Normalize as Normalize
from lightly_adv.models.normalization import NormalizeChoice as NormalizeChoice
from lightly_adv.models.normalization import normalization_of as normalization_of
from lightly_adv.models.partial_load import LoadChoice as LoadChoice
