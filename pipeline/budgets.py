"""The budgets that stand: what may be released of a benefit, once or for the periods of a year, as its newest document or a person after it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .rules import Period, Rule
from .rules.life import Life

if TYPE_CHECKING:
    from .standing import Standing


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what is released of a benefit, for the periods of a year or (empty) all together.

    `number` is the entry of the log of rules by which it stands: with a later one the shards begin to ask again.
    """

    benefit: str
    year: str
    limit_minor: int
    number: int = 0


def budget_year(rule: Rule, period: Period) -> str | None:
    """The year whose budget pays for a period; empty where one budget pays for all, None where the document has none."""
    if rule.limits.budget is None:
        return None
    return "" if rule.limits.budget.per == "once" or period.kind == "once" else f"{period.year:04}"


def assign(standings: Sequence[Standing], life: Life | None = None) -> None:
    """Gives the standings of one benefit their budgets: of each year that of its newest document, or what a person set after it."""
    since: dict[str, int] = {}
    for layer in life.layers if life is not None else ():
        since.setdefault(layer.rule, layer.number)
    by_year: dict[str, list[Standing]] = {}
    for standing in standings:
        year = budget_year(standing.rule, standing.period)
        if year is not None:
            by_year.setdefault(year, []).append(standing)
    for year, paid in by_year.items():
        newest = max((standing.rule for standing in paid), key=lambda rule: since.get(rule.hash, 0))
        assert newest.budget_minor is not None, "it has a year"
        budget = _stands(newest.benefit, year, newest.budget_minor, since.get(newest.hash, 0), life)
        for standing in paid:
            standing.budget = budget


def _stands(benefit: str, year: str, limit_minor: int, since: int, life: Life | None) -> Budget:
    if life is None:
        return Budget(benefit, year, limit_minor)
    number, set_minor = life.budgets.get(year, (0, 0))
    return Budget(benefit, year, set_minor if number > since else limit_minor, max(number, life.number))


def by_period(standings: Mapping[int, Standing]) -> dict[int, Budget]:
    """The budgets by the number of the benefit and period that they pay for."""
    return {period_id: standing.budget for period_id, standing in standings.items() if standing.budget is not None}
