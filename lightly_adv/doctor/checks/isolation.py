"""Can all that a training step changes be set aside while attacking?"""

from __future__ import annotations

from collections.abc import Iterator

from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check

NAME = "isolation"

SHOWN = 6
"""Names that are written out."""


def isolation(probe: Probe) -> Iterator[Check]:
    """Evaluate the loss twice, isolated, and compare the module with before."""
    leaked = probe.twice.leaked
    if not leaked:
        text = "after 2 evaluations of the loss everything is as it was."
        yield Check(NAME, "PASS", text)
        return
    more = f" and {len(leaked) - SHOWN} more" if len(leaked) > SHOWN else ""
    yield Check(
        NAME,
        "FAIL",
        f"every evaluation of the attack would change {', '.join(leaked[:SHOWN])}"
        f"{more}: it lives where nothing can be set aside, such as in a generator, a "
        "data loader, a global or a file.",
        "Make it an attribute of the module: a number, a list, a buffer.",
    )
