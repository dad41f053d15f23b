"""Patience with a store that is away: work is tried again, further and further apart, until the store has been away too long."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from connectors.store.servers import StoreAway, away
from pipeline.observing import STORE_RETRIES, Observer

log = structlog.get_logger("store")

PATIENCE_S = 120.0
"""How long a store may be away before the process gives up."""

_T = TypeVar("_T")


def patiently(work: Callable[[], _T], observer: Observer, *, again: Callable[[], None] | None = None) -> _T:
    """What `work` gives. Where the store is away it is tried later, after `again` has brought it to where the store stands."""

    def told(state: RetryCallState) -> None:
        observer.count(STORE_RETRIES, reason="away")
        log.warning("the store is away, trying again", error=str(state.outcome.exception() if state.outcome else ""), attempt=state.attempt_number)

    for attempt in Retrying(
        retry=retry_if_exception_type(StoreAway),
        wait=wait_exponential_jitter(multiplier=0.2, max=5),
        stop=stop_after_delay(PATIENCE_S),
        before_sleep=told,
        reraise=True,
    ):
        with attempt, away():
            if again is not None and attempt.retry_state.attempt_number > 1:
                again()
            return work()
    raise AssertionError("tenacity re-raises")
