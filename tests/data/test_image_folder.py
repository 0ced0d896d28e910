from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import functional as tv

from lightly_adv.data import ImageFolderDataModule
from lightly_adv.data.image_dataset import InMemory
from lightly_adv.data.image_folder import Decode, OnDisk


def _write(
    root: Path, part: str, classes: dict[str, int], size: tuple[int, int] = (32, 32)
) -> None:
    for name, count in classes.items():
        folder = root / part / name
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = torch.randint(256, (3, size[1], size[0]), dtype=torch.uint8)
            tv.to_pil_image(pixels).save(folder / f"{number}.png")


def _root(tmp_path: Path) -> Path:
    _write(tmp_path, "train", {"cat": 8, "dog": 12})
    _write(tmp_path, "test", {"cat": 3, "dog": 2})
    return tmp_path


def test_same_images_and_labels_as_torchvision(tmp_path: Path) -> None:
    data = ImageFolderDataModule(_root(tmp_path))
    images, labels = next(iter(data.test_dataloader()))
    expected = ImageFolder(str(tmp_path / "test"))
    pixels = [tv.pil_to_tensor(image) / 255 for image, _ in expected]
    assert torch.equal(images, torch.stack(pixels))
    assert labels.tolist() == expected.targets == [0, 0, 0, 1, 1]
    assert (data.classes, data.num_classes) == (["cat", "dog"], 2)


def test_validation_is_split_off_training(tmp_path: Path) -> None:
    data = ImageFolderDataModule(_root(tmp_path), val_fraction=0.25)
    assert data.train_dataset.labels.bincount().tolist() == [6, 9]
    assert data.val_dataset is not None
    assert data.val_dataset.labels.bincount().tolist() == [2, 3]


def test_the_first_validation_images_stand_for_all(tmp_path: Path) -> None:
    data = ImageFolderDataModule(_root(tmp_path), val_fraction=0.25)
    assert data.val_dataset is not None
    assert data.val_dataset.labels.tolist() == [1, 0, 1, 0, 1]
    _write(tmp_path, "val", {"cat": 2, "dog": 2})
    given = ImageFolderDataModule(tmp_path)
    assert given.val_dataset is not None
    assert given.val_dataset.labels.tolist() == [0, 1, 0, 1]


def test_validation_folder_beside_a_test_folder(tmp_path: Path) -> None:
    _write(_root(tmp_path), "val", {"cat": 1, "dog": 1})
    data = ImageFolderDataModule(tmp_path)
    assert data.val_dataset is not None
    sizes = map(len, (data.train_dataset, data.val_dataset, data.test_dataset))
    assert list(sizes) == [20, 2, 5]


def test_validation_folder_in_place_of_a_test_folder(tmp_path: Path) -> None:
    (_root(tmp_path) / "test").rename(tmp_path / "val")
    data = ImageFolderDataModule(tmp_path, val_fraction=0.1)
    assert data.val_dataset is not None
    sizes = map(len, (data.train_dataset, data.val_dataset, data.test_dataset))
    assert list(sizes) == [18, 2, 5]


def test_fewer_classes_in_test_keep_their_labels(tmp_path: Path) -> None:
    _write(tmp_path, "train", {"cat": 2, "dog": 2})
    _write(tmp_path, "test", {"dog": 2})
    assert ImageFolderDataModule(tmp_path).test_dataset.labels.tolist() == [1, 1]


def test_larger_images_are_scaled_and_cropped(tmp_path: Path) -> None:
    _write(tmp_path, "train", {"cat": 1, "dog": 1}, size=(80, 64))
    data = ImageFolderDataModule(tmp_path, image_size=32)
    images = data.load_train().source(torch.arange(2))
    image = Image.open(tmp_path / "train" / "dog" / "0.png").resize(
        (40, 32), Image.Resampling.BILINEAR
    )
    expected = tv.pil_to_tensor(image.crop((4, 0, 36, 32)))
    assert torch.equal(images[1], expected)


def test_grey_images_become_colour(tmp_path: Path) -> None:
    _write(tmp_path, "train", {"cat": 1, "dog": 1})
    grey = Image.new("L", (32, 32), 51)
    grey.save(tmp_path / "train" / "cat" / "0.png")
    source = ImageFolderDataModule(tmp_path).load_train().source
    assert (source(torch.tensor([0])) == 51).all()


def test_sets_over_the_limit_are_decoded_batch_by_batch(tmp_path: Path) -> None:
    root = _root(tmp_path)
    exactly = 20 * 3 * 32 * 32
    cached = ImageFolderDataModule(root, cache_bytes=exactly).load_train().source
    on_disk = ImageFolderDataModule(root, cache_bytes=exactly - 1).load_train().source
    assert isinstance(cached, InMemory)
    assert isinstance(on_disk, OnDisk)
    indices = torch.tensor([19, 0, 7])
    assert torch.equal(cached(indices), on_disk(indices))


def test_decoded_once_or_each_time_the_numbers_are_the_same(tmp_path: Path) -> None:
    _write(tmp_path, "train", {"cat": 8, "dog": 12})
    for at, size in enumerate([(80, 64), (20, 30), (32, 32)]):
        pixels = torch.randint(256, (3, *size), dtype=torch.uint8)
        path = tmp_path / "train" / "cat" / f"{at}.png"
        tv.to_pil_image(pixels).save(path)
    batches = {}
    ways: tuple[tuple[Decode, int], ...] = (("once", 0), ("once", 2), ("batch", 0))
    for decode, workers in ways:
        torch.manual_seed(0)
        data = ImageFolderDataModule(
            tmp_path, decode=decode, batch_size=6, num_workers=workers
        )
        batches[decode, workers] = list(data.train_dataloader())
    first, *others = batches.values()
    for other in others:
        for (images, labels), (same_images, same_labels) in zip(
            first, other, strict=True
        ):
            assert torch.equal(images, same_images)
            assert torch.equal(labels, same_labels)


def test_decoded_once_images_are_in_memory_as_uint8(tmp_path: Path) -> None:
    root = _root(tmp_path)
    source = ImageFolderDataModule(root, decode="once").load_train().source
    assert isinstance(source, InMemory)
    assert source.images.dtype == torch.uint8
    on_disk = ImageFolderDataModule(root, decode="batch").load_train().source
    assert isinstance(on_disk, OnDisk)


def test_too_large_to_be_decoded_once(tmp_path: Path) -> None:
    root = _root(tmp_path)
    data = ImageFolderDataModule(root, decode="once", cache_bytes=20 * 3 * 32 * 32 - 1)
    with pytest.raises(ValueError, match=r"20 images of 32 x 32 .* 0\.1 MiB;.*'batch'"):
        data.load_train()
    # Nothing was decoded before that was known.
    (root / "train" / "cat" / "0.png").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="Raise cache_bytes"):
        data.load_train()


def test_16_bits_take_four_times_the_memory(tmp_path: Path) -> None:
    root = _root(tmp_path)
    deep = torch.randint(2**16, (32, 32)).to(torch.int32).numpy().astype("uint16")
    Image.fromarray(deep).save(root / "train" / "cat" / "0.png")
    size = 20 * 3 * 32 * 32
    assert isinstance(
        ImageFolderDataModule(root, decode="once", cache_bytes=4 * size)
        .load_train()
        .source,
        InMemory,
    )
    with pytest.raises(ValueError, match=r"0\.2 MiB; cache_bytes allows 0\.2 MiB"):
        ImageFolderDataModule(
            root, decode="once", cache_bytes=4 * size - 1
        ).load_train()


def test_unknown_way_to_decode(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"decode='twice'.*'once'"):
        ImageFolderDataModule(tmp_path, decode="twice")  # type: ignore[arg-type]


def test_hidden_folders_and_other_files_are_ignored(tmp_path: Path) -> None:
    root = _root(tmp_path)
    (root / "train" / ".cache").mkdir()
    (root / "train" / "cat" / "notes.txt").write_text("a cat")
    assert ImageFolderDataModule(root).classes == ["cat", "dog"]
    assert len(ImageFolderDataModule(root).load_train().labels) == 20


def test_padding_grows_with_the_images(tmp_path: Path) -> None:
    sizes = (32, 96)
    modules = [ImageFolderDataModule(tmp_path, image_size=size) for size in sizes]
    assert [data.padding for data in modules] == [4, 12]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*train; expected images"):
        ImageFolderDataModule(tmp_path).setup("fit")
    _write(tmp_path, "train", {"cat": 1, "dog": 1})
    with pytest.raises(FileNotFoundError, match=r"no folder .*test; expected images"):
        ImageFolderDataModule(tmp_path).setup("test")


def test_folder_without_class_folders(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "train" / "0.png")
    with pytest.raises(FileNotFoundError, match=r"train holds no folders; expected"):
        ImageFolderDataModule(tmp_path).setup("fit")


def test_empty_class_folder(tmp_path: Path) -> None:
    root = _root(tmp_path)
    (root / "train" / "eel").mkdir()
    with pytest.raises(FileNotFoundError, match=r"class folder .*eel holds no images"):
        ImageFolderDataModule(root).setup("fit")


def test_single_class(tmp_path: Path) -> None:
    _write(tmp_path, "train", {"cat": 2})
    with pytest.raises(ValueError, match=r"train holds the single class 'cat'"):
        ImageFolderDataModule(tmp_path).setup("fit")


def test_classes_that_training_lacks(tmp_path: Path) -> None:
    root = _root(tmp_path)
    _write(root, "test", {"eel": 1, "fox": 1})
    with pytest.raises(
        ValueError, match=r"test has classes that .*train lacks: eel, f"
    ):
        ImageFolderDataModule(root).setup("test")


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_unreadable_image(content: bytes, tmp_path: Path) -> None:
    root = _root(tmp_path)
    (root / "train" / "dog" / "3.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"dog.3\.png cannot be read as an image"):
        ImageFolderDataModule(root).setup("fit")


def test_truncated_image(tmp_path: Path) -> None:
    path = _root(tmp_path) / "train" / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"dog.3\.png cannot be read as an image"):
        ImageFolderDataModule(tmp_path).setup("fit")


def test_cifar10(cifar10_root: Path) -> None:
    data = ImageFolderDataModule(cifar10_root, batch_size=500)
    assert data.num_classes == 10
    assert data.classes[:3] == ["airplane", "automobile", "bird"]
    assert data.test_dataset.labels.bincount().tolist() == [500] * 10
    images, labels = next(iter(data.test_dataloader()))
    assert labels.unique().tolist() == [0]
    # Airplanes have more sky above than ground below: the images are upright.
    assert images[:, 2, :8].mean() > images[:, 2, -8:].mean()
    assert 0.3 < images.mean() < 0.7
