"""One registry class for everything that other packages can add by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from lightly_adv.functional import validation

T = TypeVar("T")
Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """Where the object behind a name comes from."""

    name: str
    source: str
    load: Callable[[], Any]
    override: bool = False


class PluginClashError(ImportError):
    """Several installed packages provide the same name."""


class Registry(Generic[T]):
    """Factories by name; installed plug-ins are found but not loaded.

    A plug-in is a distribution that declares an entry point in `group`. It is imported
    only when its name is asked for, so a broken plug-in fails only its own name.

    Args:
        kind: What the entries are, for messages ("attack").
        group: Entry-point group to look in ("lightly_adv.attacks").

    Examples:
        >>> registry = Registry[int]("number", "an_example.numbers")
        >>> @registry.register("one")
        ... def one() -> int:
        ...     return 1
        >>> registry.create("one"), registry.list(), registry.is_registered("two")
        (1, ['one'], False)
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, Entry] = {}

    def register(
        self, name: str, *, override: bool = False
    ) -> Callable[[Factory], Factory]:
        """Return a decorator that registers a factory under a name.

        Where an installed plug-in provides the name as well, asking for it raises,
        unless `override` is True.

        Args:
            name: The name to register.
            override: Replace whatever is registered or installed under this name.

        Raises:
            ValueError: If the name is registered already and `override` is False.
        """
        taken = self._entries.get(name)
        if taken is not None and not override:
            raise ValueError(
                f"{self.kind} {name!r} is already registered by {taken.source}; "
                "choose another name, or pass override=True to replace it."
            )

        def decorator(factory: Factory) -> Factory:
            source = f"{factory.__module__}.{getattr(factory, '__qualname__', name)}"
            self._entries[name] = Entry(name, source, lambda: factory, override)
            return factory

        return decorator

    def create(self, name: str, /, **kwargs: Any) -> T:
        """Load the factory behind a name and call it.

        Raises:
            ValueError: If the name is unknown, with the near ones.
            ImportError: If the plug-in that provides the name fails to import, or if
                several provide it.
        """
        created: T = self.load(name)(**kwargs)
        return created

    def resolve(self, value: object, kind: type[T]) -> T:
        """Return the object behind a name; an object comes back as it is.

        Args:
            value: The name or the object.
            kind: The type of objects.

        Raises:
            TypeError: If it is neither.
            ValueError: If the name is unknown, with the near ones.
        """
        if isinstance(value, str):
            return self.create(value)
        if isinstance(value, kind):
            return value
        raise TypeError(
            f"{self.kind} is a {type(value).__name__}; expected a {kind.__name__} or "
            f"one of the names {self.list()}."
        )

    def resolve_all(self, values: Sequence[object], kind: type[T]) -> tuple[T, ...]:
        """Return the objects behind several names; see `resolve`.

        Raises:
            TypeError: If one is neither a name nor an object.
            ValueError: If a name is unknown, or if there is none, or one twice.
        """
        if isinstance(values, str):
            self.load(values)  # an unknown name has an error of its own
            raise ValueError(
                f"{values!r} is one {self.kind}; expected a list, [{values!r}]."
            )
        found = tuple(self.resolve(value, kind) for value in values)
        names = [getattr(value, "name", None) for value in found]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"{self.kind}: got {names}; expected one or more, each once and with a "
                "name of its own."
            )
        return found

    def list(self, pattern: str = "*") -> list[str]:
        """Names that match a shell pattern, sorted. Loads nothing."""
        return sorted(fnmatch.filter(self._all(), pattern))

    def is_registered(self, name: str) -> bool:
        """Whether a name is known. Loads nothing."""
        return name in self._all()

    def load(self, name: str) -> Callable[..., Any]:
        """Load the factory behind a name, without calling it.

        Raises:
            ValueError: If the name is unknown, with the near ones.
            ImportError: If the plug-in that provides the name fails to import, or if
                several provide it.
        """
        entries = self._all()
        if name not in entries:
            raise ValueError(validation.unknown(self.kind, name, sorted(entries)))
        entry = entries[name]
        try:
            factory = entry.load()
        except PluginClashError:
            raise
        except Exception as error:
            raise ImportError(
                f"{self.kind} {name!r}, provided by {entry.source}, failed to load: "
                f"{type(error).__name__}: {error}. Repair or uninstall that package."
            ) from error
        if not callable(factory):
            raise ImportError(
                f"{self.kind} {name!r}, provided by {entry.source}, is a "
                f"{type(factory).__name__}, which cannot be called; its entry point "
                "should name a class or function, as in 'package.module:Class'."
            )
        return factory  # type: ignore[no-any-return]

    def _all(self) -> dict[str, Entry]:
        found = self._installed()
        for name, entry in self._entries.items():
            other = None if entry.override else found.get(name)
            found[name] = _clash(self.kind, other, entry) if other else entry
        return found

    def _installed(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for point in entry_points(group=self.group):
            entry = Entry(point.name, _describe(point), point.load)
            other = found.get(point.name)
            found[point.name] = _clash(self.kind, other, entry) if other else entry
        return found


def _describe(point: EntryPoint) -> str:
    distribution = point.dist.name if point.dist else "an unknown distribution"
    return f"{distribution} ({point.value})"


def _clash(kind: str, first: Entry, second: Entry) -> Entry:
    """Return an entry that raises when it is loaded, unless both are the same."""
    if first.source == second.source:
        return first

    sources = f"{first.source} and {second.source}"

    def refuse() -> Any:
        raise PluginClashError(
            f"several packages provide the {kind} {first.name!r}: {sources}. Uninstall "
            "all but one, or register the one you want under this name with "
            "override=True."
        )

    return Entry(first.name, sources, refuse)
