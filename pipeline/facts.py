"""Facts: what the registries have said of a subject, as a join that does not depend on arrival.

A subject's state is the set of events known of it and the set of event ids withdrawn. Joining two states is the union of
both sets, which is commutative, associative and idempotent; every fact is read out of the set: of the events that hold on
the day asked for, the one with the highest (sequence, id) tells the value (`view`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import msgspec

EPOCH = date(1970, 1, 1).toordinal()
FIRST_DAY = date.min.toordinal() - EPOCH
LAST_DAY = date.max.toordinal() - EPOCH
"""Days are whole numbers counted from 1970-01-01; an interval holds from its first day up to, not including, its end."""

Value = int | bool | str


def day(of: date) -> int:
    """A date as its day number."""
    return of.toordinal() - EPOCH


def day_date(number: int) -> date:
    """A day number as its date."""
    return date.fromordinal(number + EPOCH)


class Known(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One event as it is kept: what a registry said of a subject, for which days, and how sure it is.

    `registry` is the registry document's name, `digest` 8 bytes over the whole content: the same (registry, id) with
    another digest is a conflict. `values` maps fact names (``tax.agi``) to money in minor units, numbers, days, yes/no or
    text. A correction has `withdraws` (the id of an event of the same registry) and no values.
    """

    sequence: int
    id: str
    digest: bytes
    registry: str
    type: str
    time_ms: int
    valid_from: int
    valid_to: int
    status: str
    values: dict[str, Value]
    withdraws: str = ""
