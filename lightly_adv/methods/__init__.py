"""Self-supervised methods as LightningModules, by class or by name."""

from lightly_adv.lightning import pl
from lightly_adv.methods.pretext_ensemble_module import (
    PretextEnsembleModule as PretextEnsembleModule,
)
from lightly_adv.methods.pretext_module import PretextModule as PretextModule
from lightly_adv.registry import Registry

_REGISTRY = Registry[pl.LightningModule]("method", "lightly_adv.methods")

create_method = _REGISTRY.create
list_methods = _REGISTRY.list
register_method = _REGISTRY.register
is_method = _REGISTRY.is_registered
