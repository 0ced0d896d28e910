from __future__ import annotations

import copy
import pickle
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import APGD, PGD, ThreatModel, convert_dual_batchnorm, processes
from lightly_adv.attacks import Attack
from lightly_adv.errors import NotFiniteError, OutOfRangeError
from lightly_adv.training import recorded_attack
from lightly_adv.training.backends import AttackRunner, check_machine
from lightly_adv.training.cuda_graph import CudaGraph
from lightly_adv.training.perturb import Perturbation
from lightly_adv.training.recorded_attack import VERIFIED
from tests.training.tape import Tape

ATTACK = PGD(ThreatModel(eps=0.1), steps=3)
ATTACKS = [
    ATTACK,
    PGD(ThreatModel(norm="L2", eps=0.5), steps=2, restarts=2),
    PGD(ThreatModel(norm="L1", eps=3.0), steps=2),
    APGD(ThreatModel(eps=0.1), steps=5),
    PGD(
        ThreatModel(eps=0.1, normalize={"mean": [0.5] * 3, "std": [0.25] * 3}), steps=3
    ),
]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(144, 5),
    )


class Tapes:
    """Makes tapes, and keeps them."""

    def __init__(self) -> None:
        self.made: list[Tape] = []

    def __call__(self) -> Tape:
        self.made.append(Tape())
        return self.made[-1]

    @property
    def repeats(self) -> int:
        return sum(tape.repeats for tape in self.made)


def wanted(
    module: nn.Module,
    number: int,
    *,
    attack: Attack = ATTACK,
    size: int = 4,
    scale: float = 1.0,
    targets: Callable[[Tensor], Any] = lambda target: target,
) -> Perturbation:
    """Return what a training step asks for, with a target of this batch."""
    generator = torch.Generator().manual_seed(number)
    images = torch.rand(size, 3, 8, 8, generator=generator)
    if attack.threat_model.normalize:
        images = (images - 0.5) / 0.25
    target = targets(torch.randn(size, 5, generator=generator))

    def loss(images: Tensor) -> Tensor:
        aim = target["of"][0] if isinstance(target, dict) else target
        distance: Tensor = scale * (module(images) - aim).square().sum(dim=1)
        return distance

    return Perturbation(attack, loss, [images], module=module, generator=generator)


def compare(
    run: AttackRunner, call: Callable[[int], Perturbation], *, batches: int
) -> None:
    """Attack some batches, each also as it is."""
    for number in range(batches):
        (found,) = run(call(number))
        (expected,) = call(number).eager()
        assert torch.equal(found, expected), number


def moved(module: nn.Module) -> None:
    """Write into parameters and statistics, as a training step does."""
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(0.05)


@pytest.mark.parametrize("attack", ATTACKS)
def test_repetitions_are_the_attack_bit_for_bit(attack: Attack) -> None:
    module, tapes = network(), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)
    for number in range(6):
        (found,) = run(wanted(module, number, attack=attack))
        (expected,) = wanted(module, number, attack=attack).eager()
        assert torch.equal(found, expected)
        moved(module)
    assert len(tapes.made) == 1
    # The first comes as it is, and the next are done both ways.
    assert tapes.repeats == 5


def test_noise_goes_on_where_a_generator_is_kept() -> None:
    module, tapes = network(), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)
    generators = [torch.Generator().manual_seed(9) for _ in range(2)]
    for number in range(5):
        call = wanted(module, number)
        first, second = (replace(call, generator=each) for each in generators)
        assert torch.equal(run(first)[0], second.eager()[0])
    states = [each.get_state() for each in generators]
    assert torch.equal(*states)
    assert tapes.repeats == 4


def test_what_differs_is_attacked_as_it_is_or_recorded_anew() -> None:
    module, tapes = network(), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)
    calls: list[dict[str, Any]] = [{}] * 5
    calls += [{"size": 3}, {}]  # the last smaller batch, and the next epoch
    for eps in (0.01, 0.02, 0.03):  # a schedule
        calls.append({"attack": replace(ATTACK, threat_model=ThreatModel(eps=eps))})
    calls += [{"scale": -1.0}] * 3
    for number, options in enumerate(calls):
        (found,) = run(wanted(module, number, **options))
        (expected,) = wanted(module, number, **options).eager()
        assert torch.equal(found, expected), number
    assert len(tapes.made) == 2
    module.eval()
    (found,) = run(wanted(module, 7))
    assert torch.equal(found, wanted(module, 7).eager()[0])


@pytest.mark.parametrize(
    "targets", [lambda target: {"of": [target]}, lambda target: {"of": (target, 1)}]
)
def test_tensors_in_containers_are_those_of_the_batch(targets: Any) -> None:
    module, tapes = network(), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)
    for number in range(5):
        (found,) = run(wanted(module, number, targets=targets))
        (expected,) = wanted(module, number, targets=targets).eager()
        assert torch.equal(found, expected)
    assert tapes.repeats == 4


def test_weights_that_moved_elsewhere_are_recorded_anew() -> None:
    module, tapes = network(), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)
    for number in range(6):
        if number == 3:
            weight = next(module.parameters())
            weight.data = torch.randn_like(weight)
        (found,) = run(wanted(module, number))
        assert torch.equal(found, wanted(module, number).eager()[0])
    assert len(tapes.made) == 2


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda images: images * 255, OutOfRangeError),
        (lambda images: images * torch.nan, NotFiniteError),
    ],
)
def test_batches_that_cannot_be_attacked_are_told_of(
    change: Callable[[Tensor], Tensor], error: type[Exception]
) -> None:
    module, tapes = network(), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)
    for number in range(2 + VERIFIED):
        run(wanted(module, number))
    bad = wanted(module, 5)
    with pytest.raises(error):
        run(replace(bad, views=[change(bad.views[0])]))
    (found,) = run(wanted(module, 6))
    assert torch.equal(found, wanted(module, 6).eager()[0])
    assert len(tapes.made) == 1
    assert tapes.repeats == 3 + VERIFIED


class Unlike(nn.Module):
    """Keeps the target of the batch where nobody looks for it, in its class."""

    targets: ClassVar[list[Tensor]] = []
    sign: ClassVar[float] = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def call(self, number: int) -> Perturbation:
        call = wanted(self.network, number)
        target = torch.randn(4, 5, generator=torch.Generator().manual_seed(number))
        self.targets[:] = [target * 9]

        def loss(images: Tensor) -> Tensor:
            distance: Tensor = (self.network(images) * self.targets[0]).sum(dim=1)
            return distance

        return replace(call, loss=loss, module=self)


def test_a_recording_of_another_batch_is_found_out() -> None:
    module, tapes = Unlike(), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)
    with pytest.warns(UserWarning, match=r"UnfaithfulError.* raised the loss") as seen:
        compare(run, module.call, batches=6)
    assert len(seen) == 1
    assert seen[0].filename == __file__


SIGN = 1.0


class Signed(nn.Module):
    """Reads Python values; which, differs from test to test."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()
        self.options = {"sign": 1.0}
        self.plain = SimpleNamespace(signs=[1.0])

    def call(self, number: int) -> Perturbation:
        def loss(images: Tensor) -> Tensor:
            sign = SIGN * self.options["sign"] * self.plain.signs[0]
            found: Tensor = sign * self.network(images).square().sum(dim=1)
            return found

        return replace(wanted(self.network, number), loss=loss, module=self)


@pytest.mark.filterwarnings("error:.*attack_backend")
@pytest.mark.parametrize("kind", ["dict", "object", "global"])
def test_python_values_that_change_are_recorded_anew(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, tapes = Signed(), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)
    compare(run, module.call, batches=2 + VERIFIED)
    if kind == "dict":
        module.options["sign"] = -1.0
    elif kind == "object":
        module.plain.signs[0] = -1.0
    else:
        monkeypatch.setitem(globals(), "SIGN", -1.0)
    compare(run, module.call, batches=2 + VERIFIED)
    assert len(tapes.made) == 2


def test_too_many_python_values_are_said_once() -> None:
    module: Any = Signed()
    module.history = [0.0] * 2000
    run = AttackRunner("cuda_graph", create=Tapes())
    with pytest.warns(UserWarning, match=r"the attribute history of Signed") as seen:
        compare(run, module.call, batches=4)
    assert len(seen) == 1


def test_later_repetitions_are_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_attack, "VERIFIED_AGAIN", 4)
    module, tapes = Unlike(), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)

    def call(number: int) -> Perturbation:
        def loss(images: Tensor) -> Tensor:
            found: Tensor = type(module).sign * module.network(images).sum(dim=1)
            return found

        return replace(wanted(module.network, number), loss=loss, module=module)

    compare(run, call, batches=2 + VERIFIED)
    monkeypatch.setattr(Unlike, "sign", -1.0)
    for number in range(2):  # the third after those that were compared is not yet
        run(call(number))
    with pytest.warns(UserWarning, match="UnfaithfulError"):
        run(call(2))
    compare(run, call, batches=2)
    assert tapes.repeats == VERIFIED + 4


class Wrong(Tape):  # type: ignore[no-untyped-call]
    """Has NaN in its checks from some repetition on."""

    def __init__(self, *, good: int) -> None:
        super().__init__()
        self.good = good

    def record(self, run: Callable[[], Any], *, generator: torch.Generator) -> Any:
        found = super().record(run, generator=generator)
        self._checks = found[1]
        return found

    def repeat(self) -> None:
        super().repeat()
        if self.repeats > self.good:
            self._checks.fill_(torch.nan)


@pytest.mark.parametrize("good", [0, VERIFIED])
def test_a_backend_alone_that_is_unfit_is_given_up(good: int) -> None:
    module = network()
    run = AttackRunner("cuda_graph", create=lambda: Wrong(good=good))
    with pytest.warns(UserWarning, match=r"'cuda_graph' failed.*NotFinite") as seen:
        compare(run, lambda number: wanted(module, number), batches=5 + VERIFIED)
    assert len(seen) == 1


def test_compiled_attacks_are_compared_for_each_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def weak(loss: Callable[..., Tensor], **_: Any) -> Callable[..., Tensor]:
        return lambda images: loss(images) * (1 if len(images) == 4 else -1)

    monkeypatch.setattr(torch, "compile", weak)
    module, run = network(), AttackRunner("compile")
    compare(run, lambda number: wanted(module, number), batches=1 + VERIFIED)
    with pytest.warns(UserWarning, match="UnfaithfulError"):
        compare(run, lambda number: wanted(module, number, size=3), batches=1)


def failing(kind: str, module: nn.Module, number: int) -> Perturbation:
    call = wanted(module, number)
    loss = call.loss
    if kind == "reads":

        def reading(images: Tensor) -> Tensor:
            found = loss(images)
            return found if found.sum() > 0 else -found

        return replace(call, loss=reading)
    unknown = iter(range(9))
    return replace(call, loss=lambda images: loss(images) + 0 * (unknown is None))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("reads", "operation not permitted when stream is capturing"),
        ("unknown", r"the loss reads a range_iterator, of which it is not known"),
    ],
)
def test_what_cannot_be_recorded_is_said_once(kind: str, message: str) -> None:
    module = network()
    run = AttackRunner("cuda_graph", create=Tapes())
    with pytest.warns(UserWarning, match=message) as seen:
        compare(run, lambda number: failing(kind, module, number), batches=4)
    (warning,) = seen
    assert "attack_backend='cuda_graph' failed" in str(warning.message)
    assert warning.filename == __file__


def test_errors_of_the_loss_are_its_own() -> None:
    module = network()

    def loss(images: Tensor) -> Tensor:
        raise KeyError("mine")

    run = AttackRunner("cuda_graph", create=Tapes())
    with pytest.raises(KeyError, match="mine"):
        run(replace(wanted(module, 0), loss=loss))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_begin_anew(copied: Any) -> None:
    run = AttackRunner("cuda_graph")
    assert copied(run).backend == "cuda_graph"
    assert copied(run) is not run


def test_a_machine_without_the_backend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"on cpu; train with accelerator='gpu'"):
        AttackRunner("cuda_graph")(wanted(network(), 0))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler.* install it"):
        AttackRunner("compile")(wanted(network(), 0))
    monkeypatch.setattr(processes, "count", lambda: 2)
    for backend in ("cuda_graph", "compile"):
        with pytest.raises(
            ValueError, match=rf"{backend}' is for one.* 2 train.*='eager'\.$"
        ):
            check_machine(backend, torch.device("cuda"))


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_as_it_is_nothing_is_recorded(backend: Any) -> None:
    tapes = Tapes()
    run = AttackRunner(backend, create=tapes)
    for number in range(3):
        (found,) = run(wanted(network(), number))
        assert torch.equal(found, wanted(network(), number).eager()[0])
    assert tapes.made == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_compiled_attacks_are_as_strong() -> None:
    module = network()
    run = AttackRunner("compile")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*attack_backend")
        for number in range(VERIFIED + 2):
            (found,) = run(wanted(module, number))
            (expected,) = wanted(module, number).eager()
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
            moved(module)


def test_a_failing_compiler_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any, **options: Any) -> Any:
        raise RuntimeError("backend='inductor' raised: no such header\nand more")

    monkeypatch.setattr(torch, "compile", failing)
    module, run = network(), AttackRunner("compile")
    with pytest.warns(
        UserWarning, match=r"'compile' failed.* no such header\.$"
    ) as seen:
        compare(run, lambda number: wanted(module, number), batches=3)
    assert len(seen) == 1


def test_routes_are_not_compiled() -> None:
    module = convert_dual_batchnorm(network())
    run = AttackRunner("compile")
    with pytest.warns(UserWarning, match="several BatchNorm routes"):
        compare(run, lambda number: wanted(module, number), batches=2)


def test_routes_are_recorded_apart() -> None:
    module, tapes = convert_dual_batchnorm(network()), Tapes()
    run = AttackRunner("cuda_graph", create=tapes)
    for number, route in enumerate([*["adv"] * 4, *["clean"] * 4]):
        with torch.no_grad():
            next(module.parameters()).add_(0.1)
        (found,) = run(replace(wanted(module, number), route=route))
        (expected,) = replace(wanted(module, number), route=route).eager()
        assert torch.equal(found, expected)
    assert len(tapes.made) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_cuda_graph_is_the_attack(attack: Attack) -> None:
    module = network().cuda()
    run = AttackRunner("cuda_graph", create=CudaGraph)

    def call(number: int) -> Perturbation:
        found = wanted(module, number, attack=attack)
        target = torch.randn(4, 5, device="cuda")
        return replace(
            found,
            loss=lambda images: (module(images) - target).square().sum(dim=1),
            views=[view.cuda() for view in found.views],
            generator=torch.Generator(device="cuda").manual_seed(number),
        )

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*attack_backend")
        for number in range(6):
            now = call(number)
            (expected,) = now.eager()
            (found,) = run(
                replace(now, generator=torch.Generator("cuda").manual_seed(number))
            )
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
            moved(module)
