"""Which keys of a file belong to which of a network, where their names differ.

Three things may stand between them: a prefix; numbers in place of names, as from
`nn.Sequential(*network.children())`; and one more name inside of BatchNorm layers,
where there are several of them. All is told from keys and shapes.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from lightly_adv.models.checkpoint_files import State

Sources = Mapping[str, str]
"""For keys of a network, the keys of a file that they are found under."""

Layer = dict[str, torch.Size]
"""Shapes of the tensors in a layer."""

Pairs = Mapping[str, str]
"""For layers of a network, those of a file."""

COUNTER = "num_batches_tracked"
"""How often a BatchNorm layer was trained; PyTorch loads networks without it, too."""

_PREFERRED = ("backbone", "", "model", "module")
_WRAPPED = re.compile(r"\b(_orig_mod|_checkpoint_wrapped_module)\.")
"""What torch.compile and activation checkpointing put in front of layers."""


@dataclass(frozen=True)
class Fit:
    """Where the keys of a network are in a file.

    Args:
        prefix: What stands in front of them there.
        sources: The keys of the network that were found, and what they are there.
        norms: Where the file has several BatchNorm layers for each of the network:
            the names that tell them apart.
        norm: Which of these was taken.
    """

    prefix: str
    sources: Sources
    norms: Sequence[str] = ()
    norm: str = ""

    def lacking(self, expected: State) -> list[str]:
        """Return the keys of the network that are not there, but for counters."""
        return [
            key
            for key in expected
            if key not in self.sources and not key.endswith(COUNTER)
        ]

    def misfits(self, found: State, expected: State) -> list[str]:
        """Return the keys of the network whose shape is another there."""
        return [
            key
            for key, source in self.sources.items()
            if found[source].shape != expected[key].shape
        ]

    def further(self, found: State, expected: State) -> list[str]:
        """Return keys there of further layers like those of the network."""
        layers = {_without_indices(key) for key in expected}
        used = set(self.sources.values())
        rest = (
            key for key in _behind(self.prefix, found).items() if key[1] not in used
        )
        return [key for key, _ in rest if _without_indices(key) in layers]


def find(found: State, expected: State, *, norm: str | None = None) -> list[Fit]:
    """Return the places in a file that hold all of a network, or else most of it.

    Args:
        found: The tensors of the file.
        expected: Those of the network.
        norm: Which of several BatchNorm layers to take, see `fit`.
    """
    fits = [fit(each, found, expected, norm=norm) for each in _named(found, expected)]
    whole = [each for each in fits if _is_whole(each, found, expected)]
    if whole:
        return whole
    numbered = (_numbered(front, found, expected) for front in _fronts(found))
    fits += [each for each in numbered if each is not None]
    most = max((len(each.sources) for each in fits), default=0)
    return [each for each in fits if len(each.sources) == most > 0]


def fit(prefix: str, found: State, expected: State, *, norm: str | None = None) -> Fit:
    """Return what is found of a network behind a prefix.

    Args:
        prefix: What stands in front of the keys, with its dot.
        found: The tensors of the file.
        expected: Those of the network.
        norm: Which of several BatchNorm layers to take: one of `Fit.norms`, or its
            end. None takes the only one.
    """
    there = {_bare(key): source for key, source in _behind(prefix, found).items()}
    direct = {key: there[_bare(key)] for key in expected if _bare(key) in there}
    shared = {key: there[k] for key in expected if (k := _unrouted(key)) in there}
    named = _choose_norms(Fit(prefix, shared | direct), there, expected, norm)
    if named.lacking(expected):
        numbered = _numbered(prefix, found, expected)
        if numbered is not None and len(numbered.sources) > len(named.sources):
            return numbered
    return named


def preferred(fits: Sequence[Fit], found: State) -> list[Fit]:
    """Return those that only the user can choose from.

    `backbone.` goes before `backbone_momentum.`, and where the tensors are the same
    there is nothing to choose.

    Args:
        fits: At least one.
        found: The tensors of the file.
    """
    names = _first_difference([each.prefix.split(".")[:-1] for each in fits])
    ranks = [
        _PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED)
        for name in names
    ]
    left: list[Fit] = []
    for each, rank in zip(fits, ranks, strict=True):
        same = any(_are_equal(each, other, found) for other in left)
        if rank == min(ranks) and not same:
            left.append(each)
    return left


def norm_layers(keys: Iterable[str], expected: State) -> list[str]:
    """Return those of some keys that belong to layers with running statistics."""
    return [key for key in keys if _stem(key) + "running_mean" in expected]


def _named(found: State, expected: State) -> list[str]:
    """Return the prefixes behind which most keys of the network are found."""
    here = {_bare(key) for key in expected} | {_unrouted(key) for key in expected}
    counts = Counter(
        prefix
        for key in found
        for prefix, rest in _splits(key)
        if _bare(rest) in here and not _WRAPPED.match(rest)
    )
    most = max(counts.values(), default=0)
    return [prefix for prefix, count in counts.items() if count == most]


def _is_whole(fit: Fit, found: State, expected: State) -> bool:
    return not fit.lacking(expected) and not fit.misfits(found, expected)


def _choose_norms(fit: Fit, there: Sources, expected: State, norm: str | None) -> Fit:
    """Add BatchNorm layers that have one more name there, such as `bn_list.0`."""
    lacking = norm_layers(fit.lacking(expected), expected)
    several: dict[str, dict[str, str]] = {}
    for key in norm_layers(expected, expected):
        stem, leaf = _bare(_stem(key)), key.removeprefix(_stem(key))
        inner = re.compile(rf"{re.escape(stem)}(.+)\.{leaf}")
        for rest, source in there.items():
            if key not in fit.sources and (name := inner.fullmatch(rest)):
                several.setdefault(name[1], {})[key] = source
    norms = [n for n, sources in several.items() if sources.keys() >= set(lacking)]
    wanted = [n for n in norms if norm is None or f".{n}".endswith(f".{norm}")]
    if not lacking or len(wanted) != 1:
        return Fit(fit.prefix, fit.sources, norms if lacking else ())
    return Fit(fit.prefix, {**fit.sources, **several[wanted[0]]}, norms, wanted[0])


def _numbered(prefix: str, found: State, expected: State) -> Fit | None:
    """Match the layers of a network with numbered ones, or the other way round."""
    there = _layers(_behind(prefix, found), found)
    here = _layers({key: key for key in expected}, expected)
    numbers = {name: each for name, each in there.items() if name.isdecimal()}
    if any(_stem(key) == "" for key in expected) or not here:
        return None
    if numbers:
        pairs = _in_order(numbers, here)
    elif all(name.isdecimal() for name in here):
        pairs = _by_shape(there, here)
    else:
        return None
    sources = {
        f"{name}.{rest}": f"{prefix}{other}.{rest}"
        for name, other in pairs.items()
        for rest in _rests(f"{name}.", expected)
        if f"{prefix}{other}.{rest}" in found
    }
    # The first layers of many networks are alike.
    return Fit(prefix, sources) if 2 * len(sources) > len(expected) else None


def _in_order(numbers: Mapping[str, Layer], here: Mapping[str, Layer]) -> Pairs:
    """Pair layers in the order of their numbers, as far as they are alike.

    What comes behind may be a head, on either side, but not more of the same kind.
    """
    order = sorted(numbers, key=int)
    pairs = dict(
        itertools.takewhile(
            lambda pair: here[pair[0]] == numbers[pair[1]],
            zip(here, order, strict=False),
        )
    )
    more = any(numbers[number] in here.values() for number in order[len(pairs) :])
    return {} if more else pairs


def _by_shape(there: Mapping[str, Layer], here: Mapping[str, Layer]) -> Pairs:
    """Pair layers with those of the same shapes; there has to be exactly one.

    The order of names in a file means nothing: some formats sort them.
    """
    pairs = {
        name: [other for other, shapes in there.items() if shapes == layer]
        for name, layer in here.items()
    }
    if any(len(others) != 1 for others in pairs.values()):
        return {}
    return {name: other for name, (other,) in pairs.items()}


def _layers(keys: Sources, state: State) -> dict[str, Layer]:
    """Return the shapes of the tensors in each layer, by the first part of the key."""
    layers: dict[str, Layer] = {}
    for key, source in keys.items():
        name, _, rest = key.partition(".")
        if rest and not rest.endswith(COUNTER):
            layers.setdefault(name, {})[rest] = state[source].shape
    return layers


def _fronts(found: State) -> list[str]:
    """Return all prefixes in a file."""
    return list(dict.fromkeys(prefix for key in found for prefix, _ in _splits(key)))


def _behind(prefix: str, found: State) -> dict[str, str]:
    """Return the keys behind a prefix, by what is left of them."""
    return {key[len(prefix) :]: key for key in found if key.startswith(prefix)}


def _rests(prefix: str, state: State) -> list[str]:
    return list(_behind(prefix, state))


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """Split a key in two at every dot; the first part keeps its dot, or is empty."""
    yield "", key
    for dot in re.finditer(r"\.", key):
        yield key[: dot.end()], key[dot.end() :]


def _stem(key: str) -> str:
    """Return the name of the layer, with its dot."""
    return key[: key.rfind(".") + 1]


def _bare(key: str) -> str:
    """Leave out the names of wrappers around layers."""
    return _WRAPPED.sub("", key)


def _unrouted(key: str) -> str:
    """Return what a key was before `convert_dual_batchnorm`."""
    return re.sub(r"\broutes\.\w+\.(?=\w+$)", "", _bare(key))


def _first_difference(paths: Sequence[Sequence[str]]) -> list[str]:
    """Return the first part of each path that is not the same in all of them."""
    at = 0
    while len({path[at] if at < len(path) else None for path in paths}) == 1:
        if all(at >= len(path) for path in paths):
            break
        at += 1
    return ["".join(path[at : at + 1]) for path in paths]


def _are_equal(one: Fit, other: Fit, found: State) -> bool:
    return one.sources.keys() == other.sources.keys() and all(
        torch.equal(found[source], found[other.sources[key]])
        for key, source in one.sources.items()
    )


def _without_indices(key: str) -> str:
    """Replace the numbers of layers by a star, but for one that opens the key."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", key)
