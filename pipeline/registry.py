"""Registries as data: the document that declares what one registry may say, and the catalogue of facts that comes of it."""

from __future__ import annotations

import msgspec


class FactSpec(msgspec.Struct, frozen=True):
    """One fact that a registry tells, as rules may use it.

    `type` is money, number, yes_no, date, text or one_of. `range` is in physical units: minor units for money, day
    numbers for dates. `until` names the date fact that a derived yes/no fact follows: "no" from that date on, "yes"
    before it or while it is not known, unknown where the registry never spoke of the subject.
    """

    name: str
    registry: str
    type: str
    meaning: str
    currency: str = ""
    one_of: tuple[str, ...] = ()
    range: tuple[int, int] | None = None
    timeless: bool = False
    until: str = ""
    event_type: str = ""


class Registries:
    """All registry documents of an installation."""

    def __init__(self, catalogue: dict[str, FactSpec]) -> None:
        self.catalogue = catalogue
