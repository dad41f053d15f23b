"""The people of a what-if's page: the largest gains and losses and some at random, each with both traces folded away."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipeline.money import money_text
from pipeline.whatif.result import Person, SimulationResult

_CHANGES = {
    "newly_in": "newly in", "newly_out": "newly out", "more": "paid more", "less": "paid less", "same": "paid the same", "neither": "nothing under both",
    "undetermined": "undetermined",
}  # fmt: skip


def people_section(result: SimulationResult) -> str:
    """The three lists."""
    lists = (("Largest gains", result.gains), ("Largest losses", result.losses), (f"At random, by seed {result.seed}", result.drawn))
    body = "".join(_listed(title, people, result.currency) for title, people in lists if people)
    says = "What each rule decided of them and why. Open one to read both."
    return f'<section><h2>People</h2><p class="soft">{says}</p>{body}</section>' if body else ""


def _listed(title: str, people: Sequence[Person], currency: str) -> str:
    return f"<h3>{escape(title)}</h3>" + "".join(_person(person, currency) for person in people)


def _person(person: Person, currency: str) -> str:
    by = person.candidate_minor - person.active_minor
    amount = f"{'+' if by > 0 else ''}{money_text(by, currency)}"
    traces = [("Candidate", person.candidate_trace)] + ([("Active rule", person.active_trace)] if person.active_trace else [])
    told = "".join(f"<div><small class='soft'>{name}</small><pre>{escape(trace)}</pre></div>" for name, trace in traces)
    return (
        f"<details><summary><span>{escape(person.subject)} <span class='soft'>{_CHANGES[person.change]}</span></span><b>{amount}</b></summary>"
        f'<div class="traces">{told}</div></details>'
    )
