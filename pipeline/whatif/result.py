"""The result of a what-if as whole numbers and text, and the hash over it that approvals sign."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec
import rfc8785

from pipeline.problems import Malformed, Problem

FORMAT = "simulation/1"
SAFE = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly; a larger one is hashed as its text."""

CHANGES = ("newly_in", "newly_out", "more", "less", "same", "neither", "undetermined")
"""What a candidate means to somebody, by the money: `same` is the same amount, `neither` nothing under both, `undetermined` undecided under one of them."""

BANDS = ("lose_more", "lose_less", "unchanged", "gain_less", "gain_more")
"""The five bands of losers and winners, those undetermined left out."""


class RuleSaid(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two rules and the period it decided for."""

    hash: str
    benefit: str
    title: str
    period: str


class Population(msgspec.Struct, frozen=True, kw_only=True):
    """Who was decided: a snapshot of a store or a file, by the hash of its content."""

    hash: str
    people: int
    kind: Literal["snapshot", "file"]


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Some people: how many each change meets, what they are paid, and how many stand in each of the five bands."""

    people: int = 0
    newly_in: int = 0
    newly_out: int = 0
    more: int = 0
    less: int = 0
    same: int = 0
    neither: int = 0
    undetermined: int = 0
    active_minor: int = 0
    candidate_minor: int = 0
    lose_more: int = 0
    lose_less: int = 0
    unchanged: int = 0
    gain_less: int = 0
    gain_more: int = 0

    @property
    def difference_minor(self) -> int:
        """What the candidate costs beyond the active rule."""
        return self.candidate_minor - self.active_minor


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The people of one group, such as a decile of income."""

    label: str
    tally: Tally


class Dimension(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody divided into groups by one fact; the groups add up to the whole."""

    name: str
    title: str
    kind: Literal["decile", "age", "value"]
    groups: tuple[Group, ...]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Those to whom the candidate means one thing, and what they are paid under each rule."""

    change: str
    people: int
    active_minor: int
    candidate_minor: int


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Those whom the active rule decided in one way and the candidate in one way."""

    active: str
    candidate: str
    people: int
    active_minor: int
    candidate_minor: int


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why people came in or fell out: the first condition that flipped, or `amount` where nothing is left to pay (or something is at last)."""

    id: str
    text: str
    law: str
    people: int
    amount_minor: int


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """A month of the budget's year: what is paid in it under each rule, and what the candidate has cost by its end."""

    month: str
    active_minor: int
    candidate_minor: int
    so_far_minor: int


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate's own limit; `reached_in` is the month in which it is passed, or empty."""

    amount_minor: int
    per: str
    year_minor: int
    left_minor: int
    reached_in: str


class Certainty(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate decided on facts of some statuses only; `differ` counts those with another decision or amount than the document's own way gives."""

    accepts: Literal["final", "document", "provisional"]
    granted: int
    refused: int
    undetermined: int
    candidate_minor: int
    differ: int


class Unpaid(msgspec.Struct, frozen=True, kw_only=True):
    """People whom the candidate grants money that could not leave, for one reason."""

    reason: str
    sentence: str
    lifted_by: str
    people: int
    amount_minor: int


class Payability(msgspec.Struct, frozen=True, kw_only=True):
    """Who of those granted money could be paid on the day of the snapshot, and who could not and why."""

    payable: int
    payable_minor: int
    unpaid: tuple[Unpaid, ...]


class Point(msgspec.Struct, frozen=True, array_like=True):
    """What a family has under each rule at one value of the fact it is moved along."""

    at_minor: int
    active_minor: int
    candidate_minor: int


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """People alike in all but one fact, moved along it; `people` is how many of those granted money are like them."""

    label: str
    facts: dict[str, str]
    people: int
    along: str
    along_title: str
    points: tuple[Point, ...]


class Cliff(msgspec.Struct, frozen=True, kw_only=True):
    """One more minor unit of the fact, from `at_minor` on, costs the family `loss_minor`."""

    rule: Literal["active", "candidate"]
    family: str
    along: str
    at_minor: int
    before_minor: int
    after_minor: int
    loss_minor: int


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """One subject under both rules, with both traces; `active_trace` is empty where there is no active rule."""

    subject: str
    change: str
    active: str
    candidate: str
    active_minor: int
    candidate_minor: int
    active_trace: str
    candidate_trace: str


class SimulationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a what-if found. It holds no time, path or machine, so that the same inputs give the same hash."""

    format: Literal["simulation/1"]
    currency: str
    candidate: RuleSaid
    active: RuleSaid | None
    differences: tuple[str, ...]
    population: Population
    seed: int
    whole: Tally
    changes: tuple[Change, ...]
    decisions: tuple[Cell, ...]
    months: tuple[Month, ...]
    budget: Budget | None
    bands_of: str
    newly_out_by: tuple[Cause, ...]
    newly_in_by: tuple[Cause, ...]
    dimensions: tuple[Dimension, ...]
    certainty: tuple[Certainty, ...]
    payability: Payability | None
    families: tuple[Family, ...]
    cliffs: tuple[Cliff, ...]
    cliffs_by: Literal["proof", "sampling"]
    gains: tuple[Person, ...]
    losses: tuple[Person, ...]
    drawn: tuple[Person, ...]


class SimulationFile(msgspec.Struct, frozen=True):
    """The JSON document that is written: the result with its hash and those of the two rules; `active` is empty where nothing was compared with."""

    hash: str
    candidate: str
    active: str
    result: SimulationResult


def simulation_hash(result: SimulationResult) -> str:
    """SHA-256 over the canonical JSON (RFC 8785) of the whole result: rules, population, period and every figure."""
    return hashlib.sha256(rfc8785.dumps(_safe(msgspec.to_builtins(result)))).hexdigest()


def encode_simulation(result: SimulationResult) -> bytes:
    """The result with its hash as JSON for files."""
    return msgspec.json.format(msgspec.json.encode(_file(result)), indent=1) + b"\n"


def _file(result: SimulationResult) -> SimulationFile:
    return SimulationFile(simulation_hash(result), result.candidate.hash, result.active.hash if result.active else "", result)


def decode_simulation(data: bytes, place: str = "simulation") -> SimulationResult:
    """The result of such a file; Malformed where it is none, or its content is not what its hash says."""
    try:
        file = msgspec.json.decode(data, type=SimulationFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed([Problem(place, f"is no result of a simulation: {error}", "Make it with `payout rules simulate`.")]) from None
    again = _file(file.result)
    if again != file:
        what = f"says hash {file.hash[:12]}, its content has {again.hash[:12]}" if again.hash != file.hash else "names other rules than its content does"
        raise Malformed([Problem(place, what, "Simulate again; a result is never edited.")])
    return file.result


def _safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _safe(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(held) for held in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE else value
