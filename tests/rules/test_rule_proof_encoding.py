"""What the solver says of a person is what the compiled plan decides, on random documents and random facts."""

from __future__ import annotations

from datetime import date
from functools import cache

import pytest
import z3
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_rule_oracle import CATALOGUE, documents, loaded, rows

from pipeline.facts import day
from pipeline.registry import FactSpec
from pipeline.rules import Rule, load_rule
from pipeline.rules.periods import PER_YEAR
from pipeline.rules.proof.calendar import Calendar, first_day
from pipeline.rules.proof.encode import Texts
from pipeline.rules.proof.people import Somebody, read
from pipeline.rules.proof.stretches import period_of, stretches

SOLVING = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large])
TIMEOUT_MS = 60_000
EFFORT = 2_000_000
"""In the solver's own unit, so that every machine finds the same people."""


def pinned(somebody: Somebody, texts: Texts, row: dict) -> list:
    """The facts of a row as constraints, the day of its event with them."""
    held = [] if somebody.moment.event is None else [somebody.moment.event == row["event_day"]]
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
    solver.set("rlimit", EFFORT)
    solver.add(*somebody.given, *calendar.given)
    solver.add(
        {"granted": z3.And(decided.granted, decided.paid > 0), "refused": decided.refused, "neither": z3.Not(z3.Or(decided.granted, decided.refused))}[wanted]
    )
    assume(str(solver.check()) == "sat")
    person = somebody.person(solver.model())
    assert person.decision == {"neither": "undetermined"}.get(wanted, wanted)


EVERY_TYPE = """
format: benefit-rule/1
benefit: every-type
title: {en: Every type}
in_force: {from: 2020-01-01}
law: {a: {cite: A}}
decides: {for: person, period: quarter, parameters_at: period.start, currency: DKK}
facts:
  part: {type: ratio, from: home.kind, one_of: ["1", "1/2", "1/3"]}
  word: {type: text, from: home.word}
  resident: {type: yes_no, from: home.resident, if_missing: {assume: "no"}}
  born: {type: date, from: home.born, range: 1900-01-01..2030-12-31}
  wage: {type: money, per: year, from: tax.wage, range: -1_000..1_000_000}
parameters:
  counts: {type: yes_no, by: {resident: [yes, no]}, from: {2020-01-01: [yes, no], 2021-02-01: [no, yes]}}
  name: {type: text, from: {2020-01-01: east, 2022-01-01: west}}
  latest: {type: date, from: {2020-01-01: 2001-02-28}}
  rate: {type: percent, by: {part: ["1", "1/2", "1/3"]}, from: {2020-01-01: [5, 2.5, 1]}}
eligible_when:
  - {id: counts, when: counts or word == name}
  - {id: old, when: "born <= latest and years(born, period.end) >= 18"}
excluded_when: [{id: elsewhere, when: 'word != "east" and word != name and year(born) == 1980'}]
amount:
  steps:
    - {id: quarter, is: "spread(per_quarter(wage), 1)"}
    - {id: whole, is: wage, floor: 0, round: {to: 1, mode: down}}
    - {id: remainder, spread: {of: whole, remainder: first, to: 1}}
    - {id: net, is: (quarter + remainder) * part * rate + abs(quarter), floor: 0, round: {to: 0.05, mode: up}}
  pay: net
"""
EVERY_TYPE_CATALOGUE = CATALOGUE | {"home.word": FactSpec(name="home.word", registry="home", type="text", meaning="")}


@cache
def every_type() -> Rule:
    return load_rule(EVERY_TYPE, EVERY_TYPE_CATALOGUE)


every_row = st.fixed_dictionaries(
    {
        "part": st.sampled_from(["1", "1/2", "1/3", "1/4", None]), "word": st.sampled_from(["east", "west", "north", None]),
        "resident": st.sampled_from([True, False, None]), "born": st.one_of(st.none(), st.integers(-26_000, 22_500), st.sampled_from([3_711, 11_380, 11_381])),
        "wage": st.one_of(st.none(), st.integers(-150_000, 110_000_000)),
    }
)  # fmt: skip


@SOLVING
@given(every_row, st.integers(0, 400), st.booleans())
def test_facts_and_parameters_of_every_type_come_out_alike(row, turn, later):
    rule = every_type()
    stretch = stretches(rule)[-1 if later else 0]
    texts, calendar = Texts(), Calendar()
    somebody = Somebody(rule, stretch, texts, calendar, complete=False)
    solver = z3.Solver()
    solver.set("timeout", TIMEOUT_MS)
    first, last = stretch.periods
    solver.add(*somebody.given, *calendar.given, *pinned(somebody, texts, row), somebody.moment.period == first + turn % (last - first + 1))
    assert str(solver.check()) == "sat", solver.reason_unknown()
    somebody.person(solver.model())


@SOLVING
@given(st.dates(min_value=date(1, 1, 1)), st.dates(min_value=date(1, 1, 1)))
def test_the_solvers_calendar_is_the_calendar(birth, now):
    calendar = Calendar()
    born, on = z3.Int("born"), z3.Int("on")
    age, year, months, third = calendar.age(born, on), calendar.year(on), calendar.months(born, on), calendar.birthday(born, 3)
    solver = z3.Solver()
    solver.add(*calendar.given, born == day(birth), on == day(now))
    assert str(solver.check()) == "sat"
    assert read(solver.model(), age) == now.year - birth.year - ((now.month, now.day) < (birth.month, birth.day))
    assert read(solver.model(), year) == now.year
    later = min(birth.year + 3, 9999)
    assert read(solver.model(), third) == day(date(later, 3, 1) if (birth.month, birth.day) == (2, 29) else birth.replace(year=later))
    assert read(solver.model(), months) == 12 * (now.year - birth.year) + now.month - birth.month - (now.day < birth.day)
    assert read(solver.model(), months) // 12 == read(solver.model(), age)


@pytest.mark.parametrize("kind", ["year", "quarter", "month", "week"])
def test_the_solver_knows_the_first_day_of_every_period(kind):
    solver, number = z3.Solver(), z3.Int("number")
    for known in range(PER_YEAR[kind] * 1999, PER_YEAR[kind] * 2005):
        assert solver.check(number == known, first_day(kind, number) != period_of(kind, known).start) == z3.unsat
