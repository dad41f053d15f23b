"""What a proof answers: each thing asked, whether it is proved, and the people found."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

PROVED, FAILS, NOT_DECIDED = "proved", "fails", "not_decided"
OUTCOMES = (PROVED, FAILS, NOT_DECIDED)


class Person(msgspec.Struct, frozen=True):
    """Somebody whom the solver found, as the evaluator decided. `given` is written as in a test of the document."""

    given: Mapping[str, str]
    decision: str
    amount_minor: int
    amount: str
    refused_by: tuple[str, ...]
    missing: tuple[str, ...]
    steps: Mapping[str, str]

    def __str__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.given.items())
        outcome = self.decision
        if self.decision == "granted":
            outcome += f" {self.amount}: " + ", ".join(f"{step} {value}" for step, value in self.steps.items())
        elif self.refused_by:
            outcome += f" by {', '.join(self.refused_by)}"
        elif self.missing:
            outcome += f", missing {', '.join(self.missing)}"
        return f"{facts or 'anybody'}: {outcome}"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was to be proved. `what` is claim, condition, branch, row, rows, bracket, key or parameter; `outcome` one of OUTCOMES."""

    what: str
    place: str
    text: str
    outcome: str
    message: str = ""
    people: tuple[Person, ...] = ()

    def __str__(self) -> str:
        head = {PROVED: "proved", FAILS: "FAILS", NOT_DECIDED: "not decided"}[self.outcome]
        lines = [f"{head:<12} {self.place}: {self.text}{f': {self.message}' if self.message else ''}"]
        return "\n".join([*lines, *(f"             {person}" for person in self.people)])
