"""AdvCL: contrast with high frequencies, and with pseudo-labels."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightly.models.modules.heads import ProjectionHead
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightly_adv.attacks import AttackLike
from lightly_adv.batch_norm.routes import ADV, CLEAN, bn_route
from lightly_adv.functional import clustering
from lightly_adv.functional.contrastive import nt_xent
from lightly_adv.functional.frequencies import high_pass
from lightly_adv.isolation import rng
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.methods.batch_views import views_of
from lightly_adv.methods.deacl import warn_untrained
from lightly_adv.methods.pseudo_labels import features_of
from lightly_adv.methods.routed import with_routes
from lightly_adv.models import backbones, checkpoints
from lightly_adv.models.normalization import NormalizeChoice, create_normalize
from lightly_adv.training.optimizers import OptimizerFactory, WarmupCosineSGD

ADV_CE = "adv_ce"
"""Route of images that are attacked through their pseudo-labels."""


class AdvCL(AdversarialModule):
    """Contrast two views, high frequencies and an attacked image, as in [0].

    A weak view is attacked twice: once away from two strong views and from its own high
    frequencies in the contrastive loss of all four, and once away from its
    pseudo-labels, which are its clusters among the features of a clean encoder, for
    several numbers of clusters. Clean images and the two kinds of attacked ones have
    BatchNorm routes of their own; the encoder has that of the first kind.

    Batches have two strong views, a weak one and the image without augmentation, whose
    cluster is the pseudo-label; pixels are in [0, 1]. The clusters are found before the
    first step, in one pass over the training images, and are kept in checkpoints.
    Logged are `train_loss`, `contrastive_loss` and `cluster_loss`.

    - [0] When Does Contrastive Learning Preserve Adversarial Robustness from
      Pretraining to Finetuning?, 2021, https://arxiv.org/abs/2111.01124

    Args:
        backbone: A name that timm knows, or a module, with BatchNorm layers.
        checkpoint: A file with the weights of the clean encoder, which has the
            architecture of the backbone; see `models.load_backbone`.
        clean_encoder: The clean encoder itself, from normalised images to features.
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule`. The paper's is PGD with 5 steps of 2/255 in 8/255.
        clusters: Numbers of clusters.
        temperature: Temperature of the contrastive loss.
        base_temperature: What the contrastive loss is multiplied by `temperature` over,
            as in the public code; None leaves it as it is.
        weight: Weight of the mean loss of the pseudo-labels.
        radius: Radius of the low frequencies that are left out, see `high_pass`.
        normalize: Mean and std that are applied inside, in front of the backbone; see
            `RobustClassifier`. The public code has none.
        bn_mode: How the attack sees BatchNorm layers, see `AdversarialTraining`.
        optimizer: Makes optimizer and learning-rate schedule. Defaults to the paper's
            for batches of 512.

    Raises:
        TypeError: If the attack is not one.
        ValueError: If the backbone has no BatchNorm layers, or the checkpoint is of
            another architecture; in training, if there are fewer images than clusters.

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> from lightly_adv.models import create_backbone
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=2)
        >>> module = AdvCL(create_backbone("resnet8_tiny"), attack=attack, clusters=[2])
        >>> views = [torch.rand(4, 3, 32, 32) for _ in range(4)]
        >>> module.fit_clusters([views])
        >>> module.pseudo_labels(views[3])[0].shape
        torch.Size([4])
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        clean_encoder: nn.Module | None = None,
        attack: AttackLike | None = None,
        clusters: Sequence[int] = (2, 10, 50, 100, 500),
        temperature: float = 0.5,
        base_temperature: float | None = 0.07,
        weight: float = 0.2,
        radius: float = 8.0,
        normalize: NormalizeChoice = "auto",
        bn_mode: BatchNormMode = "batch",
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        super().__init__(
            attack,
            optimizer=optimizer or WarmupCosineSGD(0.5, 1e-4, warmup=0.01),
            bn_mode=bn_mode,
        )
        plain = backbones.create_backbone(backbone)
        clean = clean_encoder or copy.deepcopy(plain)
        if checkpoint is not None:
            checkpoints.load_backbone(clean, checkpoint)
        elif isinstance(backbone, str) and clean_encoder is None:
            warn_untrained(backbone)
        self.clean_encoder = self.frozen(clean)
        self.normalize = create_normalize(normalize, plain)
        self.backbone = with_routes(plain, ADV_CE)
        features = backbones.feature_dim(plain)
        hidden = (features, 512, nn.BatchNorm1d(512), nn.ReLU())
        self.projection_head = ProjectionHead([hidden, (512, 128, None, None)])
        self.cluster_heads = nn.ModuleList(nn.Linear(features, k) for k in clusters)
        for number in clusters:
            centroids = torch.full((number, backbones.feature_dim(clean)), torch.nan)
            self.register_buffer(f"centroids_{number}", centroids)
        self.clusters, self.weight, self.radius = list(clusters), weight, radius
        self.temperature, self.base_temperature = temperature, base_temperature
        self.save_hyperparameters("weight", "radius", "temperature", "bn_mode")

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings of images in [0, 1]."""
        embeddings: Tensor = self.projection_head(self.backbone(self.normalize(images)))
        return embeddings

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        first, second, weak, image = views_of(batch, 4)
        labels = self.pseudo_labels(image)
        partners = [first, second, high_pass(weak, self.radius)]
        with self.attack_mode(CLEAN):
            unattacked = [self(view) for view in partners]
        contrasted, classified = self.perturb(
            lambda x, y: self._contrast(x, unattacked) + self._classify(y, labels),
            weak,
            weak,
        )
        with bn_route(CLEAN):
            clean = [self(view) for view in partners]
        contrastive = self._contrast(contrasted, clean)
        cluster = self._classify(classified, labels)
        loss = contrastive + self.weight * cluster
        values = {"contrastive_loss": contrastive, "cluster_loss": cluster}
        self.log_dict({"train_loss": loss, **values}, batch_size=len(image))
        return loss

    def pseudo_labels(self, images: Tensor) -> list[Tensor]:
        """Return the clusters of images in [0, 1], (B,) for each number of clusters.

        They have to have been found, see `fit_clusters`.
        """
        with torch.no_grad():
            features = self.clean_encoder(self.normalize(images))
        return [clustering.nearest(features, each) for each in self._centroids()]

    def fit_clusters(self, loader: Iterable[Any]) -> None:
        """Find the clusters of clean images; training does it by itself.

        Args:
            loader: Batches like those of training, whose fourth view is taken.

        Raises:
            ValueError: If there are fewer images than clusters.
        """
        encoder = nn.Sequential(self.normalize, self.clean_encoder)
        features = features_of(encoder, loader, view=3)
        for number in self.clusters:
            found = clustering.k_means(features, number)
            self.get_buffer(f"centroids_{number}").copy_(found)

    def on_train_start(self) -> None:
        """Find the clusters, unless a checkpoint had them."""
        if bool(self.get_buffer(f"centroids_{self.clusters[0]}").isfinite().all()):
            return
        loader = self.trainer.train_dataloader
        if not isinstance(loader, DataLoader):
            raise TypeError(
                f"the training loader is a {type(loader).__name__}; expected one "
                "DataLoader, or call fit_clusters(loader) before training."
            )
        in_order: DataLoader[Any] = DataLoader(
            loader.dataset, loader.batch_size, collate_fn=loader.collate_fn
        )
        with rng.forked():
            self.fit_clusters(in_order)

    def _centroids(self) -> list[Tensor]:
        return [self.get_buffer(f"centroids_{number}") for number in self.clusters]

    def _contrast(self, attacked: Tensor, partners: Sequence[Tensor]) -> Tensor:
        with bn_route(ADV):
            embeddings = self(attacked)
        loss = nt_xent(embeddings, *partners, temperature=self.temperature)
        scale = self.base_temperature
        return loss if scale is None else self.temperature / scale * loss

    def _classify(self, attacked: Tensor, labels: Sequence[Tensor]) -> Tensor:
        with bn_route(ADV_CE):
            features = self.backbone(self.normalize(attacked))
        pairs = zip(self.cluster_heads, labels, strict=True)
        losses = [F.cross_entropy(head(features), each) for head, each in pairs]
        return torch.stack(losses).mean()
