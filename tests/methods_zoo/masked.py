"""Methods that predict what is masked, in pixels or in features."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.data.ijepa_collate import IJEPAMaskCollator
from lightly.models import utils
from lightly.models.modules import (
    AIMPredictionHead,
    IJEPAPredictorTIMM,
    MAEDecoderTIMM,
    MaskedCausalVisionTransformer,
    MaskedVisionTransformerTIMM,
    PixioDecoderTIMM,
)
from torch import Generator, Tensor, nn

from tests.methods_zoo.method import (
    LARGE,
    PATCH,
    WIDTH,
    Batch,
    Method,
    make_images,
    one_view,
    transformer,
)


class MAE(pl.LightningModule):
    decoder_class: Any = MAEDecoderTIMM
    registers = 0

    def __init__(self) -> None:
        super().__init__()
        vit = transformer(reg_tokens=self.registers)
        self.num_prefix_tokens = vit.num_prefix_tokens
        self.backbone = MaskedVisionTransformerTIMM(vit=vit)
        self.sequence_length = self.backbone.sequence_length
        self.decoder = self.decoder_class(
            num_patches=vit.patch_embed.num_patches,
            patch_size=PATCH,
            embed_dim=WIDTH,
            decoder_embed_dim=16,
            decoder_depth=1,
            decoder_num_heads=2,
            num_prefix_tokens=self.num_prefix_tokens,
        )
        self.criterion = nn.MSELoss()

    def masks(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        keep, mask = utils.random_token_mask(size=size, mask_ratio=0.75)
        return keep, mask

    def forward_decoder(self, x: Tensor, keep: Tensor, mask: Tensor) -> Tensor:
        x = self.decoder.embed(x)
        tokens = utils.repeat_token(
            self.decoder.mask_token, (len(x), self.sequence_length)
        )
        tokens = utils.set_at_index(tokens, keep, x.type_as(tokens))
        decoded = self.decoder.decode(tokens)
        predicted: Tensor = self.decoder.predict(utils.get_at_index(decoded, mask))
        return predicted

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0][0]
        keep, mask = self.masks((len(images), self.sequence_length))
        encoded = self.backbone.encode(images=images, idx_keep=keep)
        predicted = self.forward_decoder(encoded, keep, mask)
        patches = utils.patchify(images, PATCH)
        target = utils.get_at_index(patches, mask - self.num_prefix_tokens)
        loss: Tensor = self.criterion(predicted, utils.normalize_mean_var(target))
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1.5e-4)


class Pixio(MAE):
    decoder_class = PixioDecoderTIMM
    registers = 3

    def masks(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        keep, mask = utils.random_grid_token_mask(
            size=size,
            mask_ratio=0.75,
            grid_size=2,
            num_prefix_tokens=self.num_prefix_tokens,
        )
        return keep, mask


class SimMIM(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = MaskedVisionTransformerTIMM(vit=transformer())
        self.sequence_length = self.backbone.sequence_length
        self.decoder = nn.Linear(WIDTH, PATCH**2 * 3)
        self.criterion = nn.L1Loss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0][0]
        _, mask = utils.random_token_mask(
            size=(len(images), self.sequence_length), mask_ratio=0.75
        )
        encoded = self.backbone.encode(images=images, idx_mask=mask)
        predicted = self.decoder(utils.get_at_index(encoded, mask))
        # The class token has no patch.
        target = utils.get_at_index(utils.patchify(images, PATCH), mask - 1)
        loss: Tensor = self.criterion(predicted, target)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1.5e-4)


class AIM(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = MaskedCausalVisionTransformer(
            img_size=LARGE,
            patch_size=PATCH,
            embed_dim=WIDTH,
            depth=1,
            num_heads=2,
            num_classes=0,
            class_token=False,
            global_pool="",
            no_embed_class=True,
        )
        utils.initialize_2d_sine_cosine_positional_embedding(
            pos_embedding=self.backbone.pos_embed, has_class_token=False
        )
        self.projection_head = AIMPredictionHead(
            input_dim=WIDTH, output_dim=3 * PATCH**2, hidden_dim=16, num_blocks=1
        )
        self.criterion = nn.MSELoss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0][0]
        count = self.backbone.patch_embed.num_patches
        mask = utils.random_prefix_mask(
            size=(len(images), count), max_prefix_length=count - 1
        )
        features = self.backbone.forward_features(images, mask=mask)
        predicted = self.projection_head(self.backbone._pos_embed(features))
        patches = utils.normalize_mean_var(utils.patchify(images, PATCH), dim=-1)
        loss: Tensor = self.criterion(predicted, patches)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1.5e-4)


class IJEPA(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        vit = transformer(class_token=False, global_pool="avg")
        self.encoder = MaskedVisionTransformerTIMM(vit=vit)
        self.predictor = IJEPAPredictorTIMM(
            num_patches=vit.patch_embed.num_patches,
            depth=1,
            mlp_dim=WIDTH,
            predictor_embed_dim=8,
            num_heads=2,
        )
        self.target_encoder = copy.deepcopy(self.encoder)
        utils.deactivate_requires_grad(self.target_encoder)
        self.momentum_scheduler: Iterator[float] = iter([0.9, 0.92, 0.94, 0.96, 0.98])
        self.criterion = nn.SmoothL1Loss()

    def forward_target(self, images: Tensor, context: Any, masked: Any) -> Tensor:
        with torch.no_grad():
            h: Tensor = self.target_encoder.encode(images)
            h = nn.functional.layer_norm(h, (h.size(-1),))
            h = utils.apply_masks(h, masked)
            h = utils.repeat_interleave_batch(h, len(images), repeat=len(context))
        return h

    def forward_context(self, images: Tensor, context: Any, masked: Any) -> Tensor:
        z = torch.cat([self.encoder.encode(images, idx_keep=keep) for keep in context])
        predicted: Tensor = self.predictor(z, context, masked)
        return predicted

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        collated, context, masked = batch
        images = collated[0]
        h = self.forward_target(images, context, masked)
        z = self.forward_context(images, context, masked)
        loss: Tensor = self.criterion(z, h)
        self.log("train_loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        momentum = next(self.momentum_scheduler)
        utils.update_momentum(self.encoder, self.target_encoder, m=momentum)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1.5e-4)


def with_index_lists(generator: Generator) -> Batch:
    """Draw what `IJEPAMaskCollator` gives: images with labels, and index lists."""
    collate = IJEPAMaskCollator(
        input_size=LARGE, patch_size=PATCH, min_keep=1, allow_overlap=True
    )
    images = make_images(generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return collate([(image, 0) for image in images])


PIXELS = "the target is made of the perturbed pixels, so it moves with them"
METHODS = [
    Method("MAE", MAE, one_view, ((0,),), "the image", PIXELS),
    Method("Pixio", Pixio, one_view, ((0,),), "the image", PIXELS),
    Method("SimMIM", SimMIM, one_view, ((0,),), "the image", PIXELS),
    Method("AIM", AIM, one_view, ((0,),), "the image", PIXELS),
    Method(
        "I-JEPA",
        IJEPA,
        with_index_lists,
        ((0,),),
        "the image",
        "through the context encoder; targets have no gradient, index lists stay",
    ),
]
