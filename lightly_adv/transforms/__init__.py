"""Augmentations of a whole batch, on the device where its images are."""

from lightly_adv.transforms.batched import BatchedTransform as BatchedTransform
from lightly_adv.transforms.blur import GaussianBlur as GaussianBlur
from lightly_adv.transforms.color import ColorJitter as ColorJitter
from lightly_adv.transforms.color import Grayscale as Grayscale
from lightly_adv.transforms.color import Solarize as Solarize
from lightly_adv.transforms.crop import RandomCrop as RandomCrop
from lightly_adv.transforms.crop import RandomResizedCrop as RandomResizedCrop
from lightly_adv.transforms.flip import HorizontalFlip as HorizontalFlip
from lightly_adv.transforms.flip import VerticalFlip as VerticalFlip
from lightly_adv.transforms.operation import Compose as Compose
from lightly_adv.transforms.operation import Operation as Operation
from lightly_adv.transforms.operation import RandomApply as RandomApply
