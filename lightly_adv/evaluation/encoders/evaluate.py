"""Attack an encoder, and measure what becomes of its embeddings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

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
from lightly_adv.evaluation.evaluation import Evaluation
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
    max_samples: int | None = None,
    max_bank: int | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
    state: str | os.PathLike[str] | None = None,
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
        max_samples: See `evaluate_robustness`, also for what is not explained here.
        max_bank: Use only the first that many images of the bank.
        device: Where to compute.
        seed: Seed of noise and pairs.
        progress: Show a progress bar.
        state: File to keep results in.

    Returns:
        A report with shares in percent and the drift as a cosine distance.

    Raises:
        TypeError: If a batch or the output of the encoder is of the wrong type.
        ValueError: If the encoder returns maps or NaN or lets no gradient through, or
            if images, bank, labels, numbers or names do not fit each other.
        UnconfirmedError: See `evaluate_robustness`.
    """
    distances.check(distance)
    neighbors.check_vote(k, temperature)
    attack = _attack(threat_model, steps=steps, restarts=restarts)
    settings: dict[str, Any] = {"distance": distance, "pairs": pairs}
    settings["attack"] = attack.settings()
    identity = {"threat model": encoding.encode(threat_model), "k": k}
    evaluation = Evaluation(
        {"model": encoder},
        {**settings, **identity, "temperature": temperature},
        device=device,
        seed=seed,
        state=state,
        progress=progress,
        answers=lambda model, batch: _embedder(model, evaluation, threat_model)(
            batch.images
        ),
    )
    load = partial(
        batches.load,
        device=evaluation.device,
        normalize=threat_model.normalize,
        bounds=threat_model.bounds,
    )
    with evaluation.isolated() as models:
        embedder = _embedder(models["model"], evaluation, threat_model)
        voters, voting = None, digests.Data()
        if bank is not None:
            embeddings, labels = _embed(embedder, voting.of(load(bank, limit=max_bank)))
            voters = NeighborBank(embeddings, labels, k, temperature)
        unpack = batches.unpack if bank is not None else batches.without_labels
        attacked = digests.Data()
        loaded = list(attacked.of(load(loader, limit=max_samples, unpack=unpack)))
        # What becomes of an image depends on the others and on the bank.
        both = {"images": attacked.hexdigest(), "bank": voting.hexdigest()}
        evaluation.settings = {**evaluation.settings, **both}
        embedder.check_gradient(loaded[0][0])
        clean, labels = _embed(embedder, loaded)
        _check_labels(labels, voters)
        partners = measures.match(
            clean.cpu(),
            generator=rng.batch_generator(seed, 0),
            pairs=pairs,
            distance=distance,
        ).to(clean.device)
        attacks = _Attacks(embedder, attack, distance, voters, clean, partners, seed)
        results = evaluation.run(
            loaded, attacks.measure, total=len(clean), description="encoder"
        )
    flags = batches.joined([result.flags for result in results])
    values = batches.joined([result.values for result in results])
    partners, labels = partners.cpu(), labels.cpu()
    return EncoderReport(
        **settings,
        # With the normalisation that was asked for; inside everything is in pixels.
        threat_model=threat_model,
        drift=values["drift"],
        breakaway=values["breakaway"],
        quantile=values["quantile"],
        overlap=measures.overlap(values["moved"], values["reached"], partners),
        neighbors=_neighbors(voters, flags, values, labels, partners),
        **evaluation.facts(),
    )


@dataclasses.dataclass(frozen=True)
class _Attacks:
    """The attacks on an encoder.

    Args:
        embedder: The encoder, on pixels.
        attack: The attack, on pixels.
        distance: What it raises.
        voters: The bank, if there is one.
        clean: The embeddings of all images, (N, D).
        partners: Which image each is attacked towards, (N,); -1 for none.
        seed: Seed of the noise.
    """

    embedder: Embedder
    attack: Attack
    distance: Distance
    voters: NeighborBank | None
    clean: Tensor
    partners: Tensor
    seed: int

    def measure(self, batch: Batch) -> BatchResult:
        """Attack the images of a batch, and compare embeddings with all clean ones."""
        count = len(batch.images)
        rows = torch.arange(batch.first, batch.first + count, device=self.clean.device)
        own, partner = self.clean[rows], self.clean[self.partners[rows]]
        objectives: dict[str, Objective] = {
            "away": EmbeddingDistance(self.embedder, own, self.distance),
            "toward": MatchEmbedding(self.embedder, partner, self.distance),
        }
        if self.voters is not None:
            objectives["outvoted"] = KNNCrossEntropy(
                self.embedder, self.voters, batch.labels
            )
        attacked = self.attacked(batch, objectives)
        paired = (self.partners[rows] >= 0)[:, None]
        toward = attacked["toward"] = torch.where(paired, attacked["toward"], own)
        # In float64, which not every accelerator has.
        every, away, at = self.clean.cpu(), attacked["away"].cpu(), rows.cpu()
        values = {
            "drift": distances.between(every[at], away),
            "breakaway": measures.breakaway(every, away, self.distance, at),
            "quantile": measures.relative_quantile(every, away, self.distance, at),
            "moved": distances.between(own, toward, self.distance),
            "reached": distances.between(partner, toward, self.distance),
        }
        flags: dict[str, Tensor] = {}
        if self.voters is not None:
            classes = {k: self.voters.predict(x) for k, x in attacked.items()}
            values["toward"] = classes["toward"]
            classes["clean"] = self.voters.predict(own)
            flags = {name: x == batch.labels for name, x in classes.items()}
        return BatchResult(flags, values)

    def attacked(
        self, batch: Batch, objectives: Mapping[str, Objective]
    ) -> dict[str, Tensor]:
        """Return the embeddings of the images under each attack."""
        attacked, shown = {}, Shown(batch.images)
        for number, (name, objective) in enumerate(objectives.items()):
            generator = rng.batch_generator(self.seed, 1, batch.index, number)
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


def _neighbors(
    voters: NeighborBank | None,
    flags: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    labels: Tensor,
    partners: Tensor,
) -> NeighborResult | None:
    """Return what the neighbours gave, if there was a bank."""
    if voters is None:
        return None
    wanted = labels[partners]
    counted = flags["clean"] & (partners >= 0) & (wanted != labels)
    return NeighborResult(
        voters.k,
        voters.temperature,
        len(voters.labels),
        clean=flags["clean"],
        robust=torch.stack(list(flags.values())).all(dim=0),
        impersonated=(values["toward"] == wanted)[counted],
    )


def _embedder(
    model: nn.Module, evaluation: Evaluation, threat_model: ThreatModel
) -> Embedder:
    return Embedder(on_pixels(model, threat_model.normalize, device=evaluation.device))


def _attack(threat_model: ThreatModel, *, steps: int, restarts: int) -> Attack:
    """Return the attack, on pixels."""
    kind = APGD if threat_model.norm in APGD.norms else PGD
    pixels = dataclasses.replace(threat_model, normalize=None)
    return kind(pixels, steps=steps, restarts=restarts)


def _embed(
    embedder: Embedder, loaded: Iterable[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Return the embeddings (N, D) and labels (N,) of all images."""
    pairs = [(embedder(images), labels) for images, labels in loaded]
    embeddings, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return embeddings, labels


def _check_labels(labels: Tensor, voters: NeighborBank | None) -> None:
    """Check that the bank can vote for the classes of all images."""
    if voters is None:
        return
    missing = sorted(set(labels.tolist()) - set(voters.labels.tolist()))
    if missing:
        raise ValueError(
            f"the bank has no image of class {missing[0]}, which the loader has; "
            "give a bank with images of all classes. Is it cut off by max_bank?"
        )
