"""What somebody meets who writes the law of another country: amounts per month, currencies, commas, and expressions as other languages write them."""

from __future__ import annotations

import pytest

from pipeline.problems import Malformed
from pipeline.rules import load_rule, run_tests

MONTHLY = """\
format: benefit-rule/1
benefit: abroad
title: {en: Abroad}
in_force: {from: 2022-01-01, to: null}
law: {P1: {cite: Act § 1}}
decides: {for: person, period: month, parameters_at: period.start, currency: DKK}
facts:
  age: {type: years, from: residency.birth_date, at: period.start}
  resident: {type: yes_no, from: residency.resident}
parameters:
  rate: {type: money, per: month, law: P1, from: {2022-01-01: 1_000}}
  third: {type: ratio, law: P1, from: {2022-01-01: 1/3}}
eligible_when:
  - {id: young, when: "age < 18", law: P1}
amount:
  steps:
    - {id: whole, is: rate * third}
    - {id: net, is: "whole", round: {to: 0.01, mode: half_up}}
  pay: net
tests:
  - {name: first, given: {age: 8, resident: "yes", period: 2022-01}, expect: {decision: granted, amount: 333.33}}
"""
LENGTHS = {"month": "2022-01", "quarter": "2022-Q1", "year": "2022"}


def decided_per(period: str, per: str) -> str:
    label = LENGTHS.get(period, "once")
    return MONTHLY.replace("period: month,", f"period: {period},").replace("per: month", f"per: {per}").replace("period: 2022-01}", f"period: {label}}}")


def problems(text, catalogue):
    with pytest.raises(Malformed) as refused:
        load_rule(text, catalogue)
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize("period", LENGTHS)
def test_an_amount_per_period_is_the_amount_of_the_period(period, catalogue):
    rule = load_rule(decided_per(period, period), catalogue)
    assert [result.passed for result in run_tests(rule)] == [True]


@pytest.mark.parametrize(
    ("period", "per", "mend"),
    [
        ("month", "year", "Write per_month(net) in a step after it, and pay that; spread: {of: net, remainder: last} where the parts must add up to the year."),
        ("quarter", "month", "Write per_quarter(net) in a step after it, and pay that."),
        ("year", "quarter", "Write per_year(net) in a step after it, and pay that."),
        (
            "month",
            "week",
            "Multiply it by the weeks that the law counts for a month, a number that is a parameter, and leave per: week out where it is defined.",
        ),
        ("once", "year", "Write spread(net, 1) in a step after it for all of it at once, and pay that; or leave per: year out where it is defined."),
    ],
)
def test_an_amount_per_another_period_is_refused_with_its_conversion(period, per, mend, catalogue):
    amount = "one payment" if period == "once" else f"a {period}"
    assert problems(decided_per(period, per), catalogue) == [f"amount.pay: 'net' is money per {per}, an amount of {amount} is paid (line 19, column 8). {mend}"]


def test_amounts_per_different_periods_are_refused_with_their_conversion(catalogue):
    text = MONTHLY.replace("rate * third}", "rate + yearly}").replace("  third:", "  yearly: {type: money, per: year, from: {2022-01-01: 1}}\n  third:")
    assert problems(text, catalogue)[0].endswith("Convert one: per_month(yearly), or per_year(rate).")


def test_a_weekly_amount_is_paid_for_the_weeks_that_the_law_counts(catalogue):
    text = MONTHLY.replace("per: month, ", "").replace("1/3}", "52/12}").replace("333.33", "4_333.33")
    assert [result.passed for result in run_tests(load_rule(text, catalogue))] == [True]
