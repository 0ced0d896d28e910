"""Self-supervised methods as LightningModules, by class or by name."""

from lightly_adv.lightning import pl
from lightly_adv.methods.advcl import AdvCL as AdvCL
from lightly_adv.methods.adversarial_module import (
    AdversarialModule as AdversarialModule,
)
from lightly_adv.methods.air import AIR as AIR
from lightly_adv.methods.classifier import RobustClassifier as RobustClassifier
from lightly_adv.methods.classifier import Trainable as Trainable
from lightly_adv.methods.clean_constraint import CleanConstraint as CleanConstraint
from lightly_adv.methods.criteria import TRADES as TRADES
from lightly_adv.methods.criteria import AdversarialCriterion as AdversarialCriterion
from lightly_adv.methods.criteria import CrossEntropy as CrossEntropy
from lightly_adv.methods.criteria import KLRegularized as KLRegularized
from lightly_adv.methods.criteria import create_criterion as create_criterion
from lightly_adv.methods.criteria import is_criterion as is_criterion
from lightly_adv.methods.criteria import list_criteria as list_criteria
from lightly_adv.methods.criteria import register_criterion as register_criterion
from lightly_adv.methods.deacl import DeACL as DeACL
from lightly_adv.methods.dynacl import DynACL as DynACL
from lightly_adv.methods.fidelity import AttackedOnly as AttackedOnly
from lightly_adv.methods.fidelity import CleanDistance as CleanDistance
from lightly_adv.methods.fidelity import Consistency as Consistency
from lightly_adv.methods.fidelity import Fidelity as Fidelity
from lightly_adv.methods.pretext import PretextModule as PretextModule
from lightly_adv.methods.pretext_ensemble import (
    PretextEnsembleModule as PretextEnsembleModule,
)
from lightly_adv.methods.pseudo_labels import pseudo_labels as pseudo_labels
from lightly_adv.methods.robust_distillation import (
    RobustDistillation as RobustDistillation,
)
from lightly_adv.methods.rocl import RoCL as RoCL
from lightly_adv.registry import Registry

if pl.__name__ == "pytorch_lightning":
    from lightly_adv.methods.linear_classifier import (
        FinetuningProtocol as FinetuningProtocol,
    )
    from lightly_adv.methods.linear_classifier import (
        LinearClassifier as LinearClassifier,
    )
    from lightly_adv.methods.linear_probe import LinearProbeReport as LinearProbeReport
    from lightly_adv.methods.linear_probe import linear_probe as linear_probe
else:

    def __getattr__(name: str) -> object:
        """Tell why what is built on Lightly's own classifier is missing."""
        if name in (
            "LinearClassifier",
            "LinearProbeReport",
            "FinetuningProtocol",
            "linear_probe",
        ):
            raise ImportError(
                f"{name} needs lightly.utils.benchmarking, whose modules are those of "
                f"pytorch_lightning, and there is only {pl.__name__}; "
                "pip install pytorch_lightning."
            )
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.")


REGISTRY = Registry[pl.LightningModule]("method", "lightly_adv.methods")
"""The methods by name."""

create_method = REGISTRY.create
list_methods = REGISTRY.list
register_method = REGISTRY.register
is_method = REGISTRY.is_registered
load_method = REGISTRY.load

register_method("pretext")(PretextModule)
register_method("pretext_ensemble")(PretextEnsembleModule)
register_method("robust_distillation")(RobustDistillation)
register_method("deacl")(DeACL)
register_method("rocl")(RoCL)
register_method("dynacl")(DynACL)
register_method("air")(AIR)
register_method("advcl")(AdvCL)
