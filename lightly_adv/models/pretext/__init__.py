"""Pretext tasks: what a backbone learns from pictures without labels."""

from lightly_adv.models.pretext.ensemble import PretextEnsemble as PretextEnsemble
from lightly_adv.models.pretext.jigsaw import JigsawTask as JigsawTask
from lightly_adv.models.pretext.registry import REGISTRY
from lightly_adv.models.pretext.rotation import RotationTask as RotationTask
from lightly_adv.models.pretext.selfie import SelfieTask as SelfieTask
from lightly_adv.models.pretext.task import PretextTask as PretextTask

_REGISTRY = REGISTRY

create_pretext_task = _REGISTRY.create
list_pretext_tasks = _REGISTRY.list
register_pretext_task = _REGISTRY.register
is_pretext_task = _REGISTRY.is_registered
