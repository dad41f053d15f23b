"""Named points at which a test kills the process, to show that nothing is lost or doubled there. Passing one costs next to nothing.

``PAYOUT_FAILPOINT=before_commit:3`` ends the process with SIGKILL the third time it passes `before_commit`. A simulation listens instead,
and decides at every point what happens there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RUNNER = (
    "claimed",
    "budget_reserved",
    "after_fold",
    "before_commit",
    "after_commit",
    "log_rolled",
    "log_written",
    "relay_before_publish",
    "relay_after_publish",
    "relay_marked",
    "bank_prepared",
    "bank_file_unnamed",
    "bank_file_written",
    "bank_file_told",
    "bank_submitted",
    "bank_answers_published",
    "bank_answers_taken",
)
"""In the way of an event through lanes, relay and bank desk."""

SANDBOX_BANK = (
    "sandbox-bank.before-journal",
    "sandbox-bank.journal-without-file",
    "sandbox-bank.journal-unsynced",
    "sandbox-bank.journal-synced",
    "sandbox-bank.answer-unnamed",
    "sandbox-bank.answer-written",
    "sandbox-bank.before-answered",
)
"""In the sandbox bank, around its journal and its answers."""

ACTIVATION = (
    "activation_begun",
    "activation_before_commit",
    "activation_after_commit",
)
"""In the activation run of a lane that knows people already."""

DEAD_LETTERS = (
    "dead_letter_begun",
    "dead_letter_put",
)
"""In the replay of a dead letter: it is written down, its record is in the log."""

RESHARDING = (
    "shards_divided",
    "server_divided",
    "topics_grown",
)
"""In the division of shards: within a server's transaction, after it, and when the log has its new partitions."""

NAMES = RUNNER + SANDBOX_BANK + ACTIVATION + DEAD_LETTERS + RESHARDING
"""Every point there is."""

VARIABLE = "PAYOUT_FAILPOINT"

passed: dict[str, int] = {}
"""How often this process has passed each point."""

_fatal: tuple[str, int] = ("", 0)
_listener: Callable[[str], None] | None = None


def arm(setting: str) -> None:
    """Lets the process die at a point: ``name`` or ``name:n``; empty: nowhere."""
    global _fatal
    name, _, nth = setting.partition(":")
    if name and (name not in NAMES or not (nth or "1").isdecimal()):
        raise ValueError(f"{VARIABLE} is {setting!r}; write one of {', '.join(NAMES)}, and after a colon the how-manieth passing is meant")
    _fatal = name, int(nth or 1)
    passed.clear()


def failpoint(name: str) -> None:
    """Passes a named point; the process ends there where it was armed so."""
    passed[name] = times = passed.get(name, 0) + 1
    if (name, times) == _fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    if _listener is not None:
        _listener(name)


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile every point that is passed is told; what the listener raises is raised there."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


arm(os.environ.get(VARIABLE, ""))
