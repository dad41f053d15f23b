"""Tapers, scales, parts of a year and keys of several facts, held against published figures and against what must be true of them."""

from __future__ import annotations

from functools import cache

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.registry import FactSpec
from pipeline.rules import DECISIONS, ONCE, decide, explain, letter, load_rule, parse_period

DOCUMENT = """
format: benefit-rule/1
benefit: blocks
title: {en: Blocks}
in_force: {from: 2020-01-01}
law: {a: {cite: "Act § 1"}, b: {cite: "Act § 2"}}
decides: {for: person, period: %s, parameters_at: %s, currency: %s}
facts:
  income: {type: money%s, from: income, at: 2020-01-01, range: -1_000_000_000..1_000_000_000}
  status: {type: text, from: status, at: 2020-01-01, one_of: [single, head, joint]}
  people: {type: number, from: people, at: 2020-01-01, range: 0..20}
  share: {type: ratio, from: share, at: 2020-01-01, one_of: ["1", "1/2", "0"], if_missing: {assume: "1"}}
parameters:
%s
eligible_when: []
amount:
  steps:
%s
  pay: paid
"""


def rule_of(parameters: str, steps: str, period: str = "once", currency: str = "USD", per: str = ""):
    at = "period.start"
    lines = ["\n".join(indent + line.strip() for line in text.strip().splitlines()) for indent, text in (("  ", parameters), ("    - ", steps))]
    catalogue = {
        "income": FactSpec(name="income", registry="r", type="money", currency=currency, meaning=""),
        "status": FactSpec(name="status", registry="r", type="text", meaning=""),
        "people": FactSpec(name="people", registry="r", type="number", meaning=""),
        "share": FactSpec(name="share", registry="r", type="text", meaning=""),
    }
    return load_rule(DOCUMENT % (period, at, currency, per and f", per: {per}", *lines), catalogue)


def row(rule, income, status="single", people=1, share="1", period=ONCE):
    types = {"income": pl.Int64, "status": pl.String, "people": pl.Int64, "share": pl.String}
    return decide(rule, pl.DataFrame([(income, status, people, share)], schema=types, orient="row"), period).row(0, named=True)


def paid(rule, *facts, **named):
    return row(rule, *facts, **named)["amount_minor"]


THIRD_ROUND = rule_of(
    """each: {type: money, law: a, from: {2020-01-01: 1_400}}
    start: {type: money, law: b, by: {status: [single, head, joint]}, from: {2020-01-01: [75_000, 112_500, 150_000]}}
    end: {type: money, law: b, by: {status: [single, head, joint]}, from: {2020-01-01: [80_000, 120_000, 160_000]}}""",
    """{id: full, is: each * people, law: a}
    {id: taken, taper: {of: income, from: start, until: end, take: full}, law: b}
    {id: paid, is: full - taken, floor: 0, round: {to: 0.01, mode: half_up}}""",
)


@pytest.mark.parametrize(
    ("income", "status", "people", "amount"),
    [
        (75_000, "single", 1, 140_000), (76_000, "single", 1, 112_000), (77_500, "single", 1, 70_000), (79_999, "single", 1, 28),
        (80_000, "single", 1, 0), (113_000, "head", 3, 392_000), (120_000, "head", 1, 0), (155_000, "joint", 4, 280_000),
        (149_999, "joint", 5, 700_000), (160_000, "joint", 2, 0), (-5, "single", 1, 140_000),
    ],
)  # fmt: skip
def test_the_third_round_of_payments_is_taken_over_a_range(income, status, people, amount):
    assert paid(THIRD_ROUND, income * 100, status, people) == amount


def test_an_unknown_status_leaves_the_range_unknown():
    assert DECISIONS[row(THIRD_ROUND, 0, None)["decision"]] == "undetermined"


CREDIT = rule_of(
    """child: {type: money, law: a, from: {2020-01-01: 1_000}}
    step: {type: money, law: b, from: {2020-01-01: 50}}
    limit: {type: money, law: b, by: {status: [single, head, joint]}, from: {2020-01-01: [75_000, 75_000, 110_000]}}""",
    """{id: taken, taper: {of: income, above: limit, each: {size: 1_000, count: COUNT}, take: step}, law: b}
    {id: paid, is: child * people - taken, floor: 0, round: {to: 0.01, mode: half_up}}""".replace("COUNT", "started"),
)


@pytest.mark.parametrize(("income", "amount"), [(110_000_00, 200_000), (110_000_01, 195_000), (111_000_00, 195_000), (111_000_01, 190_000), (150_000_00, 0)])
def test_a_credit_falls_by_fifty_for_each_started_thousand(income, amount):
    assert paid(CREDIT, income, "joint", 2) == amount


@pytest.mark.parametrize(("income", "amount"), [(60_199_99, 0), (60_200_00, 1_260), (65_000_00, 31_500), (80_000_00, 126_000), (90_000_00, 126_000)])
def test_a_charge_grows_by_one_percent_of_the_benefit_for_each_full_two_hundred(income, amount):
    """The British charge on child benefit since 2024: 1 % for every 200 pounds above 60,000, here of 1,260 pounds."""
    rule = rule_of(
        "benefit: {type: money, law: a, from: {2020-01-01: 1_260}}\none_percent: {type: percent, law: b, from: {2020-01-01: 1}}",
        """{id: charge, taper: {of: income, above: 60_000, each: {size: 200, count: full}, take: benefit * one_percent}, cap: benefit}
        {id: paid, is: charge, round: {to: 0.01, mode: half_up}}""",
        currency="GBP",
    )
    assert paid(rule, income) == amount


SCALE = rule_of(
    "second: {type: money, from: {2020-01-01: 10_000}}\nrate: {type: percent, from: {2020-01-01: 12}}",
    """{id: owed, scale: {of: income, brackets: [{above: 0, rate: 10 %}, {above: second, rate: rate}, {above: 40_000, rate: 22 %}]}}
    {id: paid, is: owed, round: {to: 0.01, mode: half_up}}""",
)


@pytest.mark.parametrize(
    ("income", "amount"), [(-1, 0), (0, 0), (10, 1), (10_000_00, 1_000_00), (10_001_00, 1_000_12), (40_000_00, 4_600_00), (50_000_00, 6_800_00)]
)
def test_each_bracket_has_its_rate(income, amount):
    assert paid(SCALE, income) == amount


@settings(max_examples=40, deadline=None)
@given(st.integers(-(10**11), 10**11), st.integers(0, 10**8))
def test_a_scale_never_owes_less_on_more_nor_more_than_its_highest_rate_on_the_rest(income, more):
    one, other = paid(SCALE, income), paid(SCALE, min(income + more, 10**11))
    assert one <= other <= one + more * 22 // 100 + 1


@cache
def parts(remainder: str, period: str, per: str, to: str, currency: str = "DKK"):
    steps = f"{{id: part, spread: {{of: income, remainder: {remainder}, to: {to}}}}}\n{{id: paid, is: abs(part)}}"
    return rule_of("least: {type: money, from: {2020-01-01: 0}}", steps, period, currency, per)


SPLITS = {
    ("year", "month"): [f"2023-{month:02}" for month in range(1, 13)],
    ("year", "quarter"): [f"2023-Q{quarter}" for quarter in range(1, 5)],
    ("quarter", "month"): ["2023-04", "2023-05", "2023-06"],
}


@pytest.mark.parametrize("remainder", ["first", "last"])
@pytest.mark.parametrize(("per", "period"), SPLITS)
@settings(max_examples=12, deadline=None)
@given(st.integers(-(10**11), 10**11), st.sampled_from(["0.01", "1", "10"]))
def test_the_parts_of_an_amount_add_up_to_it(remainder, per, period, whole, to):
    rule = parts(remainder, period, per, to)
    labels = SPLITS[per, period]
    shares = [row(rule, whole, period=parse_period(label))["step:part"] for label in labels]
    assert sum(shares) == whole
    equal = shares[1:] if remainder == "first" else shares[:-1]
    assert len(set(equal)) == 1
    assert equal[0] % {"0.01": 1, "1": 100, "10": 1000}[to] == 0
    odd = shares[0] if remainder == "first" else shares[-1]
    assert abs(odd) >= abs(equal[0])


def test_won_have_no_smaller_unit():
    rule = parts("last", "quarter", "year", "1", "KRW")
    assert [paid(rule, 1_000_003, period=parse_period(f"2023-Q{quarter}")) for quarter in range(1, 5)] == [250_000, 250_000, 250_000, 250_003]
    last = parse_period("2023-Q4")
    told = explain(rule, row(rule, 1_000_003, period=last), {"income": 1_000_003, "people": 1}, last)
    assert told.headline.endswith("4th quarter 2023: granted 250,003 KRW for the person.")


def test_an_amount_of_yen_has_no_decimals_and_is_rounded_to_one():
    with pytest.raises(ValueError, match=r"'100\.5' has more decimals than JPY has \(0\)"):
        rule_of("base: {type: money, from: {2020-01-01: 100.5}}", "{id: paid, is: base}", currency="JPY")
    with pytest.raises(ValueError, match=r"Say where it is rounded: round: \{to: 1, mode: half_up\}"):
        rule_of("base: {type: money, from: {2020-01-01: 100}}", "{id: paid, is: base / 3}", currency="JPY")
    assert paid(rule_of("base: {type: money, from: {2020-01-01: 100}}", "{id: paid, is: base / 3, round: {to: 1, mode: half_up}}", currency="JPY"), 0) == 33


TWO_KEYS = rule_of(
    "rate: {type: money, law: a, by: {status: [single, head, joint], people: [0, 1..<3, 3..]}, "
    "from: {2020-01-01: {value: [[1, 2, 3], [4, 5, 6], [7, 8, 9]], law: [[a, a, a], [a, b, a], [a, a, a]]}}}",
    "{id: paid, is: rate * share, law: a, round: {to: 1, mode: half_up}}",
)


def test_a_parameter_is_given_by_two_facts():
    got = [paid(TWO_KEYS, 0, status, people) for status in ("single", "head", "joint") for people in (0, 2, 3)]
    assert got == [100, 200, 300, 400, 500, 600, 700, 800, 900]


def test_either_fact_that_gives_a_parameter_may_be_missing():
    assert row(TWO_KEYS, 0, None, 1)["missing"] == 0b0010
    assert row(TWO_KEYS, 0, "single", None)["missing"] == 0b0100
    assert row(TWO_KEYS, 0, None, None)["missing"] == 0b0110


def test_a_factor_of_one_for_every_key_still_needs_its_key():
    factor = "factor: {type: ratio, law: a, by: {status: [single, head, joint]}, from: {2020-01-01: [1, 1, 1]}}"
    rule = rule_of(factor, "{id: paid, is: income * factor, floor: 0}")
    assert paid(rule, 15_000, "head") == 15_000
    held = row(rule, 15_000, None)
    assert (DECISIONS[held["decision"]], held["step:paid"], held["missing"]) == ("undetermined", None, 0b10)


def test_half_a_share_rounds_half_up_to_whole_units():
    assert [paid(TWO_KEYS, 0, "head", 1, share) for share in ("1", "1/2", "0")] == [500, 300, 0]


def test_half_of_the_danish_child_benefit_rounds_half_up_to_whole_kroner():
    rule = rule_of("rate: {type: money, from: {2020-01-01: 2_955}}", "{id: paid, is: rate * share, round: {to: 1, mode: half_up}}", currency="DKK")
    assert paid(rule, 0, share="1/2") == 1_478_00


def test_the_law_of_the_value_is_told_where_it_is_another_than_the_steps():
    facts = {"income": 0, "status": "head", "people": 1, "share": "1"}
    told = explain(TWO_KEYS, row(TWO_KEYS, 0, "head", 1), facts, ONCE)
    assert {figure.name: figure.law for figure in told.steps[0].used} == {"rate": "Act § 2", "share": ""}
    assert "with rate 5.00 USD (status head, people 1-2) (Act § 2); share 1" in letter(told)


@pytest.mark.parametrize(("step", "amount"), [("per_year(income)", 1_200), ("per_quarter(income)", 300), ("per_month(income)", 100)])
def test_an_amount_is_converted_exactly(step, amount):
    rule = rule_of(
        "least: {type: money, from: {2020-01-01: 0}}", f"{{id: paid, is: 'positive(spread({step}, 1))', round: {{to: 0.01, mode: half_up}}}}", per="month"
    )
    assert paid(rule, 100) == amount
