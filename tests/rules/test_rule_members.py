"""Members of a household: what a rule may say of them, what is made of them, and the plan against exact arithmetic over every way the unknown may turn out."""

from __future__ import annotations

import random
import sys
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.documents import parse_document
from pipeline.facts import day
from pipeline.problems import Malformed
from pipeline.registry import FactSpec
from pipeline.rules import DECISIONS, decide, load_rule, missing_facts, parse_period, run_tests
from pipeline.rules.aggregates import members_frame, with_aggregates

sys.path.insert(0, str(Path(__file__).parent))
from datetime import date

from oracle import Oracle

CATALOGUE = {
    spec.name: spec
    for spec in [
        FactSpec(name="home.of", registry="home", type="text", meaning=""),
        FactSpec(name="home.born", registry="home", type="date", meaning=""),
        FactSpec(name="home.resident", registry="home", type="yes_no", meaning=""),
        FactSpec(name="home.kind", registry="home", type="text", meaning=""),
        FactSpec(name="tax.wage", registry="tax", type="money", currency="DKK", meaning=""),
        FactSpec(name="house.rent", registry="house", type="money", currency="DKK", meaning=""),
    ]
}
HEAD = """
format: benefit-rule/1
benefit: families
title: {en: Families}
in_force: {from: 2020-01-01}
law: {a: {cite: A}}
decides: {for: household, period: year, parameters_at: event.date, currency: DKK}
members:
  of: home.of
  at: period.start
  most: 4
  facts:
    wage: {type: money, from: tax.wage, range: -5_000..100_000}
    age: {type: years, from: home.born, at: period.start, range: 0..120}
    born: {type: date, from: home.born, range: 1900-01-01..2030-12-31}
    resident: {type: yes_no, from: home.resident, if_missing: {assume: RESIDENT}}
    kind: {type: text, from: home.kind, one_of: [one, two]}
facts:
  rent: {type: money, from: house.rent, range: 0..50_000}
parameters:
  rate: {type: percent, from: {2020-01-01: 5, 2021-07-01: 3.75}}
  child_rate: {type: money, by: {age: [0-2, 3-120]}, from: {2020-01-01: [1_000.01, 500], 2022-01-01: [7, 8]}}
  limit: {type: money, from: {2020-01-01: 20_000.50, 2021-02-02: 1_000}}
  by_number: {type: money, by: {people: [0, 1, 2..]}, from: {2020-01-01: [0, 100, 250.25]}}
aggregates:
  people: {count: members}
AGGREGATES
eligible_when:
  - {id: some, when: "CONDITION"}
amount:
  steps:
    - {id: one, is: "by_number + MONEY", floor: 0, round: {to: 0.01, mode: half_up}}
  pay: one
"""
MONEY_OF = ["wage", "positive(wage)", "child_rate", "max(wage, child_rate)", "min(wage, limit) - child_rate"]
YES_NO_OF = [
    "resident",
    "age < 18",
    "kind == 'two' or resident",
    "wage > limit",
    "not resident and age >= 3",
    "years(born, event.date) < 18",
    "full_months(born, event.date) < 18",
]
aggregates = st.one_of(
    st.tuples(st.just("sum"), st.sampled_from([*MONEY_OF, "wage * rate"])),
    st.tuples(st.sampled_from(["min", "max"]), st.sampled_from(MONEY_OF)),
    st.tuples(st.sampled_from(["count", "any", "all"]), st.sampled_from(YES_NO_OF)),
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    lines, money, truths, numbers = [], ["rent"], ["rent > limit"], ["people"]
    for index, (how, what) in enumerate(draw(st.lists(aggregates, min_size=1, max_size=4))):
        parts = [f'{how}: "{what}"']
        if draw(st.booleans()):
            parts.append(f'where: "{draw(st.sampled_from(YES_NO_OF))}"')
        if how in ("min", "max"):
            parts += ["if_none: 0"]
        if what == "wage * rate" or (how in ("sum", "min", "max") and draw(st.booleans())):
            parts.append("round: {to: 1, mode: " + draw(st.sampled_from(["half_up", "up", "down"])) + "}")
        lines.append(f"  a{index}: {{{', '.join(parts)}}}")
        (numbers if how == "count" else truths if how in ("any", "all") else money).append(f"a{index}")
    truth = f"{draw(st.sampled_from(truths))} or {draw(st.sampled_from(numbers))} > 1"
    text = HEAD.replace("AGGREGATES", "\n".join(lines)).replace("CONDITION", truth).replace("MONEY", f"{draw(st.sampled_from(money))} - {money[-1]} * rate")
    return text.replace("RESIDENT", draw(st.sampled_from(["yes", "no"])))


days = st.integers(day(date(2000, 1, 1)), day(date(2031, 12, 31)))
members = st.fixed_dictionaries({
    "wage": st.one_of(st.none(), st.sampled_from([-600_000, -100, 0, 2_000_050, 2_000_051, 10_000_000, 10_000_001])),
    "age": st.one_of(st.none(), st.integers(-1, 121)),
    "born": st.one_of(st.none(), days),
    "resident": st.sampled_from([None, True, False]),
    "kind": st.sampled_from([None, "one", "two", "three"]),
})  # fmt: skip
households = st.fixed_dictionaries({
    "members": st.one_of(st.none(), st.lists(members, max_size=5)),
    "rent": st.one_of(st.none(), st.integers(0, 5_000_000)),
    "event_day": st.integers(day(date(2020, 1, 1)), day(date(2023, 1, 1))),
})  # fmt: skip


def frames(rule, given):
    people = members_frame(rule, [household["members"] or [] for household in given])
    table = pl.DataFrame(
        {
            "members": pl.Series([None if household["members"] is None else len(household["members"]) for household in given], dtype=pl.Int64),
            "rent": pl.Series([household["rent"] for household in given], dtype=pl.Int64),
            "event_day": pl.Series([household["event_day"] for household in given], dtype=pl.Int32),
        }
    )
    return table, people


def decided(rule, given, order=None):
    table, people = frames(rule, given)
    if order is not None:
        people = people[order]
    return decide(rule, with_aggregates(rule, table, people, parse_period("2023")), parse_period("2023"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), st.lists(households, min_size=1, max_size=12))
def test_what_is_made_of_members_is_what_exact_arithmetic_makes_of_every_way_the_unknown_may_turn_out(text, given):
    rule, period = load_rule(text, CATALOGUE), parse_period("2023")
    oracle, got = Oracle(parse_document(text).plain()), decided(rule, given)
    for household, result in zip(given, got.iter_rows(named=True), strict=True):
        on = household["event_day"]
        expected = oracle.decide(household, on, {"period.start": period.start, "period.end": period.end, "event.date": on}, household["members"])
        assert DECISIONS[result["decision"]] == expected.decision
        assert result["amount_minor"] == expected.amount
        assert set(missing_facts(rule, result["missing"])) == expected.missing
        numerator = result["step:one"]
        assert (None if numerator is None else Fraction(numerator, rule.steps[0].denominator)) == expected.steps["one"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), st.lists(households, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_the_members_changes_nothing(text, given, chance):
    rule = load_rule(text, CATALOGUE)
    order = list(range(sum(len(household["members"] or []) for household in given)))
    chance.shuffle(order)
    assert decided(rule, given, order).equals(decided(rule, given))


RULE = (
    HEAD.replace("AGGREGATES", '  children: {count: members, where: "age < 18"}\n  wages: {sum: positive(wage)}\n  oldest: {max: age, if_none: 0}')
    .replace("CONDITION", "children > 0")
    .replace("MONEY", "wages")
    .replace("RESIDENT", "yes")
)


def made(members, text=RULE):
    rule = load_rule(text, CATALOGUE)
    table, people = frames(rule, [{"members": members, "rent": 0, "event_day": 18_500}])
    row = with_aggregates(rule, table, people, parse_period("2023")).row(0, named=True)
    return row["people"], row["children"], row["wages"], row["oldest"]


def test_a_household_of_two_adults_and_a_child():
    assert made([{"age": 40, "wage": 100}, {"age": 38, "wage": -500}, {"age": 8, "wage": 0}]) == (3, 1, 100, 40)


def test_a_member_of_unknown_age_leaves_the_number_of_children_unknown_and_the_number_of_people_known():
    assert made([{"age": 40, "wage": 100}, {"age": None, "wage": 5}]) == (2, None, 105, None)


def test_a_household_without_members_has_no_children_and_no_wages():
    assert made([]) == (0, 0, 0, 0)


def test_a_household_of_unknown_members_is_not_one_without_members():
    assert made(None) == (None, None, None, None)


def test_a_household_of_more_members_than_are_counted_is_unknown_and_never_cut_off():
    assert made([{"age": 8, "wage": 0}] * 4) == (4, 4, 0, 8)
    assert made([{"age": 8, "wage": 0}] * 5) == (None, None, None, None)


def test_a_hundred_thousand_members_are_made_into_fifty_thousand_households():
    rule = load_rule(RULE, CATALOGUE)
    chance = random.Random(4)
    rows = [chance.randrange(50_000) for _ in range(100_000)]
    people = pl.DataFrame({"row": rows, "age": [row % 90 for row in rows], "wage": rows}).with_columns(
        born=pl.lit(None, pl.Int64), resident=pl.lit(None, pl.Boolean), kind=pl.lit(None, pl.String)
    )
    counts = [0] * 50_000
    for row in rows:
        counts[row] += 1
    table = pl.DataFrame({"members": counts, "rent": [0] * 50_000, "event_day": [18_500] * 50_000})
    got = with_aggregates(rule, table, people, parse_period("2023"))
    for row in range(0, 50_000, 997):
        if counts[row] <= 4:
            assert got.row(row, named=True)["wages"] == counts[row] * row
            assert got.row(row, named=True)["children"] == (counts[row] if row % 90 < 18 else 0)


TESTS = """
tests:
  - name: two of whom one is a child
    given: {period: 2023, event_date: 2021-01-01, rent: 0, members: [{age: 40, wage: 1_000}, {age: 8, wage: 0}]}
    expect: {decision: granted, amount: 1_250.25}
  - name: what follows from members may be given itself
    given: {period: 2023, event_date: 2021-01-01, rent: 0, people: 2, children: 1, wages: 1_000}
    expect: {decision: granted, amount: 1_250.25}
  - name: nobody knows the members
    given: {period: 2023, event_date: 2021-01-01, rent: 0, members: unknown}
    expect: {decision: undetermined, missing: [people, children, wages]}
  - name: one is of unknown age
    given: {period: 2023, event_date: 2021-01-01, rent: 0, members: [{age: unknown, wage: 5}]}
    expect: {decision: undetermined, missing: [children]}
"""


def test_a_documents_tests_give_members_with_their_facts():
    assert [str(result) for result in run_tests(load_rule(RULE + TESTS, CATALOGUE)) if not result.passed] == []


MISTAKES = [
    ("{count: members, where: \"age < 18\"}", "{count: members, where: age}", "aggregates.children.where", "who counts is yes or no, 'age' is years"),
    ("{sum: positive(wage)}", "{sum: resident}", "aggregates.wages.sum", "sum is of money or number or years, resident is yes_no"),
    ("{sum: positive(wage)}", "{count: wage}", "aggregates.wages.count", "count is of yes_no, wage is money"),
    ("{sum: positive(wage)}", "{sum: wage * rate}", "aggregates.wages.sum", "wage * rate is no whole number of minor units but of 1/80"),
    ("{sum: positive(wage)}", "{sum: wage, max: wage}", "aggregates.wages", "'wages' has both sum and max"),
    ("{sum: positive(wage)}", "{where: resident}", "aggregates.wages", "'wages' needs one of count, sum, any, all, min, max"),
    ("{max: age, if_none: 0}", "{max: age}", "aggregates.oldest.max", "what is 'oldest' where no member counts?"),
    ("{max: age, if_none: 0}", "{max: age, if_none: often}", "aggregates.oldest.if_none", "'often' is not a number"),
    ("{sum: positive(wage)}", "{sum: wage, if_none: 0}", "aggregates.wages.if_none", "if_none is for min and max, 'wages' is a sum"),
    ("{sum: positive(wage)}", "{sum: rent}", "aggregates.wages.sum", "'rent' is of the household, not of a member"),
    ("by_number + wages", "by_number + wage", "amount.steps[0].is", "'wage' is of each member, not of the household"),
    ("by_number + wages", "by_number + child_rate", "amount.steps[0].is", "'child_rate' is of each member, not of the household"),
    ("by: {age: [0-2, 3-120]}", "by: {age: [0-2, 3-17]}", "aggregates.fees.sum", "'child_rate' has no value where age is 18 to 120"),
    ("for: household", "for: person", "members", "a person has no members"),
    ("of: home.of", "of: home.off", "members.of", "'home.off'"),
    ("most: 4", "most: 0", "members.most", "0 members at most, it is 1 to 1,000"),
    ("-5_000..100_000", "-5_000..90_000_000_000_000_000", "aggregates.wages.sum", "may overflow"),
    ("{sum: positive(wage)}", "{sum: positive(wage), law: b}", "aggregates.wages.law", "unknown law 'b'"),
    ("{type: money, by: {people: [0, 1, 2..]}, from: {2020-01-01: [0, 100, 250.25]}}",
     "{type: money, by: {people: [0, 1, 2..], age: [0-120]}, from: {2020-01-01: [[0], [100], [250.25]]}}",
     "parameters.by_number.by", "age is of each member, people is not"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "place", "message"), MISTAKES, ids=[mistake[3][:40] for mistake in MISTAKES])
def test_a_mistake_about_members_is_named_with_its_place(before, after, place, message):
    text = RULE.replace("  oldest:", '  fees: {sum: child_rate, where: "age < 130"}\n  oldest:') if "fees" in place else RULE
    assert before in text
    with pytest.raises(Malformed) as refused:
        load_rule(text.replace(before, after, 1), CATALOGUE)
    found = [problem for problem in refused.value.problems if problem.place == place]
    assert [problem.message for problem in found if message in problem.message] != [], refused.value.problems
    assert found[0].line > 0


def test_a_document_without_facts_and_aggregates_is_refused():
    empty = RULE.split("members:")[0] + "facts: {}\nparameters:\n  limit: {type: money, from: {2020-01-01: 5}}\n"
    with pytest.raises(Malformed, match="the rule reads no fact"):
        load_rule(empty + "eligible_when: []\namount: {steps: [{id: one, is: limit}], pay: one}\n", CATALOGUE)


def test_a_parameter_by_the_age_of_a_member_needs_no_value_for_members_who_do_not_count():
    text = RULE.replace("by: {age: [0-2, 3-120]}", "by: {age: [0-2, 3-17]}").replace("  oldest:", '  fees: {sum: child_rate, where: "age < 18"}\n  oldest:')
    rule = load_rule(text, CATALOGUE)
    table, people = frames(rule, [{"members": [{"age": 40}, {"age": 8}, {"age": 1}], "rent": 0, "event_day": day(date(2020, 5, 1))}])
    assert with_aggregates(rule, table, people, parse_period("2023")).row(0, named=True)["fees"] == 150_001
