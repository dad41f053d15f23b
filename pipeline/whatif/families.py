"""Families moved along their income: what people alike in all else have under each rule, and where one unit more costs more than it brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from pipeline.rules import Rule, RuleFact, decide, physical_type
from pipeline.rules.figures import fact_text

from .comparison import Side
from .groups import title_of
from .result import Cliff, Family, Point

MOST_KEPT = 5_000
INTERVALS = 240
CLIFFS = 10
Facts = Mapping[str, int | bool | str | None]


class Alike(NamedTuple):
    """Those who share every fact that is no money: how many they are, and the first of them."""

    people: int
    row: int


class FamilyCount:
    """Counts, of those whom the candidate grants, who are alike in every fact that is no money."""

    def __init__(self, rule: Rule) -> None:
        self._names = [fact.name for fact in rule.facts if fact.type != "money"]
        self._seen: dict[tuple[object, ...], Alike] = {}

    def add(self, table: pl.DataFrame, granted: pl.Series, first_row: int) -> None:
        """Counts a chunk of the candidate's facts."""
        rows = pl.int_range(first_row, first_row + table.height, eager=True).alias("row:")
        counted = table.select(self._names).with_columns(rows).filter(granted)
        alike = counted.group_by(self._names) if self._names else counted.group_by(pl.lit(0).alias("all:"))
        found = alike.agg(pl.len().alias("people:"), pl.col("row:").min()).sort("people:", "row:", descending=[True, False]).head(MOST_KEPT)
        for *key, people, row in found.iter_rows():
            before = self._seen.get(tuple(key))
            self._seen[tuple(key)] = Alike(people, row) if before is None else Alike(before.people + people, min(before.row, row))

    def most(self, wanted: int) -> list[Alike]:
        """The largest of them."""
        return sorted(self._seen.values(), key=lambda alike: (-alike.people, alike.row))[:wanted]


class Moved(NamedTuple):
    """A family as each rule reads it, and how many are like it."""

    candidate: Facts
    active: Facts
    people: int
    event_days: tuple[int | None, int | None] = (None, None)


class Curves:
    """Families moved along one fact of the candidate, decided by the one evaluator. `high` is as far as the fact is worth looking at."""

    def __init__(self, candidate: Side, active: Side | None, along: str, high: int) -> None:
        self.candidate, self.active, self.along = candidate, active, along
        fact = next(fact for fact in candidate.rule.facts if fact.name == along)
        low, most = fact.range or (0, high)
        self._low, self._high = min(max(low, 0), most), max(min(max(high, 1), most), 1)

    def families(self, moved: Sequence[Moved]) -> tuple[tuple[Family, ...], tuple[Cliff, ...]]:
        """Each family's curve, and the largest cliffs that were found on the way, the largest first."""
        labels = self._labels([family.candidate for family in moved])
        families: list[Family] = []
        cliffs: list[Cliff] = []
        for label, family in zip(labels, moved, strict=True):
            grid = self._grid(family)
            jumps = {side: self._jumps(side, family, grid) for side in ("candidate", "active")}
            cliffs += [Cliff(rule=side, family=label, along=self.along, **jump) for side, found in jumps.items() for jump in found]  # type: ignore[arg-type]
            exact = {place for found in jumps.values() for jump in found[:CLIFFS] for place in (jump["at_minor"], jump["at_minor"] + 1)}
            places = sorted({*grid, *exact})
            points = zip(places, self._amounts("active", family, places), self._amounts("candidate", family, places), strict=True)
            told = {fact.name: fact_text(self.candidate.rule, fact, family.candidate[fact.name]) for fact in self._others()}
            families.append(
                Family(
                    label=label,
                    facts=told,
                    people=family.people,
                    along=self.along,
                    along_title=title_of(self.candidate.rule, self.along),
                    points=tuple(Point(*point) for point in points),
                )
            )
        largest = sorted(cliffs, key=lambda cliff: (-cliff.loss_minor, cliff.rule, cliff.at_minor, cliff.family))
        return tuple(families), tuple(cliff for side in ("active", "candidate") for cliff in [c for c in largest if c.rule == side][:CLIFFS])

    def _others(self) -> list[RuleFact]:
        return [fact for fact in self.candidate.rule.facts if fact.name != self.along]

    def _labels(self, families: Sequence[Facts]) -> list[str]:
        """What tells the families apart, in the words of their facts."""
        apart = [fact for fact in self._others() if len({family[fact.name] for family in families}) > 1]
        rule = self.candidate.rule
        labels = [", ".join(f"{title_of(rule, fact.name)} {fact_text(rule, fact, family[fact.name])}" for fact in apart) for family in families]
        return [label or "the most common family" for label in labels]

    def _grid(self, family: Moved) -> list[int]:
        """Evenly spaced places, up to a little beyond the last one at which anything changes."""
        places = self._spaced(self._high)
        reach = 0
        for side in ("candidate", "active"):
            amounts = self._amounts(side, family, places)
            reach = max([reach, *(index for index, amount in enumerate(amounts) if amount != amounts[-1])])
        return self._spaced(min(self._high, places[reach] + (places[reach] - self._low) // 4 + 1) if reach else self._high)

    def _spaced(self, high: int) -> list[int]:
        return sorted({self._low + (high - self._low) * index // INTERVALS for index in range(INTERVALS + 1)})

    def _amounts(self, side: str, family: Moved, places: Sequence[int]) -> list[int]:
        """What is paid at each place; nothing where there is no active rule."""
        which, facts, event_day = (self.candidate, family.candidate, family.event_days[0]) if side == "candidate" else (
            self.active, family.active, family.event_days[1])  # fmt: skip
        if which is None:
            return [0] * len(places)
        columns = [
            pl.Series(fact.name, places if fact.name == self.along else [facts[fact.name]] * len(places), dtype=physical_type(fact))
            for fact in which.rule.facts
        ]
        if which.rule.needs_event_day:
            columns.append(pl.Series("event_day", [event_day] * len(places), dtype=pl.Int64))
        amounts: list[int] = decide(which.rule, pl.DataFrame(columns), which.period).get_column("amount_minor").to_list()
        return amounts

    def _jumps(self, side: str, family: Moved, grid: Sequence[int]) -> list[dict[str, int]]:
        """In every interval that loses money, the one unit that loses most of it, by halving; those that cost more than they bring."""
        amounts = self._amounts(side, family, grid)
        spans = [
            (low, high, before, after)
            for low, high, before, after in zip(grid, grid[1:], amounts, amounts[1:], strict=False)
            if before > after
        ]  # fmt: skip
        while any(high - low > 1 for low, high, _, _ in spans):
            middles = [(low + high) // 2 for low, high, _, _ in spans]
            halves = []
            for (low, high, before, after), middle, between in zip(spans, middles, self._amounts(side, family, middles), strict=True):
                steeper = (before - between) * (high - middle) >= (between - after) * (middle - low) if middle > low else False
                halves.append((low, middle, before, between) if steeper else (middle, high, between, after))
            spans = halves
        found = [
            {"at_minor": low, "before_minor": before, "after_minor": after, "loss_minor": before - after}
            for low, _, before, after in spans
            if before - after > 1
        ]
        return sorted(found, key=lambda jump: (-jump["loss_minor"], jump["at_minor"]))


def as_family(rule: Rule, facts: Facts, along: str) -> dict[str, int | bool | str | None]:
    """The facts of somebody who stands for their like: amounts of money other than the one moved are none, where none is within the fact's range."""
    return {fact.name: _plain(fact, facts[fact.name], along) for fact in rule.facts}


def _plain(fact: RuleFact, value: int | bool | str | None, along: str) -> int | bool | str | None:
    if fact.type != "money" or fact.name == along:
        return value
    return 0 if fact.range is None or fact.range[0] <= 0 <= fact.range[1] else value
