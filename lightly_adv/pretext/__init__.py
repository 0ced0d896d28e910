"""Pretext tasks: what a backbone learns from images without labels."""

from lightly_adv.pretext.attention_pooling import AttentionPooling as AttentionPooling
from lightly_adv.pretext.ensemble import PretextEnsemble as PretextEnsemble
from lightly_adv.pretext.heads import JigsawPredictionHead as JigsawPredictionHead
from lightly_adv.pretext.heads import RotationPredictionHead as RotationPredictionHead
from lightly_adv.pretext.jigsaw import JigsawTask as JigsawTask
from lightly_adv.pretext.registry import REGISTRY as REGISTRY
from lightly_adv.pretext.rotation import RotationTask as RotationTask
from lightly_adv.pretext.selfie import SelfieTask as SelfieTask
from lightly_adv.pretext.task import PretextTask as PretextTask

create_pretext_task = REGISTRY.create
list_pretext_tasks = REGISTRY.list
register_pretext_task = REGISTRY.register
is_pretext_task = REGISTRY.is_registered

register_pretext_task("jigsaw")(JigsawTask)
register_pretext_task("rotation")(RotationTask)
register_pretext_task("selfie")(SelfieTask)
