"""Read a table of accuracies, and name what cannot be."""

from lightly_adv.audit.audit import Audit as Audit
from lightly_adv.audit.audit import audit as audit

__all__ = ["Audit", "audit"]
