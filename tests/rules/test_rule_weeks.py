"""Benefits decided per week: which week a day is in, what is paid for one, and what the solver and the explanation say of it."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.facts import day, day_date
from pipeline.problems import Malformed
from pipeline.registry import FactSpec
from pipeline.rules import load_rule, parse_period, run_tests
from pipeline.rules.periods import period_for, period_with
from pipeline.rules.proof import claims_hold
from pipeline.rules.proof.cliffs import cliffs
from pipeline.rules.proof.stretches import period_of, stretches
from pipeline.texts import ENGLISH

DOCUMENT = """
format: benefit-rule/1
benefit: weekly
title: {en: Weekly}
in_force: {from: 2024-01-01, to: null}
law: {a: {cite: "Act § 1"}}
decides: {for: person, period: week, parameters_at: period.start, currency: GBP}
facts:
  born: {type: date, from: born, range: 1900-01-01..2100-12-31}
  income: {type: money, per: year, from: income, year: period.year, range: 0..1_000_000}
parameters:
  rate: {type: money, per: week, law: a, from: {2024-01-01: 100, 2024-12-30: 110}}
  limit: {type: money, per: year, law: a, from: {2024-01-01: 10_400}}
eligible_when:
  - {id: adult, when: "years(born, period.start) >= 18", law: a}
amount:
  steps:
    - {id: taken, taper: {of: income, above: limit, rate: 50 %, spread: 52}, law: a}
    - {id: paid, is: "spread(rate, 1) - taken", floor: 0, round: {to: 0.01, mode: down}, law: a}
  pay: paid
claims:
  - {more: income, never_more: amount}
  - {at_most: 110}
  - {at_most: 0, where: "days(born, period.end) < 6581"}
tests:
  - {name: the last week of the old rate, given: {period: 2024-W52, born: 1990-01-01, income: 0}, expect: {decision: granted, amount: 100}}
  - {name: the first week of the new rate, given: {period: 2025-W01, born: 1990-01-01, income: 10_504}, expect: {decision: granted, amount: 109}}
  - {name: eighteen on the Sunday is too late, given: {period: 2025-W01, born: 2007-01-05, income: 0}, expect: {decision: refused}}
"""
CATALOGUE = {
    "born": FactSpec(name="born", registry="r", type="date", meaning=""),
    "income": FactSpec(name="income", registry="r", type="money", currency="GBP", meaning=""),
}


@given(st.dates(min_value=date(1, 1, 1), max_value=date(9998, 12, 20)))
def test_every_day_is_in_one_week_from_monday_to_sunday(on: date):
    week = period_with("week", day(on))
    assert week.start <= day(on) <= week.end == week.start + 6
    assert day_date(week.start).weekday() == 0
    assert parse_period(week.label) == week
    assert week.year == day_date(week.start + 3).year
    assert period_with("week", week.end + 1).start == week.end + 1


@pytest.mark.parametrize("label", ["2021-W53", "2022-W00", "2022-W5", "2022-w05", "2022-W005"])
def test_a_week_that_is_none_is_refused(label: str):
    with pytest.raises(ValueError, match="is no week, write it like 2022-W05"):
        period_for("week", label)


def test_a_weekly_benefit_has_the_rate_of_the_monday_and_passes_its_tests():
    assert [str(result) for result in run_tests(load_rule(DOCUMENT, CATALOGUE)) if not result.passed] == []


def test_claims_about_weeks_are_proved_for_every_week():
    findings = claims_hold(load_rule(DOCUMENT, CATALOGUE))
    assert [finding.outcome for finding in findings] == ["proved", "proved", "fails"]
    assert "2024-W" in str(findings[2])


def test_the_solver_counts_weeks_as_the_calendar_does():
    rule = load_rule(DOCUMENT, CATALOGUE)
    first, second = stretches(rule)
    assert [period_of("week", number).label for number in (*first.periods, second.periods[0])] == ["2024-W01", "2024-W52", "2025-W01"]
    assert period_of("week", second.periods[1]).label == "9998-W53"


def test_a_cliff_of_a_yearly_income_is_told_over_the_weeks_of_a_year():
    found = cliffs(load_rule(DOCUMENT.replace("50 %", "200 %"), CATALOGUE), "income", {"born": day(date(1990, 1, 1))}, 10)
    assert [cliff.over for cliff in found.found][:1] == ["year"]


@pytest.mark.parametrize(
    ("old", "new", "mend"),
    [
        ("spread: 52", "", "Say spread: 52; what it takes is then an amount of the week"),
        ("pay: paid", "pay: monthly", "Write spread(per_year(monthly), 52) in a step after it, or the number of weeks that the law counts, and pay that."),
        ("pay: paid", "pay: yearly", "Write spread(yearly, 52) in a step after it"),
    ],
)
def test_what_is_not_of_a_week_is_refused_with_the_way_to_write_it(old: str, new: str, mend: str):
    steps = "    - {id: monthly, is: per_month(income)}\n    - {id: yearly, is: income}\n  pay: paid"
    with pytest.raises(Malformed) as refused:
        load_rule(DOCUMENT.replace("  pay: paid", steps).replace(old, new), CATALOGUE)
    assert mend in str(refused.value)


def test_a_week_is_called_by_its_number():
    week = parse_period("2022-W05")
    assert ENGLISH.period(week.kind, week.start, week.label) == "week 5 of 2022"


def test_the_days_up_to_a_birthday_are_counted_in_its_week():
    left = '    - {id: left, is: "days(period.start, birthday(born, 3))", floor: 0, cap: 7}\n'
    steps = left + '    - {id: part, is: "spread(rate, 1) * left / 7", round: {to: 0.01, mode: half_up}}\n'
    text = DOCUMENT.partition("claims:")[0].replace("  pay: paid", f"{steps}  pay: part").replace('"years(born, period.start) >= 18"', "income >= 0")
    text += "tests:\n"
    for born, days in (("2022-01-05", 0), ("2022-01-06", 0), ("2022-01-08", 2), ("2022-01-12", 6), ("2022-01-13", 7), ("2024-05-01", 7)):
        text += f"  - {{name: born on {born}, given: {{period: 2025-W02, born: {born}, income: 0}}, expect: {{decision: granted, left: {days}}}}}\n"
    rule = load_rule(text, CATALOGUE)
    assert [str(result) for result in run_tests(rule) if not result.passed] == []
