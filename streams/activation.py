"""The activation runs of a lane: everybody already known is decided under the rules that stand now, in chunks between the frames of events.

A chunk is one transaction, and how far the run has come is stored in it: a run goes on where it was stopped, by a kill as well. Whoever is
told something new meanwhile is decided at once, by the rule that stands now, and once more when the run reaches them, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from connectors.failpoints import failpoint
from connectors.store import activations
from connectors.store.activations import Run
from connectors.store.frames import work_transaction
from pipeline.facts import decode_history
from pipeline.observing import Recorder, report
from pipeline.standing import Standing

from .members import MemberRun

if TYPE_CHECKING:
    from .lane import Lane

log = structlog.get_logger("activation")

CHUNK = 5_000
"""How many subjects one transaction decides: a tenth of a second, for which events wait."""


class ActivationRuns:
    """What one lane has still to decide again, and the held orders that it has to look at again."""

    def __init__(self, lane: Lane, chunk: int = CHUNK) -> None:
        self._lane, self._chunk = lane, chunk
        self._left: list[tuple[Standing, Run]] = []
        self._members: MemberRun | None = None
        self._review_from: str | None = None

    def begin(self, standings: Sequence[Standing]) -> None:
        """These rules stand from now on: whom they have not decided yet is to be decided, and held orders are to be looked at again."""
        lane = self._lane
        found = [(standing, _begun(lane, standing)) for standing in standings]
        self._left = [(standing, run) for standing, run in found if not run.done]
        lane.stand(standings, {standing.benefit_period_id for standing, _ in self._left})
        self._members = lane.member_run()
        if self._members.pending and not any(run.known for _, run in found):
            self._members.step()  # nobody is known: it ends at once, so that who comes next tells their household once
        self._review_from = ""

    def look_again(self) -> None:
        """What is held is to be looked at again: a person let something go."""
        self._review_from = ""

    @property
    def pending(self) -> bool:
        """Whether anything is left."""
        return bool(self._left) or self._review_from is not None or (self._members is not None and self._members.pending)

    @property
    def progress(self) -> tuple[int, int]:
        """(decided, known) over the runs that are left."""
        return sum(run.decided for _, run in self._left), sum(run.known for _, run in self._left)

    def step(self) -> int:
        """Decides the next chunk, or looks at the next held orders; gives how many subjects it looked at, and at least 1 while anything could be done.

        Households wait until every shard has told them of their members.
        """
        ready = next((index for index, (standing, _) in enumerate(self._left) if not self._lane.waits(standing.benefit_period_id)), None)
        if ready is not None:
            standing, before = self._left[ready]
            run = _decide(self._lane, standing, before, self._chunk)
            if run.done:
                self._left.pop(ready)
                self._lane.decided_all(standing.benefit_period_id)
                if run.decided:
                    told = {"benefit": standing.rule.benefit, "period": standing.period.label, "rule": standing.rule.hash[:12], "subjects": run.decided}
                    log.info("activation", shard=self._lane.claim.shard, **told)
            else:
                self._left[ready] = standing, run
            return max(run.decided - before.decided, 1)
        if self._members is not None and self._members.pending:
            return max(self._members.step(), 1)
        if self._review_from is not None:
            held = _review(self._lane, self._review_from, self._chunk)
            self._review_from = held[-1] if held else None
            return max(len(held), 1)
        return 0


def _begun(lane: Lane, standing: Standing) -> Run:
    known = activations.begun(lane.connection, lane.claim.shard, standing.benefit_period_id, standing.newest.rule_id, standing.run)
    if known is not None:
        return known
    with work_transaction(lane.connection, lane.claim, "activation") as transaction:
        run = activations.begin(transaction.connection, lane.claim.shard, standing.benefit_period_id, standing.newest.rule_id, standing.run, standing.share)
    failpoint("activation_begun")
    return run


def _decide(lane: Lane, standing: Standing, run: Run, chunk: int) -> Run:
    """Decides the next subjects in the order of their names, and stores how far the run has come with what was decided."""
    told = Recorder()
    with work_transaction(lane.connection, lane.claim, "activation") as transaction:
        rows = transaction.histories_after(run.decided_to, chunk)
        histories = {subject: decode_history(history) for subject, history in rows}
        orders = lane.orders(transaction, told)
        orders.load(list(histories), all_between=True)
        for rule, subjects in standing.split(list(histories)):
            orders.settle(rule, rule.decide([(subject, histories[subject]) for subject in subjects]))
        lane.finish(transaction, orders, histories.__getitem__)
        run = Run(rows[-1][0] if rows else run.decided_to, len(rows) < chunk, run.decided + len(rows), run.known)
        activations.advance(transaction.connection, lane.claim.shard, standing.benefit_period_id, run)
        failpoint("activation_before_commit")
    failpoint("activation_after_commit")
    lane.claim.release_seq = orders.release_seq
    report(told.take(), lane.observer)
    return run


def _review(lane: Lane, after: str, chunk: int) -> list[str]:
    """Resolves the accounts of the next held orders again: an account may have become valid by the day, a benefit been resumed."""
    told = Recorder()
    with work_transaction(lane.connection, lane.claim, "review") as transaction:
        holding = transaction.holding_after(after, chunk)
        if not holding:
            return []
        histories = {subject: decode_history(history) for subject, history in transaction.histories(holding).items()}
        orders = lane.orders(transaction, told)
        orders.load(holding)
        lane.finish(transaction, orders, histories.__getitem__)
    lane.claim.release_seq = orders.release_seq
    report(told.take(), lane.observer)
    return holding
