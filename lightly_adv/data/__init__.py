"""Images as LightningDataModules: pixels in [0, 1] and labels, in whole batches."""

from lightly_adv.data.contrastive_views import ContrastiveViews as ContrastiveViews
from lightly_adv.data.datamodule import ImageDataModule as ImageDataModule
from lightly_adv.data.digits import DigitsDataModule as DigitsDataModule
from lightly_adv.data.image_folder import ImageFolderDataModule as ImageFolderDataModule
from lightly_adv.data.imagenet32 import ImageNet32DataModule as ImageNet32DataModule
from lightly_adv.data.torchvision_sets import (
    TorchvisionDataModule as TorchvisionDataModule,
)
