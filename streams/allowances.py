"""What a shard may still release of the budgets that stand: reserved before it is released, so that no budget is passed whatever happens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import structlog

from connectors.failpoints import failpoint
from connectors.store import budgets
from connectors.store.servers import Connection, Row, Store
from pipeline.budgets import Budget, by_period
from pipeline.standing import Standing

log = structlog.get_logger("allowances")

Wanted = tuple[int, int]
"""(benefit_period_id, amount_minor) of an order that could leave."""

Key = tuple[str, str]
"""(benefit, year) of a budget."""


class Allowances:
    """The allowances of one shard. What it has released is counted from its orders when a budget begins to stand, so nothing is kept twice.

    `first` gives a connection to the first server of its own, since the shard's transaction is under way while it reserves. A transaction
    that fails takes its lane with it, and the next one counts again.
    """

    def __init__(self, store: Store, shard: int, own: Connection[Row], first: Callable[[], Connection[Row]]) -> None:
        self._store, self._shard, self._own, self._first = store, shard, own, first
        self._elsewhere = store.url_of(shard) != store.urls[0]
        self._budgets: Mapping[int, Budget] = {}
        self._released_minor: dict[Key, int] = {}
        self._left_minor: dict[Budget, int] = {}
        self._stopped: set[Budget] = set()

    def stand(self, standings: Mapping[int, Standing]) -> None:
        """These rules and their budgets stand from now on. Called between transactions."""
        self._budgets, self._left_minor, self._stopped = by_period(standings), {}, set()
        standing = {(budget.benefit, budget.year): budget for budget in self._budgets.values()}
        self._released_minor = {
            key: self._released_minor[key] if key in self._released_minor else budgets.released(self._own, budget, [self._shard]).get(self._shard, 0)
            for key, budget in sorted(standing.items())
        }
        for key, released_minor in self._released_minor.items():
            budget = standing[key]
            reserved_minor, stopped = budgets.stand(self._store, self._first(), budget, self._shard, released_minor)
            self._left_minor[budget] = reserved_minor - released_minor
            if stopped and not self._left_minor[budget]:  # what was reserved before it stopped may still leave
                self._stopped.add(budget)

    @property
    def limited(self) -> bool:
        """Whether any budget stands."""
        return bool(self._budgets)

    def fitting(self, wanted: Sequence[Wanted]) -> list[bool]:
        """Whether each of these orders may leave, in their order: from the first that does not fit its budget on, none of that budget may.

        What may leave counts as released.
        """
        rows_of: dict[int, list[int]] = {}
        for row, (period_id, _) in enumerate(wanted):
            rows_of.setdefault(period_id, []).append(row)
        asked: dict[Budget, list[int]] = {}
        for period_id, rows in rows_of.items():
            if period_id in self._budgets:
                asked.setdefault(self._budgets[period_id], []).extend(rows)
        fits = [True] * len(wanted)
        for budget, rows in asked.items():
            rows.sort()
            for row in rows[self._take(budget, [wanted[row][1] for row in rows]) :]:
                fits[row] = False
        return fits

    def _take(self, budget: Budget, amounts_minor: Sequence[int]) -> int:
        """How many of these orders, from the first on, the budget has the money for; they count as released."""
        if budget in self._stopped:
            return 0
        count, taken_minor = len(amounts_minor), sum(amounts_minor)
        if taken_minor > self._left_minor[budget]:
            self._reserve(budget, amounts_minor)
        if taken_minor > self._left_minor[budget]:
            log.warning("the budget is reached", benefit=budget.benefit, year=budget.year, limit_minor=budget.limit_minor, shard=self._shard)
            self._stopped.add(budget)
            count = bisect_right(list(accumulate(amounts_minor)), self._left_minor[budget])
            taken_minor = sum(amounts_minor[:count])
        self._left_minor[budget] -= taken_minor
        self._released_minor[budget.benefit, budget.year] += taken_minor
        return count

    def _reserve(self, budget: Budget, amounts_minor: Sequence[int]) -> None:
        left_minor = self._left_minor[budget]
        needs_minor = [so_far_minor - left_minor for so_far_minor in accumulate(amounts_minor) if so_far_minor > left_minor]
        self._left_minor[budget] += budgets.reserve(self._first(), budget, self._shard, needs_minor, self._elsewhere)
        failpoint("budget_reserved")


class Unlimited(Allowances):
    """Where no budget is kept: everything may leave."""

    def __init__(self) -> None:
        self._budgets, self._left_minor, self._stopped = {}, {}, set()

    def stand(self, standings: Mapping[int, Standing]) -> None:
        """Whatever stands, nothing is limited."""
