"""Training batches determined by the seed, the epoch and their index in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, distributed
from torch.utils.data import DataLoader, DistributedSampler

from lightly_adv.isolation import rng


class Draw(NamedTuple):
    """Index of a training image, and what its augmentation is drawn from.

    It travels to the workers with the index, so that no worker has to know how far
    training is.

    Args:
        image: Number of the image in the data set.
        seed: Seed of the training.
        epoch: Number of the epoch.
    """

    image: int
    seed: int
    epoch: int

    def generator(self) -> Generator:
        """Return the generator of the batch that begins with this image."""
        return rng.batch_generator(self.seed, self.epoch, self.image)


class TrainingSampler(DistributedSampler[Draw]):
    """Shuffle the images by seed and epoch alone.

    Lightning sets the epoch, and leaves samplers of this base class in place when it
    trains in several processes; each of them gets its share. In a plain loop the epoch
    counts itself.

    Args:
        count: Number of images.
        shuffle: Whether they come in an order of their own in every epoch.
    """

    def __init__(self, count: int, *, shuffle: bool = True) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        super().__init__(
            range(count),  # type: ignore[arg-type]  # only its length counts
            num_replicas=distributed.get_world_size() if together else 1,
            rank=distributed.get_rank() if together else 0,
            shuffle=shuffle,
            seed=_seed(together),
        )
        self.count = count
        self.skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch; if it is the current one, continue it."""
        if epoch != self.epoch:
            self.epoch, self.skipped = epoch, 0

    def __iter__(self) -> Iterator[Draw]:
        """Yield the rest of the epoch, then begin the next one."""
        start, self.skipped = self.skipped, 0
        own = self._order()[self.rank : self.total_size : self.num_replicas]
        for index in own[start:].tolist():
            yield Draw(index, self.seed, self.epoch)
        self.epoch += 1

    def _order(self) -> Tensor:
        """Return the images of all processes; some repeat, to make equal shares."""
        order = torch.arange(self.count)
        if self.shuffle:
            generator = rng.batch_generator(self.seed, self.epoch)
            order = torch.randperm(self.count, generator=generator)
        return order.repeat(-(-self.total_size // self.count))


class TrainingLoader(DataLoader[Any]):
    """A loader with a `TrainingSampler` that can resume within an epoch.

    Its state is the epoch and the number of batches that it has yielded. Lightning
    saves it in every checkpoint and restores it on resume; batches that were trained
    on are skipped without being loaded.

    Args:
        dataset: Takes lists of `Draw` where it would take lists of indices.
        **options: As for `DataLoader`; the sampler is a `TrainingSampler`.

    Examples:
        >>> numbers = list(range(6))
        >>> def loader():
        ...     return TrainingLoader(
        ...         numbers, sampler=TrainingSampler(6), batch_size=2,
        ...         collate_fn=lambda draws: draws,
        ...     )
        >>> class Numbers(list):
        ...     def __getitem__(self, draw): return draw.image
        >>> numbers = Numbers(numbers)
        >>> straight, stopped, resumed = loader(), loader(), loader()
        >>> whole = list(straight)
        >>> first = next(iter(stopped))
        >>> resumed.load_state_dict(stopped.state_dict())
        >>> [first, *resumed] == whole
        True
    """

    place = (0, 0)
    """The epoch, and how many of its batches have been yielded."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the remaining batches of the epoch."""
        # Workers are ahead of what is given, and so is the sampler.
        epoch, given = self._own_sampler.epoch, self._own_sampler.skipped
        self.place = (epoch, given // (self.batch_size or 1))
        for batch in super().__iter__():
            self.place = (epoch, self.place[1] + 1)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of batches yielded."""
        epoch, batches = self.place
        return {"epoch": epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume there in the next iteration."""
        epoch, batches = state["epoch"], state["batches"]
        if batches >= len(self):
            epoch, batches = epoch + 1, 0
        self.place = (epoch, batches)
        self._own_sampler.epoch = epoch
        self._own_sampler.skipped = batches * (self.batch_size or 1)

    @property
    def _own_sampler(self) -> TrainingSampler:
        assert isinstance(self.sampler, TrainingSampler)
        return self.sampler


def _seed(together: bool) -> int:
    """Return the seed of the training, the same in all processes."""
    if together:
        return int(os.environ.get("PL_GLOBAL_SEED", 0))
    return abs(torch.initial_seed())
