"""Groups of people by one fact: deciles of money, bands of age, values of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from pipeline.money import money_text
from pipeline.rules import Rule
from pipeline.texts import in_language

UNKNOWN = "unknown"
MOST_GROUPS = 100
"""Groups beyond these, the smallest, are told as one."""

AGE_EDGES = (17, 24, 34, 44, 54, 64, 74, 84)
_MANY = 8

Kind = Literal["decile", "age", "value"]


@dataclass(frozen=True, slots=True)
class Grouping:
    """How one column divides people. `edges` are the last values of each decile or band but the highest; numbers
    from `most` on are one group."""

    name: str
    title: str
    kind: Kind
    edges: tuple[int, ...] = ()
    currency: str = ""
    most: int | None = None

    def of(self, column: pl.Series) -> tuple[pl.Series, dict[int, str] | None]:
        """The number of each row's group, -1 where the fact is unknown; and what the numbers stand for where they are of texts."""
        if self.kind == "value" and (not column.dtype.is_integer() or (column.min() or 0) < 0):  # type: ignore[operator]
            texts = column.cast(pl.String) if column.dtype not in (pl.String, pl.Categorical, pl.Enum) else column
            kinds = texts.cast(pl.Categorical) if texts.dtype == pl.String else texts
            present = kinds.unique().drop_nulls()
            return kinds.to_physical().cast(pl.Int64).fill_null(-1), dict(zip(present.to_physical().to_list(), present.to_list(), strict=True))
        whole = column.cast(pl.Int64, strict=False)
        if self.kind == "value":
            return (whole if self.most is None else whole.clip(upper_bound=self.most)).fill_null(-1), None
        above = pl.sum_horizontal([(pl.col(column.name) > edge).cast(pl.Int64) for edge in self.edges] or [pl.lit(0)])
        return pl.DataFrame([whole]).select(pl.when(pl.col(column.name).is_not_null()).then(above).otherwise(-1)).to_series(), None

    def label(self, group: int | str | bool | None) -> str:
        """What people read of a group."""
        if group is None:
            return UNKNOWN
        if self.kind == "decile":
            index = int(group)
            span = f"up to {self._amount(self.edges[index])}" if index < len(self.edges) else f"above {self._amount(self.edges[-1])}" if self.edges else "all"
            return f"{index + 1}: {span}"
        if self.kind == "age":
            low, high = (-1, *self.edges)[int(group)] + 1, (*self.edges, None)[int(group)]
            return f"{low}-{high}" if high is not None else f"{low} or older"
        if self.most is not None and group == self.most:
            return f"{self.most} or more"
        return {"true": "yes", "false": "no"}.get(str(group), str(group))

    def order(self, group: int | str | bool | None) -> tuple[bool, int, str]:
        """Numbers by size, texts by letter, the unknown last."""
        return group is None, group if isinstance(group, int) else 0, str(group)

    def _amount(self, value: int) -> str:
        return money_text(value, self.currency) if self.currency else f"{value:,}"


def deciles(name: str, title: str, column: pl.Series, currency: str = "") -> Grouping:
    """Ten groups of as nearly the same size as equal values allow: the edges are values of the column."""
    known = column.drop_nulls().cast(pl.Int64).sort()
    edges = [int(known[len(known) * tenth // 10 - 1]) for tenth in range(1, 10) if len(known) * tenth // 10 > 0]
    return Grouping(name, title, "decile", tuple(sorted(set(edges))), currency)


def ages(name: str, title: str) -> Grouping:
    """Bands of age in full years."""
    return Grouping(name, title, "age", AGE_EDGES)


def values(name: str, title: str, *, counts: bool = False) -> Grouping:
    """A group for each value; where it counts something, many are one group."""
    return Grouping(name, title, "value", most=_MANY if counts else None)


def title_of(rule: Rule, name: str) -> str:
    """What people call a fact of a rule, or anything else that people are grouped by."""
    return in_language(rule.titles.get(name, {})) or name.rpartition(".")[2].replace("_", " ")


def folded(labels: Sequence[tuple[str, int]]) -> dict[str, str]:
    """For each label its own, or the name of all that are too small to be told alone; the sizes are given with them."""
    kept = {label for label, _ in sorted(labels, key=lambda entry: (-entry[1], entry[0]))[:MOST_GROUPS]}
    return {label: label if label in kept else "others" for label, _ in labels}
