"""The shares of a country: what its statistics publish, and the weights by which a population is made to agree with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

from pipeline.problems import Malformed, Problem

BLOCK_PERSONS = 1_000
"""Persons are made in blocks, each with the same mix of households."""

Bands = list[list[int]]
"""[youngest, oldest, …]: what holds for these ages."""


class Household(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of household, and how many of a block are of it."""

    number: int
    couple: int
    others: int
    children: int

    @property
    def size(self) -> int:
        return 2 * self.couple + self.others + self.children


class Ages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of ages: of who lives alone, the older of a couple, other grown-up persons, the oldest child at home."""

    alone: Bands
    couple: Bands
    others: Bands
    oldest_child: Bands


class PersonEvents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to persons, in 10,000 by age."""

    died: Bands
    emigrated: Bands
    immigrated: Bands
    came_from_abroad: Bands
    protected_address: Bands
    without_residence: Bands


class HouseholdEvents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to households, in 10,000."""

    moved_municipality: int
    member_joined: int
    listed_heating: int
    heating_unknown: int
    income_estimated: int
    income_unknown: int


class AccountFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How accounts are written and what is wrong with them, in 10,000 persons."""

    no_account: int
    account_closed: int
    account_pending: int
    account_invalid: int
    account_written_as_danish: int


class ChildrenTax(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wrong with the assessments of guardians, in 10,000 children."""

    income_unknown: int
    income_corrected: int


class Businesses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Businesses of a block, weights of owners from 0 on, deciles of employees, of the turnover of a quarter and of the percentage lost, the rest in 10,000."""

    number: int
    industries: dict[str, int]
    owners: list[int]
    employees: list[int]
    turnover: list[int]
    lost: list[int]
    inactive: int
    ordered_closed: int
    turnover_unknown: int
    turnover_final: int


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One country's file; `published` is for people and tests, the rest is what is drawn from."""

    country: str
    currency: str
    published: dict[str, dict[str, str | int | float]]
    households: list[Household]
    ages: Ages
    married: Bands
    alone: Bands
    incomes: Bands
    capital: list[int]
    receipts: list[dict[str, int]]
    events: PersonEvents
    households_events: HouseholdEvents
    accounts: AccountFaults
    accounts_shared: int
    children_tax: ChildrenTax
    businesses: Businesses
    municipalities: dict[str, int]

    @property
    def block_households(self) -> int:
        return sum(kind.number for kind in self.households)

    def benefits(self) -> list[str]:
        """Every benefit that somebody receives."""
        return sorted({name for band in self.receipts for name in band if name not in ("from", "to")})


def load_shares(path: Path) -> Shares:
    """The shares of a file; Malformed where it is none."""
    try:
        document: Any = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        shares = msgspec.convert(document, Shares)
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem.removeprefix("population-") for file in path.parent.glob("population-*.yaml")))
        country = path.stem.removeprefix("population-")
        raise Malformed([Problem("--country", f"there are no shares of {country!r}", f"Known: {known}. A country is a file beside {path.name}.")]) from None
    except msgspec.ValidationError as error:
        raise Malformed([Problem(str(path), str(error))]) from None
    persons = sum(kind.number * kind.size for kind in shares.households)
    if persons != BLOCK_PERSONS:
        raise Malformed([Problem(f"{path}: households", f"have {persons:,} members together", f"Make it {BLOCK_PERSONS:,}, so that blocks are alike.")])
    return shares
