"""The gauges that only the store can tell: where orders and money stand, what is stuck and since when, what waits for a person."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from connectors.store.activations import runs
from connectors.store.budgets import kept
from connectors.store.queries import queries_of
from pipeline.observing import (
    ACTIVATION_LEFT,
    BUDGET_LEFT,
    CLAIMS,
    DEAD_LETTERS_OPEN,
    LEDGER_IMBALANCE,
    OLDEST_HELD_AGE,
    ORDER_AMOUNT,
    ORDERS,
    ORDERS_HELD,
    OUTBOX_PENDING,
)

from .installation import Installation
from .metrics import Metrics

EVERY_S = 5.0
SHARE = 20
"""Measuring waits at least this many times as long as it took, so that it never takes more than a twentieth of the time."""


def measure(installation: Installation, metrics: Metrics) -> None:
    """Asks the store and states the gauges anew."""
    with queries_of(installation.store) as queries:
        sums = queries.order_sums(("benefit", "state"))
        counts: dict[tuple[str, ...], float] = {}
        for row in sums:
            key = row["benefit"], row["state"]
            counts[key] = counts.get(key, 0) + row["orders"]
        metrics.replace(ORDERS, counts)
        metrics.replace(ORDER_AMOUNT, {(row["benefit"], row["currency"], row["state"]): row["amount_minor"] for row in sums})
        held = queries.held()
        reasons: dict[tuple[str, ...], float] = {}
        for standing in held:
            reasons[standing.reason,] = reasons.get((standing.reason,), 0) + standing.orders
        metrics.replace(ORDERS_HELD, reasons)
        oldest = min((standing.oldest_at for standing in held), default=None)
        metrics.gauge(OLDEST_HELD_AGE, (datetime.now(UTC) - oldest).total_seconds() if oldest else 0)
        metrics.replace(CLAIMS, {(claim.key, claim.currency): claim.amount_minor for claim in queries.claims()})
        left_minor: dict[tuple[str, ...], float] = {
            (row.benefit, row.year or "all", row.currency): max(row.limit_minor - row.taken_minor, 0) for row in kept(installation.store)
        }
        metrics.replace(BUDGET_LEFT, left_minor)
        letters = queries.dead_letter_counts()
        metrics.replace(DEAD_LETTERS_OPEN, {(topic,): letters.get((topic, "open"), 0) for topic in installation.topics})
        metrics.gauge(OUTBOX_PENDING, queries.outbox_pending())
        left: dict[tuple[str, ...], float] = {}
        for run in runs(installation.store):
            left[run.benefit,] = left.get((run.benefit,), 0) + (0 if run.shards == run.done else max(run.known - run.decided, 0))
        metrics.replace(ACTIVATION_LEFT, left)
        metrics.replace(LEDGER_IMBALANCE, {(currency,): amount_minor for currency, amount_minor in queries.ledger_imbalance().items()})


class Measuring:
    """Measures every few seconds, whenever it is called; less often where the store is large."""

    def __init__(self, installation: Installation, metrics: Metrics) -> None:
        self._installation, self._metrics = installation, metrics
        self._next_s = 0.0

    def __call__(self) -> None:
        """Measures, if it is time."""
        started_s = time.monotonic()
        if started_s < self._next_s:
            return
        measure(self._installation, self._metrics)
        now_s = time.monotonic()
        self._next_s = now_s + max(EVERY_S, SHARE * (now_s - started_s))
