"""What somebody meets who writes the law of another country: amounts per month, currencies, commas, and expressions as other languages write them."""

# ruff: noqa: E501, ISC004
# The exact messages stand on one line each.

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.facts import day_date
from pipeline.problems import Malformed
from pipeline.questions import day_asked
from pipeline.registry import load_registry
from pipeline.rules import load_rule, run_tests
from pipeline.rules.periods import period_for
from streams.commands.rules import app

ROOT = Path(__file__).resolve().parent.parent.parent
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
            "Multiply it by the weeks that the law counts for a month, a parameter such as the ratio 52/12, and leave per: week out where it is defined.",
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


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("age = 18", "'=' is no sign of the language (line 14, column 28). Write == to compare."),
        ("age < 18 && resident", "'&&' is no sign of the language (line 14, column 33). Write and."),
        ("age < 18 || resident", "'||' is no sign of the language (line 14, column 33). Write or."),
        ("age < 18 AND resident", "'AND' is no word of the language (line 14, column 33). Write and."),
        ("!resident", "'!' is no sign of the language (line 14, column 23). Write not."),
        ("age ≤ 18", "'≤' is no sign of the language (line 14, column 28). Write <=."),
        ("age <> 18", "'<>' is no sign of the language (line 14, column 28). Write !=."),
        ("rate * 5 % > rate", "'%' is no sign of the language (line 14, column 33). A percentage is a parameter of type percent, with its law; only a rate is also written 5 %."),
        ("age % 2 == 0", "'age % 2': only + - * and / calculate (line 14, column 23). A percentage is a parameter of type percent, with its law; only a rate is also written 5 %."),
        ("age ^ 2 > 4", "'age ^ 2': only + - * and / calculate (line 14, column 23). A power is written out: a * a."),
        ("age < 18 & resident", "'18 & resident': only + - * and / calculate (line 14, column 30). Write and."),
        ("if age < 18 then resident", "'then' is no word of the language (line 14, column 36). Write: a if condition else b."),
        ("resident if age < 18", "'if' has no 'else' (line 14, column 33). Write: a if condition else b."),
        ("age < 18 ? resident : 0", "'?' is no sign of the language (line 14, column 33). Write: a if condition else b."),
        ("age > 10 000", "'000' follows '10' without a sign between them (line 14, column 33). A large number is written 10_000."),
        ("age > 10,000", "'age > 10,000' is not allowed in an expression (line 14, column 23). A large number is written with _: age > 10_000."),
        ("age of child > 3", "'of' follows 'age' without a sign between them (line 14, column 28). Write + - * / or a comparison; words of a name are joined by _."),
        ("age > ", "nothing follows '>' (line 14, column 28). Write what follows it, or leave it out."),
        ("", "there is no expression (line 14, column 23). Write a name, such as that of a fact."),
        ("resident == yes", "'yes' is not allowed in an expression (line 14, column 36). A fact that is yes or no is itself the condition: write resident, or not resident."),
        ("resident == True", "'True' is not allowed in an expression (line 14, column 36). A fact that is yes or no is itself the condition: write resident, or not resident."),
        ("age is 3", "'age is 3' is not allowed in an expression (line 14, column 23). Compare with == != < <= > >= in."),
        ("100 / age > 3", "cannot divide by age: only a written number divides (line 14, column 23). "
         "Multiply by a ratio, such as a parameter by age with 1, 1/2, 1/3; whole steps are full_steps(a, size) or started_steps(a, size)."),
    ],
)  # fmt: skip
def test_an_expression_as_other_languages_write_it_is_refused_with_the_way_to_write_it(expression, message, catalogue):
    assert problems(MONTHLY.replace('"age < 18"', f'"{expression}"'), catalogue) == [f"eligible_when[0].when: {message}"]


def test_a_comma_that_tears_an_expression_is_told_once_where_the_expression_stands(catalogue):
    text = MONTHLY.replace("is: rate * third}", "is: max(rate, rate, rate) * third, law: P1}")
    assert problems(text, catalogue) == [
        "amount.steps[0].is: the comma in 'max(rate, rate, rate) * third' ends the value: within { } a text with a comma wants quotes (line 17, column 23). "
        'Write is: "max(rate, rate, rate) * third".'
    ]


def test_a_comma_that_tears_a_sentence_is_told_the_same(catalogue):
    text = MONTHLY.replace('when: "age < 18", law: P1', 'when: "age < 18", law: P1, held: {en: Well, "{subject} is {age}", da: x}')
    assert problems(text.replace('"{subject} is {age}", ', "he is young, "), catalogue)[0].endswith('Write en: "Well, he is young".')


def test_a_key_that_is_only_misspelt_is_no_torn_text(catalogue):
    assert "unknown key 'bogus'" in problems(MONTHLY.replace("is: rate * third}", "is: rate * third, bogus: }"), catalogue)[0]
    assert "unknown key 'bogus'" in problems(MONTHLY.replace("is: rate * third}", 'is: "rate * third", bogus}'), catalogue)[0]


def test_a_comma_that_tears_a_meaning_of_a_registry_is_told_in_the_same_words():
    text = (ROOT / "registries" / "residency.yaml").read_text(encoding="utf-8")
    torn = re.sub(r"meaning: ([A-Z][^,\"'}\n]+)}", r"meaning: \1, or so, or not}", text, count=1)
    assert torn != text
    with pytest.raises(Malformed) as refused:
        load_registry(torn)
    assert [problem.message.split(" ends the value")[1] for problem in refused.value.problems] == [": within { } a text with a comma wants quotes"]


@pytest.mark.parametrize(("written", "message"), [
    ("gbp", "unknown currency 'gbp', a currency is written in capitals: GBP (line 6, column 78)"),
    ("Eur", "unknown currency 'Eur', a currency is written in capitals: EUR (line 6, column 78)"),
    ("GPB", "unknown currency 'GPB', did you mean 'GBP'? (line 6, column 78)"),
    ("kroner", "unknown currency 'kroner', write its three letters of ISO 4217, such as EUR (line 6, column 78)"),
])  # fmt: skip
def test_a_currency_that_is_none_is_told_once(written, message, catalogue):
    text = MONTHLY.replace("currency: DKK", f"currency: {written}").replace(
        "  age:", "  income: {type: money, from: business.revenue_lost, range: 0..10}\n  age:"
    )
    assert problems(text, catalogue) == [f"decides.currency: {message}"]


@pytest.mark.parametrize(("currency", "third"), [("GBP", "333.33"), ("ISK", "333"), ("JPY", "333"), ("KWD", "333.333"), ("HUF", "333.33"), ("SEK", "333.33")])
def test_an_amount_has_the_decimals_of_its_currency(currency, third, catalogue):
    unit = {0: "1", 2: "0.01", 3: "0.001"}[len(third.partition(".")[2])]
    text = MONTHLY.replace("DKK", currency).replace("to: 0.01", f"to: {unit}").replace("amount: 333.33", f"amount: {third}")
    assert [result.passed for result in run_tests(load_rule(text, catalogue))] == [True]


@pytest.mark.parametrize(("kind", "label", "message"), [
    ("month", "", "there is no period: the benefit is decided per month, write it like 2022-03"),
    ("quarter", "2022-03", "'2022-03' is no quarter, write it like 2022-Q1"),
    ("year", "22", "'22' is no year, write it like 2022"),
    ("month", "2022-3", "'2022-3' is no month, write it like 2022-03"),
    ("once", "2022", "the benefit is decided once, not for 2022"),
])  # fmt: skip
def test_a_period_of_the_wrong_kind_is_refused_with_the_kind_that_is_wanted(kind, label, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        period_for(kind, label)


def test_an_evaluation_without_a_period_says_which_kind_is_wanted(tmp_path):
    (tmp_path / "rule.yaml").write_text(MONTHLY, encoding="utf-8")
    (tmp_path / "facts.csv").write_text("subject,age,resident\na,3,yes\n", encoding="utf-8")
    asked = CliRunner().invoke(
        app, ["evaluate", f"{tmp_path}/rule.yaml", "--facts", f"{tmp_path}/facts.csv", "--output", f"{tmp_path}/out.csv", "--period", ""]
    )
    assert asked.exit_code == 2
    assert "--period: there is no period: the benefit is decided per month, write it like 2022-03" in asked.stderr


HOUSEHOLD = (
    MONTHLY.replace("for: person", "for: household").replace("facts:\n", "members:\n  facts:\n").replace("  age:", "    age:").replace("  resident:", "    resident:")
    .replace("parameters:", "aggregates:\n  young: {count: age < 18}\nparameters:").replace("age < 18\"", "young > 0\"")
    .replace("given: {age: 8, resident: \"yes\", ", "given: {members: [{age: 8}, {age: 20}], ")
)  # fmt: skip


@pytest.mark.parametrize(("expected", "passed", "said"), [
    ("young: 1", True, ""),
    ("young: 2", False, "expected young 2, got 1; aggregate young = count of age < 18"),
    ("young: unknown", False, "expected young not known, got 1; aggregate young = count of age < 18"),
])  # fmt: skip
def test_a_test_may_say_what_an_aggregate_is(expected, passed, said, catalogue):
    (result,) = run_tests(load_rule(HOUSEHOLD.replace("amount: 333.33", f"{expected}, amount: 333.33"), catalogue))
    assert result.passed is passed
    assert said in str(result)


@pytest.mark.parametrize(("third", "expected", "passed"), [
    ("1/3", "1_000/3", True), ("1/3", "333.33", False), ("0.33335", "333.35", True), ("0.33335", "333.3500", True), ("0.333335", "333.335", True), ("1/3", "-1_000/3", False),
])  # fmt: skip
def test_a_step_that_is_not_rounded_is_expected_exactly(third, expected, passed, catalogue):
    text = MONTHLY.replace("1/3", third).replace("amount: 333.33", f"whole: {expected}")
    assert [result.passed for result in run_tests(load_rule(text, catalogue))] == [passed]


def test_a_step_that_is_rounded_has_the_decimals_of_its_currency(catalogue):
    assert "'333.335' has more decimals than DKK has (2)" in problems(MONTHLY.replace("amount: 333.33", "net: 333.335"), catalogue)[0]


def test_months_are_whole_and_end_on_the_day_of_their_number_or_after_a_shorter_month(catalogue):
    facts = "  born: {type: date, from: residency.birth_date, at: period.start, range: 2000-01-01..2030-12-31}\n  resident:"
    text = (
        MONTHLY.replace("age < 18", "full_months(born, period.start) >= 1")
        .replace("  resident:", facts)
        .replace('{age: 8, resident: "yes"', "{born: 2021-12-01")
    )
    cases = [
        ("2022-02-01", "2022-02", "refused"),
        ("2022-01-31", "2022-03", "granted"),
        ("2022-02-02", "2022-03", "refused"),
        ("2021-12-02", "2022-01", "refused"),
    ]
    more = "".join(f"  - {{name: {on} {month}, given: {{born: {on}, period: {month}}}, expect: {{decision: {decision}}}}}\n" for on, month, decision in cases)
    results = run_tests(load_rule(text + more, catalogue))
    assert [str(result) for result in results if not result.passed] == []
    assert len(results) == 1 + len(cases)


@pytest.mark.parametrize(("written", "asked"), [("period.year", 2022), ("period.year - 1", 2021), ("period.year-2", 2020), ("2019", 2019)])
def test_the_income_of_a_year_before_is_asked_for(written, asked, catalogue):
    fact = f"  income: {{type: money, per: year, from: tax.income, year: {written}, range: 0..10}}\n  resident:"
    rule = load_rule(MONTHLY.replace("  resident:", fact), catalogue)
    on = day_asked(rule, rule.facts[1], period_for("month", "2022-01"))
    assert on is not None
    assert day_date(on).year == asked


def test_a_month_has_28_to_31_days_in_a_table(catalogue):
    table = '{id: month, is: "days(period.start, period.end) + 1"}\n    - {id: part, table: {type: ratio, hit: first, rows: [{when: {month: 28..31}, gives: 1/31}]}}'
    text = MONTHLY.replace("- {id: whole", f"- {table}\n    - {{id: whole").replace("rate * third", "rate * part").replace("333.33", "32.26")
    assert [result.passed for result in run_tests(load_rule(text, catalogue))] == [True]
    assert "no row holds where month is 28, for example" not in problems(text.replace("28..31", "29..31"), catalogue)[0]
    assert "no row holds where month is 28 (line" in problems(text.replace("28..31", "29..31"), catalogue)[0]


def test_a_table_of_a_step_that_is_never_so_wants_a_floor_and_a_cap(catalogue):
    table = '{id: age_in_days, is: "days(born, period.start)"}\n    - {id: part, table: {type: ratio, hit: first, rows: [{when: {age_in_days: 0..9_000}, gives: 1/3}]}}'
    text = (
        MONTHLY.replace("- {id: whole", f"- {table}\n    - {{id: whole")
        .replace("rate * third", "rate * part")
        .replace("{age: 8,", "{age: 8, born: 2014-01-01,")
    )
    text = text.replace("  resident:", "  born: {type: date, from: residency.birth_date, at: period.start, range: 2004-01-01..2030-12-31}\n  resident:")
    assert problems(text, catalogue)[0].endswith("Where age_in_days is never so, say floor and cap in its step.")
    assert [result.passed for result in run_tests(load_rule(text.replace('period.start)"}', 'period.start)", floor: 0, cap: 9_000}'), catalogue))] == [True]


def test_a_folder_may_hold_the_documents_of_registries_beside_those_of_rules(tmp_path):
    (tmp_path / "rule.yaml").write_text((ROOT / "benefits/us-eip1/2020-03-27.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "registry.yaml").write_text((ROOT / "registries/residency.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    checked = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert (checked.exit_code, checked.stdout.count("well,")) == (0, 1)


def test_a_benefit_per_week_is_told_what_to_do(catalogue):
    assert problems(MONTHLY.replace("period: month,", "period: week,"), catalogue)[0].endswith(
        "Write spread(per_year(net), 52) in a step after it, or the number of weeks that the law counts, and pay that."
    )
