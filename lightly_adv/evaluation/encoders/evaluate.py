"""Attack an encoder, and measure what becomes of its embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from lightly_adv.attacks import APGD, PGD, Attack
from lightly_adv.evaluation import batches, confirmation, digests, encoding
from lightly_adv.evaluation.batches import Batch, BatchResult
from lightly_adv.evaluation.confirmation import Shown
from lightly_adv.evaluation.encoders import distances, measures, neighbors
from lightly_adv.evaluation.encoders.distances import Distance
from lightly_adv.evaluation.encoders.embedder import Embedder
from lightly_adv.evaluation.encoders.measures import Pairs
from lightly_adv.evaluation.encoders.neighbors import NeighborBank
from lightly_adv.evaluation.encoders.objectives import (
    EmbeddingDistance,
    KNNCrossEntropy,
    MatchEmbedding,
)
from lightly_adv.evaluation.encoders.report import EncoderReport, NeighborResult
from lightly_adv.evaluation.evaluation import (
    Evaluation,
    EvaluationOptions,
    check_options,
)
from lightly_adv.isolation import rng
from lightly_adv.models.normalization import on_pixels
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
    max_bank: int | None = None,
    **options: Unpack[EvaluationOptions],
) -> EncoderReport:
    """Measure how robust the embeddings of images are.

    Two attacks need no labels: one leads every embedding away from the clean one, the
    other towards that of another image. With a bank of labelled images a third one
    turns the vote of the nearest neighbours, and an image is robust if its neighbours
    put it into the right class without and under all three. The attack is APGD, or PGD
    in an L1 ball, both with a random start. Images and embeddings of the loader are
    kept in memory.

    - [0] Robustness of Unsupervised Representation Learning without Labels, 2022,
      https://arxiv.org/abs/2210.04076

    Args:
        encoder: Maps images of shape (B, C, H, W) to embeddings (B, D).
        loader: Batches (images, labels, ...); without a bank also (images, ...) or
            images alone.
        threat_model: What the attacks may do. Its `normalize` must be what the
            transforms of both loaders did to the images.
        bank: Batches (images, labels, ...) of the images that vote.
        steps: Number of steps of each attack.
        restarts: How often each attack is run, of which the best is kept.
        distance: What the attacks raise: "cosine" or "l2".
        pairs: Which image is attacked towards which: "random" or "nearest".
        k: How many images of the bank vote.
        temperature: How much the nearest ones outweigh the others.
        max_bank: Use only the first that many images of the bank.
        **options: `max_samples`, `device`, `seed`, `progress` and `state`; see
            `EvaluationOptions`.

    Returns:
        A report with shares in percent and the drift as a cosine distance.

    Raises:
        TypeError: If a batch or the output of the encoder is of the wrong type.
        ValueError: If the encoder returns maps or NaN or lets no gradient through, or
            if images, bank, labels, numbers or names do not fit each other.
        UnconfirmedError: See `evaluate_robustness`.

    Examples:
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
        >>> images, threat_model = torch.rand(8, 3, 8, 8), ThreatModel(eps=8 / 255)
        >>> report = evaluate_encoder(encoder, [images], threat_model, steps=2)
        >>> report.num_samples, report.label
        (8, 'APGD-2, Linf 8/255, 8 images')
    """
    check_options(evaluate_encoder, options)
    distances.check(distance)
    neighbors.check_vote(k, temperature)
    attack = _attack(threat_model, steps=steps, restarts=restarts)
    settings: dict[str, Any] = {"distance": distance, "pairs": pairs}
    settings["attack"] = attack.settings()
    vote = {"k": k, "temperature": temperature}

    def embedder_of(model: nn.Module) -> Embedder:
        stats, device = threat_model.normalize, evaluation.device
        return Embedder(on_pixels(model, stats, device=device))

    evaluation = Evaluation(
        {"model": encoder},
        {**settings, **vote, "threat model": encoding.encode(threat_model)},
        answers=lambda model, batch: embedder_of(model)(batch.images),
        **options,
    )
    load = partial(
        batches.load,
        device=evaluation.device,
        normalize=threat_model.normalize,
        bounds=threat_model.bounds,
    )
    unpack = batches.without_labels if bank is None else batches.unpack
    with evaluation.isolated() as models:
        embedder, voters = embedder_of(models["model"]), None
        if bank is not None:
            voting = _embed(embedder, load(bank, limit=max_bank))
            voters = NeighborBank(voting.embeddings, voting.labels, k, temperature)
            evaluation.settings["bank"] = voting.digest
        loaded = list(load(loader, limit=evaluation.max_samples, unpack=unpack))
        embedder.check_gradient(loaded[0][0])
        images = _embed(embedder, loaded)
        # What becomes of an image depends on the others.
        evaluation.settings["images"] = images.digest
        attacks = _Attacks(embedder, attack, distance, pairs, images, voters)
        partners = attacks.partners(evaluation.seed)
        results = evaluation.run(
            loaded,
            partial(attacks.measure, partners.to(evaluation.device)),
            description="encoder",
            total=len(images.labels),
        )
    return EncoderReport(
        **settings,
        # With the normalisation that was asked for; inside everything is in pixels.
        threat_model=threat_model,
        **attacks.joined(results, partners),
        **evaluation.facts(),
    )


class _Embedded(NamedTuple):
    """Embeddings (N, D) and labels (N,) of images, and a digest of these."""

    embeddings: Tensor
    labels: Tensor
    digest: str


@dataclasses.dataclass(frozen=True)
class _Attacks:
    """The attacks on an encoder.

    Args:
        embedder: The encoder, on pixels.
        attack: The attack, on pixels.
        distance: What it raises.
        pairs: Which image is attacked towards which.
        images: All images without an attack.
        voters: The bank, if there is one.

    Raises:
        ValueError: If the bank lacks a class.
    """

    embedder: Embedder
    attack: Attack
    distance: Distance
    pairs: Pairs
    images: _Embedded
    voters: NeighborBank | None

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if self.voters is None:
            return
        classes = (set(each.labels.tolist()) for each in (self.images, self.voters))
        missing = sorted(next(classes) - next(classes))
        if missing:
            raise ValueError(
                f"the bank has no image of class {missing[0]}, which the loader has; "
                "give a bank with images of all classes. Is it cut off by max_bank?"
            )

    def partners(self, seed: int) -> Tensor:
        """Return which image each is attacked towards, (N,), on the CPU; -1: none."""
        return measures.match(
            self.images.embeddings.cpu(),  # in float64, which not every device has
            generator=rng.batch_generator(seed, 0),
            pairs=self.pairs,
            distance=self.distance,
        )

    def measure(self, partners: Tensor, batch: Batch) -> BatchResult:
        """Attack the images of a batch, and compare embeddings with all clean ones."""
        clean, count = self.images.embeddings, len(batch.images)
        rows = torch.arange(batch.first, batch.first + count, device=clean.device)
        own, partner = clean[rows], clean[partners[rows]]
        objectives: dict[str, Objective] = {
            "away": EmbeddingDistance(self.embedder, own, self.distance),
            "toward": MatchEmbedding(self.embedder, partner, self.distance),
        }
        if self.voters is not None:
            objectives["outvoted"] = KNNCrossEntropy(
                self.embedder, self.voters, batch.labels
            )
        attacked = self.attacked(batch, objectives)
        paired = (partners[rows] >= 0)[:, None]
        toward = attacked["toward"] = torch.where(paired, attacked["toward"], own)
        # In float64, which not every device has.
        every, away, at = clean.cpu(), attacked["away"].cpu(), rows.cpu()
        values = {
            "drift": distances.between(every[at], away),
            "breakaway": measures.breakaway(every, away, self.distance, at),
            "quantile": measures.relative_quantile(every, away, self.distance, at),
            "moved": distances.between(own, toward, self.distance),
            "reached": distances.between(partner, toward, self.distance),
        }
        if self.voters is None:
            return BatchResult(values=values)
        classes = {name: self.voters.predict(x) for name, x in attacked.items()}
        values["class toward"] = classes["toward"]
        classes["clean"] = self.voters.predict(own)
        flags = {name: x == batch.labels for name, x in classes.items()}
        return BatchResult(flags, values)

    def attacked(
        self, batch: Batch, objectives: Mapping[str, Objective]
    ) -> dict[str, Tensor]:
        """Return the embeddings of the images under each attack."""
        attacked, shown = {}, Shown(batch.images)
        for number, (name, objective) in enumerate(objectives.items()):
            generator = rng.batch_generator(batch.key[0], 1, batch.index, number)
            (images,) = self.attack(objective, [batch.images], generator=generator)
            attacked[name] = self.embedder(images)
            shown.take_turns(
                images,
                attacked[name],
                kind=number,
                kinds=len(objectives),
                shift=batch.index,
            )
        shown.confirm(self.embedder, confirmation.far_apart)
        return attacked

    def joined(
        self, results: Sequence[BatchResult], partners: Tensor
    ) -> dict[str, Any]:
        """Return what the report says of all images."""
        values = batches.joined([result.values for result in results])
        found: dict[str, Any] = {
            **{name: values[name] for name in ("drift", "breakaway", "quantile")},
            "overlap": measures.overlap(values["moved"], values["reached"], partners),
        }
        if self.voters is not None:
            flags = batches.joined([result.flags for result in results])
            labels = self.images.labels.cpu()
            wanted = labels[partners]
            counted = flags["clean"] & (partners >= 0) & (wanted != labels)
            found["neighbors"] = NeighborResult(
                self.voters.k,
                self.voters.temperature,
                len(self.voters.labels),
                clean=flags["clean"],
                robust=torch.stack(list(flags.values())).all(dim=0),
                impersonated=(values["class toward"] == wanted)[counted],
            )
        return found


def _attack(threat_model: ThreatModel, *, steps: int, restarts: int) -> Attack:
    """Return the attack, on pixels."""
    kind = APGD if threat_model.norm in APGD.norms else PGD
    pixels = dataclasses.replace(threat_model, normalize=None)
    return kind(pixels, steps=steps, restarts=restarts)


def _embed(embedder: Embedder, loaded: Iterable[tuple[Tensor, Tensor]]) -> _Embedded:
    pairs, data = [], digests.Data()
    for images, labels in loaded:
        data.add(images, labels)
        pairs.append((embedder(images), labels))
    embeddings, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return _Embedded(embeddings, labels, data.hexdigest())
