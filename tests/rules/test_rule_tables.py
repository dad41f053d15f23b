"""Tables of a rule: gaps and overlaps held against counting every point, unknown facts, and the row that an explanation names."""

from __future__ import annotations

from itertools import product

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.problems import Malformed
from pipeline.registry import FactSpec
from pipeline.rules import ONCE, decide, explain, load_rule, missing_facts, regions

DOCUMENT = """
format: benefit-rule/1
benefit: cheque
title: {en: Cheque}
in_force: {from: 2020-01-01}
law: {a: {cite: "Act § 1"}, b: {cite: "Act § 2"}}
decides: {for: household, period: once, parameters_at: period.start, currency: EUR}
facts:
  income: {type: money, from: income, range: 0..20_000}
  size: {type: number, from: size, range: 1..9}
  rural: {type: yes_no, from: rural}
  zone: {type: text, from: zone, one_of: [A, B, C]}
eligible_when:
  - {id: small_enough, when: "size <= 5"}
amount:
  steps:
    - {id: per_head, is: income / 2}
    - {id: paid, table: TABLE, law: a}
  pay: paid
"""
CATALOGUE = {
    "income": FactSpec(name="income", registry="r", type="money", currency="EUR", meaning=""),
    "size": FactSpec(name="size", registry="r", type="number", meaning=""),
    "rural": FactSpec(name="rural", registry="r", type="yes_no", meaning=""),
    "zone": FactSpec(name="zone", registry="r", type="text", meaning=""),
}
ENERGY = """{type: money, hit: only_one, rows: [
      {when: {income: ..<5_600, size: 1}, gives: 194}, {when: {income: ..<5_600, size: [2, 3..5]}, gives: 240, law: b},
      {when: {income: 5_600..<10_700, rural: yes}, gives: 48}, {when: {income: 5_600..<10_700, rural: no, zone: [A, B]}, gives: 76},
      {when: {income: 5_600..<10_700, rural: no, zone: C}, gives: 0.50}, {when: {income: 10_700..}, gives: 0}]}"""


def rule_of(table: str):
    return load_rule(DOCUMENT.replace("TABLE", table), CATALOGUE)


def row(rule, *facts):
    types = {"income": pl.Int64, "size": pl.Int64, "rural": pl.Boolean, "zone": pl.String}
    return decide(rule, pl.DataFrame([facts], schema=types, orient="row"), ONCE).row(0, named=True)


@pytest.mark.parametrize(
    ("facts", "amount"),
    [
        ((0, 1, None, None), 19_400), ((559_999, 1, None, None), 19_400), ((559_999, 2, None, None), 24_000), ((560_000, 1, True, None), 4_800),
        ((1_069_999, 5, False, "B"), 7_600), ((1_069_999, 5, False, "C"), 50), ((1_070_000, 1, None, None), 0),
    ],
)  # fmt: skip
def test_a_table_gives_the_value_of_its_row(facts, amount):
    assert row(rule_of(ENERGY), *facts)["amount_minor"] == amount


@pytest.mark.parametrize(
    ("facts", "missing"),
    [((None, 1, True, "A"), ["income"]), ((0, None, True, "A"), ["size"]), ((560_000, 1, None, "A"), ["rural"]), ((560_000, 1, False, None), ["zone"])],
)
def test_an_unknown_fact_that_a_row_needs_is_missing(facts, missing):
    rule = rule_of(ENERGY)
    assert missing_facts(rule, row(rule, *facts)["missing"]) == missing


def test_an_explanation_names_the_row_and_its_law():
    rule = rule_of(ENERGY)
    facts = {"income": 1_000, "size": 4, "rural": True, "zone": "A"}
    told = next(step for step in explain(rule, row(rule, *facts.values()), facts, ONCE).steps if step.id == "paid")
    assert told.text.startswith("by a table of income, size, rural and zone: row 2, for income ")
    assert (told.value, told.exact, told.law) == ("240.00 EUR", "24000", "Act § 2")
    assert [(figure.name, figure.text) for figure in told.used][:2] == [("income", "10.00 EUR"), ("size", "4")]


def test_a_table_looks_at_steps_to_the_last_part():
    table = "{type: money, hit: only_one, rows: [{when: {per_head: ..100}, gives: 1}, {when: {per_head: UPPER}, gives: 2}]}"
    with pytest.raises(Malformed, match=r"no row holds where per_head is 20001/2 minor units"):
        rule_of(table.replace("UPPER", "100.01.."))
    rule = rule_of(table.replace("..100}", "..<100}").replace("UPPER", "100.."))
    assert [row(rule, cents, 1, None, None)["amount_minor"] for cents in (19_999, 20_000)] == [100, 200]


def test_the_regions_that_no_row_holds_are_named_up_to_three():
    def told(*incomes: str) -> str:
        rows = ", ".join(f"{{when: {{income: {income}}}, gives: 1}}" for income in incomes)
        with pytest.raises(Malformed) as refused:
            rule_of(f"{{type: money, hit: only_one, rows: [{rows}]}}")
        return str(refused.value.problems[0])

    two = told("..<2", "3..<4", "5..")
    assert "no row holds where income is 2.00 to 2.99, for example income 2.00; nor where income is 4.00 to 4.99, for example income 4.00 (" in two
    assert "Add rows, or a condition that keeps those out." in two
    five = told("..<2", "3..<4", "5..<6", "7..<8", "9..<10", "11..")
    assert five.count("where income is") == 3
    assert "for example income 6.00; and 2 more (" in five


def test_a_table_of_a_hundred_rows_decides():
    rows = ", ".join(f"{{when: {{income: {100 * index}..<{100 * index + 100}}}, gives: {index}}}" for index in range(100))
    rule = rule_of(f"{{type: money, hit: first, rows: [{rows}, {{gives: 1_000}}]}}")
    assert [row(rule, cents, 1, None, None)["amount_minor"] for cents in (0, 9_999, 10_000, 999_999, 1_000_000)] == [0, 0, 100, 9_900, 100_000]


def test_a_table_of_more_rows_than_can_be_checked_is_refused():
    rows = ", ".join(f"{{when: {{size: 1}}, gives: {index}}}" for index in range(200))
    with pytest.raises(Malformed, match="200 rows, the limit is 128"):
        rule_of(f"{{type: money, hit: first, rows: [{rows}]}}")


spans = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda ends: (min(ends), max(ends)))
box = st.tuples(spans, spans, spans)


def points(one):
    return set(product(*(range(low, high + 1) for low, high in one)))


@settings(max_examples=300, deadline=None)
@given(st.lists(box, max_size=6), st.lists(box, min_size=1, max_size=2))
def test_what_is_left_uncovered_is_what_counting_every_point_leaves(cuts, whole):
    left = regions.without(whole, cuts)
    counted = set().union(*map(points, whole)) - set().union(*map(points, cuts))
    assert set().union(*map(points, left)) == counted


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(box, min_size=1, max_size=2), max_size=4))
def test_rows_overlap_where_counting_every_point_finds_them_twice(rows):
    counted = [set().union(*map(points, row)) for row in rows]
    twice = regions.doubly_covered(rows)
    assert (twice is not None) == any(one & other for index, one in enumerate(counted) for other in counted[index + 1 :])
    if twice is not None:
        assert points(twice[2]) <= counted[twice[0]] & counted[twice[1]]
