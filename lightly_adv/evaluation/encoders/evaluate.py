"""Attack an encoder, and measure what becomes of its embeddings."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.attacks import APGD, PGD, Attack
from lightly_adv.evaluation import batches, confirmation, digests, verdicts
from lightly_adv.evaluation.confirmation import Shown
from lightly_adv.evaluation.encoders import distances, measures, neighbors
from lightly_adv.evaluation.encoders.distances import Distance
from lightly_adv.evaluation.encoders.embedder import Embedder
from lightly_adv.evaluation.encoders.measures import Pairs
from lightly_adv.evaluation.encoders.neighbors import NeighborBank
from lightly_adv.evaluation.encoders.objectives import AwayFrom, OutvoteLabels, Toward
from lightly_adv.evaluation.encoders.report import EncoderReport, NeighborVerdict
from lightly_adv.isolation import rng
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Objective


def evaluate_encoder(
    encoder: nn.Module,
    loader: Iterable[Any],
    threat_model: ThreatModel,
    *,
    bank: Iterable[Any] | None = None,
    steps: int = 20,
    restarts: int = 1,
    distance: Distance = "cosine",
    pairs: Pairs = "random",
    k: int = 200,
    temperature: float = 0.1,
    max_samples: int | None = None,
    max_bank: int | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
) -> EncoderReport:
    """Measure how robust the embeddings of images are.

    Two attacks need no labels: one leads every embedding away from the clean one, the
    other towards that of another image. With a bank of labelled images a third one
    turns the vote of the nearest neighbours, and an image is robust if its neighbours
    put it into the right class without and under all three. The attack is APGD, or PGD
    in an L1 ball, both with a random start. Images and embeddings of the loader are
    kept in memory. As with `evaluate_robustness`, the encoder is afterwards what it
    was.

    - [0] Robustness of Unsupervised Representation Learning without Labels, 2022,
      https://arxiv.org/abs/2210.04076

    Args:
        encoder: Maps images of shape (B, C, H, W) to embeddings (B, D).
        loader: Batches (images, labels, ...); without a bank also (images, ...) or
            images alone.
        threat_model: What the attacks may do. Its `normalize` must be what the
            transforms of both loaders did to the images.
        bank: Batches (images, labels, ...) of the images that vote, such as those of
            training without augmentation.
        steps: Number of steps of each attack.
        restarts: How often each attack is run, of which the best is kept.
        distance: What the attacks raise, and what breakaway and overlap are measured
            with: "cosine" or "l2".
        pairs: Which image is attacked towards which: "random", or "nearest" for those
            whose embeddings are near each other.
        k: How many images of the bank vote.
        temperature: How much the nearest ones outweigh the others.
        max_samples: Use only the first that many images.
        max_bank: Use only the first that many images of the bank.
        device: Where to compute; the encoder is moved there, and stays there. None
            stands for the device of the encoder.
        seed: Seed of noise and pairs. With the same seed and the same batches, the
            result is the same.
        progress: Show a progress bar.

    Returns:
        A report with shares in percent and the drift as a cosine distance.

    Raises:
        TypeError: If a batch or the output of the encoder is of the wrong type.
        ValueError: If the encoder returns maps or NaN or lets no gradient through, if
            there are fewer than two images, or fewer in the bank than are to vote, if
            the bank has one class only or lacks a label of the loader, or if a number
            or a name is out of range.

    Examples:
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
        >>> batch = (torch.rand(8, 3, 8, 8), torch.arange(8) % 2)
        >>> threat_model = ThreatModel(eps=8 / 255)
        >>> found = evaluate_encoder(encoder, [batch[0]], threat_model, steps=2)
        >>> found.num_samples, found.label
        (8, 'APGD-2, Linf 8/255, 8 images')
        >>> found = evaluate_encoder(
        ...     encoder, [batch], threat_model, bank=[batch], k=3, steps=2
        ... )
        >>> sorted(found.metrics())[-2:]
        ['val_relative_quantile', 'val_robust_knn_top1']
    """
    distances.check(distance)
    neighbors.check_vote(k, temperature)
    normalize = threat_model.normalize
    attack = _attack(threat_model, steps=steps, restarts=restarts)
    where = batches.place(encoder, device)
    bar = tqdm(unit="images", desc="encoder", disable=not progress)
    undisturbed = verdicts.undisturbed(encoder, device=where, seed=seed)
    with undisturbed as untouched, bar:
        embedder = Embedder(untouched, normalize)
        load = functools.partial(
            batches.load,
            device=where,
            normalize=normalize,
            bounds=threat_model.bounds,
        )
        voters = None
        if bank is not None:
            embeddings, labels = _embed(embedder, load(bank, limit=max_bank))
            voters = NeighborBank(embeddings, labels, k, temperature)
        unpack = verdicts.unpack if bank is not None else batches.without_labels
        loaded = list(load(loader, limit=max_samples, unpack=unpack))
        data = digests.Data()
        for images, labels in loaded:
            data.add(images, labels)
        embedder.check_gradient(loaded[0][0])
        clean, labels = _embed(embedder, loaded)
        _check_labels(labels, voters)
        # In float64, which not every accelerator has.
        mates = measures.match(
            clean.cpu(),
            generator=rng.batch_generator(seed, 0),
            pairs=pairs,
            distance=distance,
        )
        bar.reset(total=len(clean))
        run = _Run(embedder, attack, distance, voters, seed)
        found = _Found.join(run.attacked(loaded, clean, mates.to(where), bar))
        verdict = None
        if voters is not None:
            verdict = _verdict(voters, clean, labels, mates.to(where), found)
    clean, away, toward = clean.cpu(), found.away.cpu(), found.toward.cpu()
    return EncoderReport(
        attack=attack.settings(),
        # With the normalisation that was asked for; inside everything is in pixels.
        threat_model=threat_model,
        drift=distances.between(clean, away),
        breakaway=measures.breakaway(clean, away, distance),
        quantile=measures.relative_quantile(clean, away, distance),
        overlap=measures.overlap(clean, toward, mates, distance),
        neighbors=verdict,
        distance=distance,
        pairs=pairs,
        seed=seed,
        model_digest=digests.of_model(encoder),
        data_digest=data.hexdigest(),
        batch_size=max(len(images) for images, _ in loaded),
        device=where.type,
    )


class _Found(NamedTuple):
    """Embeddings under the attacks, row by row."""

    away: Tensor
    toward: Tensor
    outvoted: Tensor

    @classmethod
    def join(cls, parts: Iterable[_Found]) -> _Found:
        return cls(*(torch.cat(each) for each in zip(*parts, strict=True)))


@dataclasses.dataclass
class _Run:
    """The attacks on all images."""

    embedder: Embedder
    attack: Attack
    distance: Distance
    voters: NeighborBank | None
    seed: int

    def attacked(
        self,
        loaded: Iterable[tuple[Tensor, Tensor]],
        clean: Tensor,
        mates: Tensor,
        bar: Any,
    ) -> Iterator[_Found]:
        """Yield what becomes of the embeddings, batch by batch."""
        first = 0
        for index, (images, labels) in enumerate(loaded):
            rows = torch.arange(first, first + len(images), device=clean.device)
            own, aims = clean[rows], clean[mates[rows]]
            objectives: dict[str, Objective] = {
                "away": AwayFrom(self.embedder, own, self.distance),
                "toward": Toward(self.embedder, aims, self.distance),
            }
            if self.voters is not None:
                objectives["outvoted"] = OutvoteLabels(
                    self.embedder, self.voters, labels
                )
            found = self._each(images, objectives, key=index)
            found["toward"] = torch.where(
                (mates[rows] >= 0)[:, None], found["toward"], own
            )
            found.setdefault("outvoted", own)
            yield _Found(**found)
            first += len(images)
            bar.update(len(images))

    def _each(
        self, images: Tensor, objectives: Mapping[str, Objective], *, key: int
    ) -> dict[str, Tensor]:
        """Return the embeddings of the images under each attack."""
        found, shown = {}, Shown(images)
        for number, (name, objective) in enumerate(objectives.items()):
            generator = rng.batch_generator(self.seed, 1, key, number)
            (perturbed,) = self.attack(objective, [images], generator=generator)
            found[name] = self.embedder(perturbed)
            shown.take_turns(
                perturbed, found[name], kind=number, kinds=len(objectives), shift=key
            )
        shown.confirm(self.embedder, confirmation.far_apart)
        return found


def _verdict(
    voters: NeighborBank, clean: Tensor, labels: Tensor, mates: Tensor, found: _Found
) -> NeighborVerdict:
    right = voters.predict(clean) == labels
    classes = [voters.predict(embeddings) for embeddings in found]
    robust = right & torch.stack([each == labels for each in classes]).all(dim=0)
    wanted = labels[mates]
    fooled = voters.predict(found.toward) == wanted
    counted = right & (mates >= 0) & (wanted != labels)
    flags = {"clean": right, "robust": robust, "impersonated": fooled[counted]}
    return NeighborVerdict.of(voters, **{key: x.cpu() for key, x in flags.items()})


def _attack(threat_model: ThreatModel, *, steps: int, restarts: int) -> Attack:
    """Return the attack, on pixels."""
    kind = APGD if threat_model.norm in APGD.norms else PGD
    on_pixels = dataclasses.replace(threat_model, normalize=None)
    return kind(on_pixels, steps=steps, restarts=restarts)


def _embed(
    embedder: Embedder, loaded: Iterable[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Return the embeddings (N, D) and labels (N,) of all images."""
    pairs = [(embedder(images), labels) for images, labels in loaded]
    embeddings, labels = (torch.cat(each) for each in zip(*pairs, strict=True))
    return embeddings, labels


def _check_labels(labels: Tensor, voters: NeighborBank | None) -> None:
    """Refuse images of classes that nobody in the bank can vote for."""
    if voters is None:
        return
    unknown = sorted(set(labels.tolist()) - set(voters.labels.tolist()))
    if unknown:
        raise ValueError(
            f"the bank has no image of class {unknown[0]}, which the loader has; "
            "give a bank with images of all classes. Is it cut off by max_bank?"
        )
