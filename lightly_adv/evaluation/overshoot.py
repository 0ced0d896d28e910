"""How many pixels of an evaluation lie outside of the bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from lightly_adv.attacks import notices
from lightly_adv.functional.value_range import Excess
from lightly_adv.threat_model import ThreatModel


class Overshoot:
    """Counts the pixels outside of the bounds in the images that pass by.

    Attacks leave these pixels where they are, so that many of them make a model look
    more robust than it is.

    Args:
        threat_model: Its bounds and normalisation.

    Examples:
        >>> import torch
        >>> overshoot = Overshoot(ThreatModel())
        >>> images, labels = torch.rand(2, 3, 4, 4), torch.arange(2)
        >>> images[0, 0, 0] = torch.linspace(1.01, 1.04, 4)
        >>> batches = [(images, labels), (torch.rand(2, 3, 4, 4), torch.arange(2))]
        >>> len(list(overshoot.of(batches)))
        2
        >>> overshoot.warnings()[0][:40]
        '2.1 % of the pixels overshoot the bounds'
    """

    def __init__(self, threat_model: ThreatModel) -> None:
        self._threat_model = threat_model
        self._outside = 0.0
        self._total = 0
        self._low = float("inf")
        self._high = float("-inf")

    def of(
        self, batches: Iterable[tuple[Tensor, Tensor]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches, and count their pixels.

        Raises:
            TypeError: If images do not have a floating dtype.
            ValueError: If images are not finite, or normalised in another way.
        """
        for images, labels in batches:
            self._add(images)
            yield images, labels

    def warnings(self) -> list[str]:
        """Return the warning of a report, if there is anything to warn of."""
        if not self._outside:
            return []
        excess = Excess(
            self._low, self._high, self._outside / self._total, mistaken=False
        )
        return [
            f"{notices.overshoot(self._threat_model, excess)} The robust accuracy may "
            f"be too high. {notices.CLAMP}"
        ]

    def _add(self, images: Tensor) -> None:
        self._total += images.numel()
        excess = self._threat_model.overshoot([images])
        if excess is not None:
            self._outside += excess.share * images.numel()
            self._low = min(self._low, excess.low)
            self._high = max(self._high, excess.high)
