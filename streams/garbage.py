"""The search for cycles of garbage, put off where work makes many objects and no cycles."""

from __future__ import annotations

import gc


def seldom() -> None:
    """Searches seldom: a frame or a bank file makes a hundred thousand objects that live until it is done, and looking for cycles among
    them after every 700 costs a tenth of the time. What is there now is never looked at again."""
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
