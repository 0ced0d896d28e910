from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightly_adv import lightning
from lightly_adv.doctor import diagnose, hardware
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@no_gpu
@pytest.mark.parametrize("name", ["gpu", "cuda", "tpu", "hpu"])
def test_what_is_not_there_is_replaced_by_the_cpu(name: str) -> None:
    options = {"accelerator": name, "devices": 2, "plugins": []}
    assert hardware.missing(options) == name
    assert hardware.replaced(options) == {"accelerator": "cpu", "plugins": None}


def test_accelerators_may_be_objects() -> None:
    class Absent(lightning.kinds("accelerators.CPUAccelerator")[0]):  # type: ignore[misc]
        @staticmethod
        def is_available() -> bool:
            return False

    assert hardware.missing({"accelerator": Absent()}) == "Absent"
    present = lightning.kinds("accelerators.CPUAccelerator")[0]()
    assert hardware.replaced({"accelerator": present, "precision": "16-true"}) == {}


@pytest.mark.parametrize("name", ["auto", "cpu", "abacus"])
def test_what_is_there_or_unknown_is_left_to_the_trainer(name: str) -> None:
    assert hardware.replaced({"accelerator": name, "precision": "16-mixed"}) == {}


@no_gpu
@pytest.mark.parametrize(
    ("asked", "used"), [("16-true", "bf16-true"), ("transformer-engine", "32-true")]
)
def test_the_nearest_number_format_of_a_cpu_is_taken(asked: str, used: str) -> None:
    found = hardware.replaced({"accelerator": "gpu", "precision": asked})
    assert found["precision"] == used


class Moving(Healthy):
    """Moves its batch to a GPU by itself."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        torch.cuda.synchronize()
        noise = torch.zeros(1, device="cuda:0")
        given = [batch[0].cuda(non_blocking=True), batch[1].to("cuda")]
        return super().training_step(given, batch_idx) + noise.to(torch.device("cuda"))


@no_gpu
def test_a_trainer_that_asks_for_gpus_is_examined_on_the_cpu() -> None:
    options: dict[str, Any] = {
        "devices": [0, 1],
        "strategy": "ddp",
        "precision": "16-mixed",
    }
    diagnosis = diagnose(
        Moving(), healthy.batch(), healthy.ATTACK, accelerator="gpu", **options
    )
    assert blamed(diagnosis).pop("device") == "WARN"
    assert diagnosis.ok
    text = told(diagnosis, "device")
    assert "there is no gpu on this machine" in text
    assert "devices=[0, 1], strategy='ddp', precision='16-mixed'" in text
    assert diagnosis.subject.endswith("bf16-mixed; cpu")
    assert blamed(examine(Healthy())) == {}


@no_gpu
def test_outside_of_the_block_a_gpu_is_missed_again() -> None:
    with hardware.without_gpu():
        layer = nn.Linear(1, 1).cuda()
        assert layer.to("cuda:1").weight.device.type == "cpu"
        assert torch.cuda.current_device() == 0
        assert torch.cuda.get_device_properties(0).name == "cpu"
        torch.set_default_device("cuda")
        assert torch.zeros(1).device.type == "cpu"
        torch.set_default_device(None)
        with torch.random.fork_rng():
            assert torch.zeros(1, device="cuda").device.type == "cpu"
    with pytest.raises((AssertionError, RuntimeError)):
        healthy.images().cuda()
