"""Pretext tasks: what a backbone learns from pictures without labels."""

from lightly_adv.models.pretext.task import PretextTask as PretextTask
from lightly_adv.registry import Registry

_REGISTRY = Registry[PretextTask]("pretext task", "lightly_adv.pretext_tasks")

create_pretext_task = _REGISTRY.create
list_pretext_tasks = _REGISTRY.list
register_pretext_task = _REGISTRY.register
is_pretext_task = _REGISTRY.is_registered
