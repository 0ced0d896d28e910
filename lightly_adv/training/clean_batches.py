"""Batches that cannot be attacked: left clean, counted, and said once."""

from __future__ import annotations

import warnings

from lightly_adv.errors import NotFiniteError

PATIENCE = 3
"""How many batches in a row may fail before any was attacked."""


class CleanBatches:
    """Decides what a batch that cannot be attacked means for the training.

    At the beginning it is a mistake, and the training ends with the remedy: at once
    where the views are out of range or no gradient reaches them, and after `PATIENCE`
    batches where something is not finite. Once batches were attacked, a training goes
    on as it would without attacks.

    Examples:
        >>> batches = CleanBatches()
        >>> batches.attacked()
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warnings.simplefilter("always")
        ...     batches.left(NotFiniteError("the objective is NaN."), batch_idx=7)
        >>> "batch 7" in str(said[0].message), batches.count
        (True, 1)
    """

    def __init__(self) -> None:
        self.count = 0
        """How many batches were left clean."""
        self._attacked = 0

    def attacked(self) -> None:
        """Note a batch that was attacked."""
        self._attacked += 1

    def left(self, error: Exception, *, batch_idx: int) -> None:
        """Note a batch that could not be attacked.

        Args:
            error: Why.
            batch_idx: Number of the batch.

        Raises:
            Exception: That error, where it shows a mistake.
        """
        self.count += 1
        patient = isinstance(error, NotFiniteError) and self.count < PATIENCE
        if not self._attacked and not patient:
            raise error
        if self.count == 1:
            warnings.warn(
                f"batch {batch_idx} is trained on without an attack: {error} Further "
                "batches like this one are left clean as well, and counted.",
                stacklevel=2,
            )

    def __str__(self) -> str:
        """Say how many they were."""
        total = self.count + self._attacked
        return f"{self.count} of {total} batches were trained on without an attack."
