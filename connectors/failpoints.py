"""Named points at which a test kills the process, to show that nothing is lost or doubled there. They cost nothing when off.

``PAYOUT_FAILPOINT=before_commit:3`` ends the process with SIGKILL the third time it passes `before_commit`.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    "after_fold",
    "before_commit",
    "after_commit",
    "relay_before_publish",
    "relay_after_publish",
    "bank_prepared",
    "bank_file_written",
    "bank_answers_published",
)
"""Every point there is, in the way of an event."""

_name, _, _nth = os.environ.get("PAYOUT_FAILPOINT", "").partition(":")
_left = int(_nth or 1)
if _name and _name not in NAMES:
    raise ValueError(f"PAYOUT_FAILPOINT names {_name!r}; there are {', '.join(NAMES)}")


def _die(name: str) -> None:
    global _left
    if name == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _pass(name: str) -> None:
    """Nothing."""


failpoint = _die if _name else _pass
"""Passes a named point; ends the process there where the environment says so."""
