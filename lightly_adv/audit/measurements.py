"""From tables to accuracies, each with its model, its condition and its cell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lightly_adv.audit.conditions import Condition, parse
from lightly_adv.audit.tables import Table

_VALUE = re.compile(
    r"(-?\d+(?:[.,]\d+)?)\s*%?\s*(?:(?:±|\+/-|\+-|\\pm)\s*(\d+(?:\.\d+)?)\s*%?)?"
    r"(?:\s*[(\[].*)?"
)
_EPS_HEADING = re.compile(r"\b(eps(ilon)?|ε|ϵ|radius|budget)\b")
_ATTACK_HEADING = re.compile(r"\b(attack|adversary|suite|condition)\b")
_NORM_HEADING = re.compile(r"\bnorm\b")
_NO_ACCURACY = re.compile(
    r"\b(seconds?|time|hours?|minutes?|pass(es)?|epochs?|params?|flops|memory|images?|"
    r"samples?|loss|steps?|lr|rate|seeds?|sd|std|interval|differences?|gap|delta|drop|"
    r"rank|id|year|gpus?|distance|cosine|weight|batch|size|restarts?|error|success|"
    r"asr|dim|n|num|number|count|correct|severity|text|"
    r"forward|backward|cost|ratio|speed|throughput|ms)\b"
)
_KEY_HEADING = re.compile(r"\b(seeds?|epochs?|severity|protocol)\b")
_PLAIN_ACCURACY = re.compile(
    r"\W*(standard|(test |standard )?acc(uracy)?\.?|top-?1)\W*"
)
_ATTACK_NAMES = {
    "fgsm",
    "pgd",
    "cw",
    "autoattack",
    "apgd",
    "apgd-ce",
    "apgd-t",
    "square",
    "mim",
    "fab",
}


@dataclass(frozen=True)
class Measurement:
    """An accuracy.

    Args:
        model: What was measured: the names in its row, and in its heading.
        condition: What it was measured under.
        value: The accuracy in percent.
        spread: What stands behind "±", in percent.
        rounding: Half of the last digit, in percent.
        cell: Where it is.
    """

    model: str
    condition: Condition
    value: float
    spread: float
    rounding: float
    cell: str

    def __str__(self) -> str:
        """Return the value and its cell."""
        return f"{self.value:g} ({self.cell})"


def measurements(table: Table) -> list[Measurement]:
    """Return the accuracies of a table.

    Columns named after attacks or values of eps hold accuracies under them; so do
    columns of numbers beside a column that names attacks or values of eps.
    """
    return _in_percent(list(_numbered(_Columns(table).measurements())))


class _Columns:
    """What the columns of a table are."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.columns = range(len(table.header))
        self.headings = [head.lower().replace("_", " ") for head in table.header]
        self.numeric = [self._is_numeric(at) for at in self.columns]
        self.eps = self._first(_EPS_HEADING, numeric=None)
        self.attack = self._attack_column()
        self.norm = self._first(_NORM_HEADING, numeric=False)
        self.by_eps = self._plain_eps_headings()
        self.is_long = self.attack is not None or self.eps is not None

    def measurements(self) -> Iterator[Measurement]:
        """Yield them, row by row."""
        names = [at for at in self.columns if self._is_name(at)]
        values = [at for at in self.columns if self._is_value(at)]
        for number, row in enumerate(self.table.rows, 1):
            name = ", ".join(row[at] for at in names if row[at])
            if not (name or self.is_long):
                name = f"row {number}"
            condition = self._row_condition(row)
            for at in values:
                measurement = self._measurement(row, at, name, condition)
                if measurement is not None:
                    yield measurement

    def _measurement(
        self, row: Sequence[str], at: int, name: str, row_condition: Condition
    ) -> Measurement | None:
        value = _value(row[at])
        if value is None:
            return None
        heading, rest = self._heading(at)
        condition = heading.within(row_condition)
        if condition.attack is None and condition.eps is None:
            return None
        where = self._row_name(row)
        cell = f"{where!r}, {self.table.header[at]!r}, {self.table.title}"
        model = ", ".join(part for part in (name, rest) if part)
        return Measurement(model, condition, *value, cell)

    def _row_name(self, row: Sequence[str]) -> str:
        shown = [row[at] for at in self.columns if not self._is_value(at)]
        return ", ".join(cell for cell in shown if cell)

    def _row_condition(self, row: Sequence[str]) -> Condition:
        condition = Condition()
        for at in (self.attack, self.norm):
            if at is not None:
                condition = condition.within(parse(row[at])[0])
        if self.eps is not None:
            condition = condition.within(self._eps_of(row[self.eps]))
        return condition

    def _eps_of(self, cell: str) -> Condition:
        condition, _ = parse(cell)
        value = _value(cell)
        if condition.eps is not None or value is None:
            return condition
        in_levels = self.eps is not None and "255" in self.headings[self.eps]
        return Condition(eps=value[0] / (255 if in_levels else 1))

    def _heading(self, at: int) -> tuple[Condition, str]:
        if at in self.by_eps:
            return self.by_eps[at], ""
        condition, rest = parse(self.table.header[at])
        if not self.is_long and _PLAIN_ACCURACY.fullmatch(self.headings[at]):
            return Condition("clean"), ""
        of_model = self.rows_are_attacks and "acc" not in self.headings[at]
        if of_model and condition.attack == "clean":
            return Condition(), self.headings[at]
        return condition, rest

    def _is_numeric(self, at: int) -> bool:
        cells = [row[at] for row in self.table.rows if row[at].strip(" -\u2013")]
        numbers = [cell for cell in cells if _value(cell) is not None]
        return bool(cells) and 2 * len(numbers) > len(cells)

    def _is_value(self, at: int) -> bool:
        if not self.numeric[at] or at in (self.eps, self.attack):
            return False
        condition, _ = self._heading(at)
        named = condition.attack is not None or condition.eps is not None
        if _NO_ACCURACY.search(self.headings[at]) and not (
            named and not re.search(r"error|success|seeds?|sd", self.headings[at])
        ):
            return False
        return named or self.is_long

    def _is_name(self, at: int) -> bool:
        if at in (self.eps, self.attack, self.norm):
            return False
        if _KEY_HEADING.search(self.headings[at]):
            return all(_is_short(row[at]) for row in self.table.rows)
        return not self.numeric[at]

    def _first(self, pattern: re.Pattern[str], *, numeric: bool | None) -> int | None:
        for at in self.columns:
            condition, _ = parse(self.table.header[at])
            plain = condition.attack is None and condition.eps is None
            kind = numeric is None or self.numeric[at] == numeric
            if plain and kind and pattern.search(self.headings[at]):
                return at
        return None

    def _attack_column(self) -> int | None:
        """Return the column whose cells are attacks."""
        self.rows_are_attacks = False
        named = self._first(_ATTACK_HEADING, numeric=False)
        attacks = {parse(head)[0].attack for head in self.table.header} & _ATTACK_NAMES
        if named is not None or attacks or not self.table.rows:
            return named
        for at in self.columns:
            conditions = [parse(row[at])[0] for row in self.table.rows]
            attacks = {condition.attack for condition in conditions}
            if None not in attacks and attacks & _ATTACK_NAMES and len(attacks) > 1:
                self.rows_are_attacks = True
                return at
        return None

    def _plain_eps_headings(self) -> dict[int, Condition]:
        """Return conditions of headings that are nothing but numbers, as 0, 2, 4."""
        plain = {
            at: float(self.table.header[at])
            for at in self.columns
            if re.fullmatch(r"\d+(\.\d+)?", self.table.header[at])
        }
        if len(plain) < 2:
            return {}
        if self.eps is not None and not self.numeric[self.eps]:
            self.eps = None  # it is the heading of the names
        levels = any("255" in head for head in self.headings)
        scale = 255 if levels else 1
        return {at: Condition(eps=value / scale) for at, value in plain.items()}


def _numbered(found: Iterator[Measurement]) -> Iterator[Measurement]:
    """Tell models of one name apart, such as several seeds, by their order."""
    counts: Counter[tuple[str, Condition]] = Counter()
    for each in found:
        key = each.model, each.condition
        counts[key] += 1
        number = counts[key]
        yield replace(each, model=f"{each.model} #{number}") if number > 1 else each


def _is_short(cell: str) -> bool:
    return len(cell.split()) <= 1


def _value(cell: str) -> tuple[float, float, float] | None:
    """Return value, spread and half of the last digit of a cell, or None."""
    match = _VALUE.fullmatch(cell.strip(" *_`$~"))
    if match is None:
        return None
    number = match[1].replace(",", ".")
    decimals = len(number.partition(".")[2])
    return float(number), float(match[2] or 0), 0.5 * 10.0**-decimals


def _in_percent(found: list[Measurement]) -> list[Measurement]:
    """Return shares of at most 1 in percent, if the whole table has nothing else."""
    are_shares = found and all(0 <= each.value <= 1 for each in found)
    if not are_shares or all(each.value in (0, 1) for each in found):
        return found
    return [
        replace(
            each,
            value=100 * each.value,
            spread=100 * each.spread,
            rounding=100 * each.rounding,
        )
        for each in found
    ]
