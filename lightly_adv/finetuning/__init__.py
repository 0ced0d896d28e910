"""Turning a pre-trained backbone into a classifier, standard or robust."""

from lightly_adv.finetuning.inherit import Inherited as Inherited
from lightly_adv.finetuning.objectives import TRADES as TRADES
from lightly_adv.finetuning.objectives import (
    AdversarialObjective as AdversarialObjective,
)
from lightly_adv.finetuning.objectives import CrossEntropy as CrossEntropy
from lightly_adv.finetuning.objectives import KLRegularized as KLRegularized
from lightly_adv.finetuning.objectives import create_objective as create_objective
from lightly_adv.finetuning.objectives import is_objective as is_objective
from lightly_adv.finetuning.objectives import list_objectives as list_objectives
from lightly_adv.finetuning.objectives import register_objective as register_objective
from lightly_adv.finetuning.robust_classifier import (
    RobustClassifier as RobustClassifier,
)
from lightly_adv.finetuning.robust_classifier import Trainable as Trainable
from lightly_adv.lightning import pl

if pl.__name__ == "pytorch_lightning":
    from lightly_adv.finetuning.linear_classifier import (
        LinearClassifier as LinearClassifier,
    )
    from lightly_adv.finetuning.linear_classifier import Protocol as Protocol
    from lightly_adv.finetuning.linear_probe import (
        LinearProbeReport as LinearProbeReport,
    )
    from lightly_adv.finetuning.linear_probe import linear_probe as linear_probe
else:

    def __getattr__(name: str) -> object:
        """Tell why what is built on Lightly's own classifier is missing."""
        if name in (
            "LinearClassifier",
            "LinearProbeReport",
            "Protocol",
            "linear_probe",
        ):
            raise ImportError(
                f"{name} needs lightly.utils.benchmarking, whose modules are those of "
                f"pytorch_lightning, and there is only {pl.__name__}; "
                "pip install pytorch_lightning."
            )
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.")
