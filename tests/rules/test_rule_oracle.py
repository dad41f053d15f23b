"""The compiled plan against an interpreter over exact fractions, on random documents and random facts."""

from __future__ import annotations

import sys
from datetime import date
from fractions import Fraction
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipeline.documents import parse_document
from pipeline.facts import day
from pipeline.problems import Malformed
from pipeline.registry import FactSpec
from pipeline.rules import DECISIONS, decide, load_rule, missing_facts, outcomes, parse_period, physical_type

sys.path.insert(0, str(Path(__file__).parent))
from oracle import Oracle

CATALOGUE = {
    spec.name: spec
    for spec in [
        FactSpec(name="tax.wage", registry="tax", type="money", currency="DKK", meaning=""),
        FactSpec(name="tax.capital", registry="tax", type="money", currency="DKK", meaning=""),
        FactSpec(name="home.children", registry="home", type="number", meaning=""),
        FactSpec(name="home.share", registry="home", type="number", meaning=""),
        FactSpec(name="home.kind", registry="home", type="text", meaning=""),
        FactSpec(name="home.resident", registry="home", type="yes_no", meaning=""),
        FactSpec(name="home.alive", registry="home", type="yes_no", meaning=""),
        FactSpec(name="home.born", registry="home", type="date", meaning=""),
    ]
}
HEAD = """
format: benefit-rule/1
benefit: random
title: {en: Random}
in_force: {from: 2020-01-01}
law: {a: {cite: A}}
decides: {for: person, period: PERIOD, parameters_at: event.date, currency: DKK}
facts:
  wage: {type: money, from: tax.wage, range: -WIDEST..WIDEST}
  capital: {type: money, from: tax.capital, range: -50_000.50..2_000_000, if_missing: {assume: ASSUMED}}
  children: {type: number, from: home.children, range: 0..9}
  share: {type: percent, from: home.share, range: 0..100}
  kind: {type: text, from: home.kind, one_of: [one, two, three]}
  resident: {type: yes_no, from: home.resident}
  alive: {type: yes_no, from: home.alive}
  born: {type: date, from: home.born, range: 1900-01-01..2030-12-31}
parameters:
  base: {type: money, from: {2019-01-01: 1_000.07, 2021-07-01: 2_000, 2023-01-01: 0.01}}
  limit: {type: money, by: {kind: [one, two, three]}, from: {2020-01-01: [10_000, 20_000.55, 10_000], 2022-02-02: [1, 2, 3]}}
  rate: {type: percent, from: {2020-01-01: 5, 2021-01-01: 3.75}}
  size: {type: money, from: {2020-01-01: 1_000, 2021-03-01: 33.33}}
  per_child: {type: money, by: {children: [0, 1-2, 3-9]}, from: {2020-01-01: [0, 500, 333.33]}}
  third: {type: ratio, from: {2020-01-01: 1/3}}
  range_end: {type: money, by: {kind: [one, two, three]}, from: {2020-01-01: [30_000, 20_000.66, 50_000], 2022-02-02: [8, 5, 4]}}
  yearly: {type: money, per: year, from: {2020-01-01: 1_000.07}}
  both: {type: money, by: {kind: [one, two, three], children: [..0, 1..<3, 3..]}, from: {2020-01-01: [[1, 2, 3], [4.04, 5, 6], [7, 8, 9_999]]}}
  upper: {type: money, from: {2020-01-01: 40_000, 2022-06-01: 70_000.35}}
"""
TAPERS = [
    "above: limit, rate: rate, spread: SPREAD", "above: 1_000, rate: 3.5 %", "above: base, each: {size: size, count: started}, rate: rate, spread: SPREAD",
    "above: limit, each: {size: 1_000, count: full}, rate: 10 %", "above: base, each: {size: size, count: full}, take: per_child, spread: SPREAD",
    "above: 0, each: {size: 333.33, count: started}, take: 0.75", "from: limit, until: range_end, take: base",
    "from: 500, until: 1_700.25, take: 2_000.01, spread: SPREAD",
]  # fmt: skip
SCALES = [
    "{of: wage, brackets: [{above: 0, rate: 10 %}, {above: base, rate: rate}, {above: upper, rate: third}]}",
    "{of: capital, brackets: [{above: limit, rate: third}, {above: range_end, rate: 0.5 %}]}",
    "{of: 'wage + capital', brackets: [{above: base, rate: share}]}",
]
TABLES = [
    (
        "{type: money, hit: only_one, rows: [{when: {children: 0}, gives: 7.50}, {when: {children: 1..<4, resident: yes}, gives: limit}, "
        "{when: {children: 1-3, resident: no}, gives: base}, {when: {children: 4..}, gives: per_child}]}"
    ),
    "{type: money, hit: first, rows: [{when: {kind: [one, three], wage: ..<0}, gives: 1}, {when: {capital: 0..1_000_000}, gives: both}, {gives: 12}]}",
    (
        "{type: money, hit: first, rows: [{when: {born: ..1990-02-28}, gives: size}, {when: {share: [0-10, 90], first: ..<500.50}, gives: 0.01}, "
        "{when: {alive: no}, gives: base}, {gives: size}]}"
    ),
]
"""Ways to say the block of a taper, a scale and a table."""
PERIODS = {"year": ["2023"], "quarter": ["2023-Q1", "2023-Q3", "2023-Q4"], "month": ["2023-01", "2023-03", "2023-06", "2023-12"]}
BUILDING = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def join(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda chosen: template.format(*chosen))


numbers = st.recursive(
    st.sampled_from(["children", "2", "3", "0", "0.5", "year(born)"]),
    lambda inner: st.one_of(join("({} + {})", inner, inner), join("({} - {})", inner, inner), join("max({}, {})", inner, inner), join("-{}", inner)),
    max_leaves=3,
)
shares = st.sampled_from(["rate", "share", "third", "(1 - rate)", "(share - third)"])
truths_of_leaves = st.sampled_from(
    [
        "resident",
        "alive",
        "kind == 'two'",
        "kind != 'one'",
        "kind in ['one', 'three']",
        "kind not in ['two']",
        "children >= 2",
        "1 <= children < 4",
        "years(born, event.date) < 18",
        "full_months(born, event.date) >= 30",
        "birthday(born, 18) <= event.date",
        "days(event.date, birthday(born, 3)) < 200",
        "days(born, period.start) > 10_000",
        "born < date('1990-02-28')",
        "wage < limit",
        "capital == 0",
        "share > third",
    ]
)
truths = st.recursive(
    truths_of_leaves,
    lambda inner: st.one_of(
        join("({} and {})", inner, inner), join("({} or {})", inner, inner), join("(not {})", inner), join("({0} if {1} else {0})", inner, inner)
    ),
    max_leaves=4,
)
amounts = st.recursive(
    st.sampled_from(["wage", "capital", "base", "limit", "per_child", "size", "both"]),
    lambda inner: st.one_of(
        join("({} + {})", inner, inner), join("({} - {})", inner, inner), join("min({}, {})", inner, inner), join("max({}, {})", inner, inner),
        join("{} * {}", inner, shares), join("{} * {}", numbers, inner), join("({} / 7)", inner), join("abs({})", inner), join("positive({})", inner),
        join("spread({}, 12)", inner), join("({} if {} else {})", inner, truths_of_leaves, inner),
        join("full_steps({}, size) * base", inner), join("started_steps({}, size) * size", inner),
    ),
    max_leaves=6,
)  # fmt: skip
roundings = st.sampled_from(
    ["{to: 0.01, mode: half_up}", "{to: 1, mode: half_up}", "{to: 0.05, mode: up}", "{to: 10, mode: down}", "{to: 0.50, mode: half_up}"]
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    period = draw(st.sampled_from(sorted(PERIODS)))
    conditions = draw(st.lists(truths, max_size=3))
    exclusions = draw(st.lists(truths, max_size=2))
    text = HEAD.replace("WIDEST", draw(st.sampled_from(["1_000_000", "1_000_000_000", "1_000_000_000_000", "90_000_000_000_000_000"]))).replace(
        "ASSUMED", draw(st.sampled_from(["0", "-12.34", "100"]))
    )
    for key, listed in (("eligible_when", conditions), ("excluded_when", exclusions)):
        text += f"{key}:{'' if listed else ' []'}\n" + "".join(f'  - {{id: {key[:2]}{index}, when: "{item}"}}\n' for index, item in enumerate(listed))
    of, spread = draw(st.sampled_from(["wage", "first", "'wage + capital'"])), draw(st.sampled_from([1, 4, 12]))
    taper = draw(st.sampled_from(TAPERS)).replace("SPREAD", str(spread))
    parts = f"{{of: whole_year, remainder: {draw(st.sampled_from(['first', 'last']))}, to: {draw(st.sampled_from(['0.01', '1', '5']))}}}"
    cap = draw(st.sampled_from(["5_000", "0", "99_999.99"]))
    month = "is: 'spread(whole_year, 1)'" if period == "year" else f"spread: {parts}"
    text += f"""amount:
  steps:
    - {{id: first, is: "{draw(amounts)}"}}
    - {{id: second, taper: {{of: {of}, {taper}}}}}
    - {{id: scaled, scale: {draw(st.sampled_from(SCALES))}}}
    - {{id: looked_up, table: {draw(st.sampled_from(TABLES))}}}
    - {{id: whole_year, is: "yearly * children + per_year(per_month(yearly * third))", round: {draw(roundings)}}}
    - {{id: one_part, {month}}}
    - {{id: third_step, is: "{draw(amounts)} - second + one_part - scaled + looked_up", cap: {cap}, round: {draw(roundings)}}}
    - {{id: paid, is: "first - third_step", floor: {draw(st.sampled_from(["0", "12.50"]))}, round: {draw(roundings)}}}
  pay: paid
"""
    return text.replace("PERIOD", period)


money = st.one_of(
    st.none(),
    st.integers(-110_000_000, 220_000_000),
    st.sampled_from([0, 1, -1, 10**8, -(10**8), 10**8 + 1, -5_000_050, 10**11, -(10**14), 9 * 10**18, -9 * 10**18, 2**63 - 1, -(2**63)]),
)
FIRST = day(date(2020, 1, 1))
dates = st.sampled_from([FIRST, FIRST + 365, FIRST + 366, FIRST + 430, FIRST + 900, FIRST + 1_500])
rows = st.fixed_dictionaries(
    {
        "wage": money, "capital": money, "children": st.one_of(st.none(), st.integers(-1, 10)), "share": st.one_of(st.none(), st.integers(-1, 101)),
        "kind": st.sampled_from(["one", "two", "three", "four", None]), "resident": st.sampled_from([True, False, None]),
        "alive": st.sampled_from([True, False, None]), "born": st.one_of(st.none(), st.integers(-25_567, 22_200)), "event_day": dates,
    }
)  # fmt: skip


def loaded(text: str):
    try:
        return load_rule(text, CATALOGUE)
    except Malformed as malformed:
        others = [problem for problem in malformed.problems if "may overflow" not in problem.message]
        if others:
            raise AssertionError(f"{malformed}\n{text}") from malformed
        assume(False)


def a_period(rule, row: dict):
    """One of the periods of the rule's kind."""
    labels = PERIODS[rule.period_kind]
    return parse_period(labels[row["event_day"] % len(labels)])


def frame(rule, facts: list[dict]) -> pl.DataFrame:
    columns = [pl.Series(fact.name, [row[fact.name] for row in facts], dtype=physical_type(fact)) for fact in rule.facts]
    return pl.DataFrame([*columns, pl.Series("event_day", [row["event_day"] for row in facts], dtype=pl.Int32)])


@BUILDING
@given(documents(), st.lists(rows, min_size=1, max_size=30))
def test_the_compiled_plan_and_exact_arithmetic_decide_alike(text, facts):
    rule = loaded(text)
    period = a_period(rule, facts[0])
    got = decide(rule, frame(rule, facts), period)
    oracle = Oracle(parse_document(text).plain())
    days = {"period.start": period.start, "period.end": period.end}
    for row, result in zip(facts, got.iter_rows(named=True), strict=True):
        expected = oracle.decide(row, row["event_day"], days | {"event.date": row["event_day"]})
        assert DECISIONS[result["decision"]] == expected.decision
        assert result["amount_minor"] == expected.amount
        assert set(missing_facts(rule, result["missing"])) == expected.missing
        assert {item.id: {"yes": True, "no": False, "unknown": None}[state] for item, state in outcomes(rule, result["conditions"])} == expected.conditions
        for step in rule.steps:
            numerator = result[f"step:{step.id}"]
            assert (None if numerator is None else Fraction(numerator, step.denominator)) == expected.steps[step.id]


@BUILDING
@given(documents(), st.lists(rows, min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_row(text, facts, chance):
    rule = loaded(text)
    table, period = frame(rule, facts), a_period(rule, facts[0])
    order = list(range(len(facts)))
    chance.shuffle(order)
    assert decide(rule, table[order], period).equals(decide(rule, table, period)[order])


@BUILDING
@given(documents(), rows)
def test_an_undetermined_decision_names_what_is_missing_and_a_determined_one_nothing(text, row):
    rule = loaded(text)
    result = decide(rule, frame(rule, [row]), a_period(rule, row)).row(0, named=True)
    assert (DECISIONS[result["decision"]] == "undetermined") == (result["missing"] != 0)


@BUILDING
@given(documents(), rows)
def test_a_known_fact_never_turns_a_sure_decision(text, row):
    """Refused or granted with something unknown stays so whatever the unknown turns out to be."""
    rule = loaded(text)
    period = a_period(rule, row)
    result = decide(rule, frame(rule, [row]), period).row(0, named=True)
    assume(DECISIONS[result["decision"]] != "undetermined")
    fillings = {"wage": 5_000, "capital": None, "children": 3, "share": 50, "kind": "two", "resident": True, "alive": False, "born": 0}
    filled = {name: fillings.get(name) if value is None else value for name, value in row.items()}
    assume(filled["wage"] is not None)
    again = decide(rule, frame(rule, [filled]), period).row(0, named=True)
    assert (again["decision"], again["amount_minor"]) == (result["decision"], result["amount_minor"])
