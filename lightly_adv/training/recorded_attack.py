"""Attacks that are recorded once, and repeated on batch after batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from lightly_adv.functional import deferred
from lightly_adv.training.closures import Closure
from lightly_adv.training.cuda_graph import Recording
from lightly_adv.training.perturb import Perturbation
from lightly_adv.training.python_state import state_of

VERIFIED = 2
"""How many repetitions are compared with the attack as it is, on different batches."""

VERIFIED_AGAIN = 100
"""Of how many repetitions one is compared after that."""


class UnfaithfulError(RuntimeError):
    """Repeated or compiled, the attack does not raise the loss as it should."""


class RecordedAttack:
    """Repeats an attack where all but the numbers in its tensors is as it was.

    Views and the tensors that the loss reads are copied into those of the recording.
    Anything else that differs has the attack run as it is: another shape, as in a last
    smaller batch, another attack, mode or number. What comes twice in a row is
    recorded.

    Args:
        create: Makes an empty recording.
    """

    def __init__(self, create: Callable[[], Recording]) -> None:
        self._create = create
        self._last: Any = None
        self._tape: _Tape | None = None

    def __call__(self, wanted: Perturbation) -> list[Tensor]:
        """Perturb views.

        Raises:
            UnfitBatchError: If this batch cannot be attacked.
            UnknownStateError: If the loss reads what cannot be copied.
            UnfaithfulError: If a repetition does not raise the loss.
        """
        closure = Closure(wanted.loss)
        key = _key(wanted, closure)
        again, self._last = key == self._last, key
        tape = self._tape
        if tape is None or tape.key != key:
            if not again:
                return wanted.eager()
            self._tape = None  # its memory is free for the next one
            tape = _Tape(key, self._create(), wanted, closure)
            self._tape = tape
        if tape.is_to_verify:
            return tape.verify(wanted, closure)
        return tape.repeat(wanted, closure)


class _Tape:
    """One recording, and the tensors that it reads and writes."""

    def __init__(
        self, key: Any, recording: Recording, wanted: Perturbation, closure: Closure
    ) -> None:
        self.key = key
        self._verified = 0
        self._since = 0
        self._recording = recording
        self._views = [view.detach().clone() for view in wanted.views]
        self._tensors = [tensor.detach().clone() for tensor in closure.tensors]
        self._generator = Generator(device=wanted.generator.device)
        self._generator.set_state(wanted.generator.get_state())
        self._pending = deferred.Checks()

        def run() -> tuple[list[Tensor], Tensor]:
            self._pending = deferred.Checks()
            with deferred.kept(self._pending), closure.reading(self._tensors) as loss:
                inside = replace(
                    wanted, loss=loss, views=self._views, generator=self._generator
                )
                return inside.eager(), self._pending.values()

        self._perturbed, self._values = recording.record(run, generator=self._generator)

    @property
    def is_to_verify(self) -> bool:
        """Whether the next repetition is one to compare."""
        return self._verified < VERIFIED or self._since >= VERIFIED_AGAIN - 1

    def repeat(self, wanted: Perturbation, closure: Closure) -> list[Tensor]:
        """Repeat the attack on other views, with the noise of their generator."""
        self._write(wanted.views, self._views)
        self._write(closure.tensors, self._tensors)
        self._generator.set_state(wanted.generator.get_state())
        self._recording.repeat()
        wanted.generator.set_state(self._generator.get_state())
        # Before it is looked at: the next repetition writes into the same tensors.
        perturbed = [each.clone() for each in self._perturbed]
        self._pending.judge(self._values.tolist())
        self._since += 1
        return perturbed

    def verify(self, wanted: Perturbation, closure: Closure) -> list[Tensor]:
        """Attack as it is, and compare with a repetition."""
        state = wanted.generator.get_state()
        found = self.repeat(wanted, closure)
        wanted.generator.set_state(state)
        expected = wanted.eager()
        check_strength(wanted, found, expected)
        self._verified, self._since = self._verified + 1, 0
        return expected

    @staticmethod
    def _write(new: Sequence[Tensor], fixed: Sequence[Tensor]) -> None:
        for source, target in zip(new, fixed, strict=True):
            target.copy_(source.detach())


def check_strength(
    wanted: Perturbation, found: Sequence[Tensor], expected: Sequence[Tensor]
) -> None:
    """Check that some perturbed views raise the loss as far as others do.

    They are not the same: kernels round in other ways, and sums on a GPU depend on the
    order. A loss of another batch, or of another network, is not raised like this.

    Raises:
        UnfaithfulError: If they raise it by less than nine tenths.
    """
    clean, reached, aim = torch.stack(
        [wanted.loss_at(views) for views in (wanted.views, found, expected)]
    ).tolist()
    if not reached - clean >= 0.9 * (aim - clean) - 1e-4 * abs(clean):
        raise UnfaithfulError(
            f"it raised the loss from {clean:.6g} to {reached:.6g}, and to {aim:.6g} "
            "as it is: the loss may read what is not the same in each batch, such as "
            "attributes of the module"
        )


def _key(wanted: Perturbation, closure: Closure) -> Any:
    """Return what has to be the same for a repetition."""
    views = [
        (view.shape, view.stride(), view.dtype, view.device) for view in wanted.views
    ]
    kind = wanted.views[0].device.type
    autocast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
    return (
        wanted.attack,
        wanted.route,
        wanted.bn_mode,
        views,
        closure.key,
        state_of(wanted.module),
        autocast,
        torch.are_deterministic_algorithms_enabled(),
    )
