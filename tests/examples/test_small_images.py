"""SimCLR with images in memory and views that are made on the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightly_adv.transforms import BatchedTransform
from tests.examples import watching

SCRIPT = watching.EXAMPLES / "small_images" / "simclr.py"


@pytest.mark.filterwarnings("ignore")
def test_views_are_made_of_a_batch_and_attacked(
    images: Path, tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "train").symlink_to(images, target_is_directory=True)
    run = watching.run(SCRIPT, root, monkeypatch, epochs=1)
    run.check("simclr", epochs=1)
    model = run.names["model"]
    assert isinstance(model.transform, BatchedTransform)
    assert not any(key.startswith("transform") for key in model.state_dict())
