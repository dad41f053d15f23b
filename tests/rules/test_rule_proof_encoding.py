"""What the solver says of a person is what the compiled plan decides, on random documents and random facts."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_rule_oracle import documents, loaded, rows

z3 = pytest.importorskip("z3")

from pipeline.rules.proof.calendar import Calendar  # noqa: E402
from pipeline.rules.proof.encode import Texts  # noqa: E402
from pipeline.rules.proof.people import Somebody  # noqa: E402
from pipeline.rules.proof.stretches import stretches  # noqa: E402

SOLVING = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large])
TIMEOUT_MS = 5_000


def pinned(somebody: Somebody, texts: Texts, row: dict) -> list:
    """The facts of a row as constraints, the day of its event with them."""
    held = [somebody.moment.event == row["event_day"]]
    for fact in somebody.rule.facts:
        seen, value = somebody.facts[fact.name], row[fact.name]
        if value is None:
            held.append(z3.Not(seen.known))
        else:
            held += [seen.known, seen.value == (texts.number(value) if isinstance(value, str) else value)]
    return held


@SOLVING
@given(documents(), st.lists(rows, min_size=1, max_size=4))
def test_what_the_solver_says_of_a_person_is_what_the_plan_decides(text, facts):
    rule = loaded(text)
    for row in facts:
        stretch = next(stretch for stretch in stretches(rule) if stretch.first <= row["event_day"] <= stretch.last)
        texts, calendar = Texts(), Calendar()
        somebody = Somebody(rule, stretch, texts, calendar, complete=False)
        solver = z3.Solver()
        solver.set("timeout", TIMEOUT_MS)
        solver.add(*somebody.given, *calendar.given, *pinned(somebody, texts, row))
        assert str(solver.check()) == "sat", solver.reason_unknown()
        somebody.person(solver.model())


@SOLVING
@given(documents(), st.booleans(), st.sampled_from(["granted", "refused", "neither"]))
def test_a_person_whom_the_solver_finds_is_decided_as_it_says(text, complete, wanted):
    rule = loaded(text)
    texts, calendar = Texts(), Calendar()
    somebody = Somebody(rule, stretches(rule)[-1], texts, calendar, complete=complete)
    decided = somebody.decided
    solver = z3.Solver()
    solver.set("timeout", TIMEOUT_MS)
    solver.add(*somebody.given, *calendar.given)
    solver.add(
        {"granted": z3.And(decided.granted, decided.paid > 0), "refused": decided.refused, "neither": z3.Not(z3.Or(decided.granted, decided.refused))}[wanted]
    )
    assume(str(solver.check()) == "sat")
    person = somebody.person(solver.model())
    assert person.decision == {"neither": "undetermined"}.get(wanted, wanted)
