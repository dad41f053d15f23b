"""What a fault is: how it is made while events flow, how often it struck, and what an operator sees of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .case import Case

Make = Callable[[Case], int]
"""Makes the fault, and gives how often it struck; what must be true of it meanwhile it holds to."""


class Fault(NamedTuple):
    """One fault, made once a share of the events, which flow for `lasts_s`, is taken by two workers.

    `catalogue` are its numbers in the catalogue of faults. `after` None: it begins with no worker and no event, and lets them come itself.
    """

    name: str
    catalogue: str
    how: str
    counted: str
    sees: str
    make: Make
    after: float | None
    lasts_s: float


FAULTS: list[Fault] = []
"""All of them, in the order in which they are told."""


def fault(name: str, catalogue: str, *, how: str, counted: str, sees: str, after: float | None = 0.2, lasts_s: float = 8) -> Callable[[Make], Make]:
    """Lists a fault."""

    def listed(make: Make) -> Make:
        FAULTS.append(Fault(name, catalogue, how, counted, sees, make, after, lasts_s))
        return make

    return listed
