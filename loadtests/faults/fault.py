"""What a fault is: how it is made while events flow, how often it struck, and what an operator sees of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .case import Case

Make = Callable[[Case], int]
"""Lets events flow, makes the fault, and gives how often it struck; what must be true of it meanwhile it holds to."""


class Fault(NamedTuple):
    """One fault. `catalogue` are its numbers in the catalogue of faults, `doubled` whether orders may be published under their id by two numbers."""

    name: str
    catalogue: str
    how: str
    counted: str
    sees: str
    make: Make
    doubled: bool = False


FAULTS: list[Fault] = []
"""All of them, in the order in which they are told."""


def fault(name: str, catalogue: str, *, how: str, counted: str, sees: str, doubled: bool = False) -> Callable[[Make], Make]:
    """Lists a fault."""

    def listed(make: Make) -> Make:
        FAULTS.append(Fault(name, catalogue, how, counted, sees, make, doubled))
        return make

    return listed
