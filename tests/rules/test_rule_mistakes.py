"""One document for each kind of mistake, and the exact message it is refused with."""

# ruff: noqa: E501, ISC004
# The exact messages stand on one line each.

from __future__ import annotations

import pytest

from pipeline.problems import Malformed
from pipeline.rules import load_rule
from pipeline.rules.mutations import Outcome, mutate

GOOD = """\
format: benefit-rule/1
benefit: example
title: {en: Example}
in_force: {from: 2022-01-01, to: null}
law:
  P1: {cite: "Act § 1"}
decides: {for: person, period: quarter, parameters_at: period.start}
facts:
  age: {type: years, from: residency.birth_date, at: period.start, range: 0..130}
  resident: {type: yes_no, from: residency.resident}
  income: {type: money, per: year, from: tax.income, year: period.year, range: 0..1_000_000_000}
parameters:
  rate: {type: money, law: P1, by: {age: [0-2, 3-14]}, from: {2022-01-01: [4_653, 2_898]}}
  limit: {type: money, per: year, law: P1, from: {2022-01-01: 828_100}}
  share: {type: percent, law: P1, from: {2014-01-01: 2}}
eligible_when:
  - {id: young, when: "age < 15", law: P1, not_held: "{subject} is {age}."}
amount:
  steps:
    - {id: full, is: rate}
    - {id: reduction, taper: {of: income, above: limit, rate: share, spread: 4}}
    - {id: net, is: "full - reduction", floor: 0, round: {to: 0.01, mode: half_up}}
  pay: net
tests:
  - name: first
    given: {age: 8, income: 0, period: 2022-Q1}
    expect: {decision: granted, amount: 2_898}
"""

TAPER = "above: limit, rate: share, spread: 4"
BLOCK = f"taper: {{of: income, {TAPER}}}"
MISTAKES = [
    ("unknown name", 'is: "full - reduction"', 'is: "full - reductoin"',
     "amount.steps[2].is: unknown name 'reductoin', did you mean 'reduction'? (line 22, column 29)"),
    ("wrong type", 'when: "age < 15"', 'when: "resident < 15"',
     "eligible_when[0].when: cannot compare yes_no and number: resident is yes_no, 15 is number (line 17, column 23)"),
    ("a condition that is no condition", 'when: "age < 15"', 'when: "age + 15"',
     "eligible_when[0].when: a condition is yes or no, 'age + 15' is years (line 17, column 23)"),
    ("money and number added", 'is: "full - reduction"', 'is: "full - age"',
     "amount.steps[2].is: cannot subtract money and years: full is money, age is years (line 22, column 21)"),
    ("a written amount", 'is: "full - reduction"', 'is: "full - 500"',
     "amount.steps[2].is: cannot subtract money and number: full is money, 500 is number (line 22, column 21). "
     "Give the amount as a parameter with its law, some_amount: {type: money, law: ..., from: {...: 500}}, and write its name here."),
    ("a parameter called like a word of the language", "parameters:", "parameters:\n  payment: {type: money, law: P1, from: {2022-01-01: 1}}",
     "parameters.payment: 'payment' is a word of the language, as in payment.date (line 13, column 3). Choose another name."),
    ("units mixed", 'is: "full - reduction"', 'is: "full - income"',
     "amount.steps[2].is: cannot subtract money and money per year: full is money, income is money per year (line 22, column 21). "
     "Write spread(income, 1) for the whole of it in one payment, or spread(income, 12) for that of a month."),
    ("a taper without its spread", ", spread: 4", "",
     "amount.steps[1].taper: income is money per year and the benefit is per quarter (line 21, column 30). "
     "Say spread: 4; what it takes is then an amount of the quarter, and so has no per, like the amounts it is taken off."),
    ("a taper of parts that do not go together", TAPER, "above: limit, take: full, spread: 4",
     "amount.steps[1].taper: a taper of above, take cannot be calculated (line 21, column 23). "
     "Beside of, say above, rate; or above, each, rate; or above, each, take; or from, until, take."),
    ("a step of nothing", TAPER, "above: limit, each: {size: 0, count: full}, rate: share, spread: 4",
     "amount.steps[1].taper: the size of a step is a parameter or a written number above zero, 0 may be 0 (line 21, column 30)"),
    ("a range that goes down", TAPER, "from: 900_000, until: limit, take: full",
     "amount.steps[1].taper: limit is not above 900_000 on 2022-01-01 (line 21, column 30). A range goes from less to more."),
    ("a range whose end nobody knows beforehand", TAPER, "from: limit, until: income, take: full",
     "amount.steps[1].taper: an end of a range is a written amount or a parameter, income is neither (line 21, column 30)"),
    ("a share where an amount is taken", TAPER, "from: limit, until: 900_000, take: share",
     "amount.steps[1].taper: a taper takes an amount of money: share is percent (line 21, column 30). Use rate for a percent or a ratio."),
    ("a table with a gap", BLOCK, "table: {type: money, hit: only_one, rows: [{when: {age: 0-4, income: ..<10_000}, gives: 5}, {when: {age: 5-14}, gives: 2}]}",
     "amount.steps[1].table.rows: no row holds where age is 0 to 4 and income is 10000.00 to 1000000000.00, for example age 0, income 10000.00 "
     "(line 21, column 59). Add a row, or a condition that keeps those out."),
    ("rows that overlap", BLOCK, "table: {type: money, hit: only_one, rows: [{when: {age: 0-7}, gives: 5}, {when: {age: 6..}, gives: 2}]}",
     "amount.steps[1].table.rows[1]: rows 0 and 1 both hold where age is 6 to 7, for example age 6 (line 21, column 96). Part their ranges, or say hit: first."),
    ("a row that nobody reaches", BLOCK, "table: {type: money, hit: first, rows: [{when: {age: 0-7}, gives: 5}, {gives: 2}, {when: {resident: yes}, gives: 7}]}",
     "amount.steps[1].table.rows[2]: row 2 is never reached: rows before it hold wherever it does (line 21, column 105). Move it up, or leave it out."),
    ("a table of an unknown fact", BLOCK, "table: {type: money, hit: first, rows: [{when: {ages: 0-7}, gives: 5}, {gives: 2}]}",
     "amount.steps[1].table.rows[0].when.ages: unknown fact or step 'ages', did you mean 'age'? (line 21, column 71)"),
    ("a row outside the range of its fact", BLOCK, "table: {type: money, hit: first, rows: [{when: {age: 200}, gives: 5}, {gives: 2}]}",
     "amount.steps[1].table.rows[0].when.age: age is never '200' (line 21, column 76)"),
    ("rows of different kinds", BLOCK, "table: {type: money, hit: first, rows: [{when: {age: 3}, gives: 5}, {gives: share}]}",
     "amount.steps[1].table.rows[1].gives: the rows give money, share is percent (line 21, column 99)"),
    ("a cell of nothing", BLOCK, "table: {type: money, hit: only_one, rows: [{when: {age: []}, gives: 5}, {gives: 2}]}",
     "amount.steps[1].table.rows[0].when.age: at least one entry must stand here (line 21, column 79)"),
    ("a number per year", BLOCK, "table: {type: number, per: year, hit: first, rows: [{gives: 2}]}",
     "amount.steps[1].table.per: per is for money, the rows give number (line 21, column 45)"),
    ("spread over no payment", TAPER, "above: limit, rate: share, spread: 0",
     "amount.steps[1].taper.spread: an amount is spread over at least 1 payment (line 21, column 78)"),
    ("brackets out of order", BLOCK, "scale: {of: income, brackets: [{above: limit, rate: share}, {above: 10_000, rate: 2 %}]}",
     "amount.steps[1].scale: 10_000 is not above limit on 2022-01-01 (line 21, column 30). A range goes from less to more."),
    ("a rate that is no percentage", BLOCK, "scale: {of: income, brackets: [{above: 0, rate: 1}]}",
     "amount.steps[1].scale: the rate of a bracket is a percent or a ratio: 1 is number (line 21, column 30). Write 1 %."),
    ("parts of fractions", BLOCK, "spread: {of: income * share, remainder: last}",
     "amount.steps[1].spread: income * share is no whole number of minor units but of 1/50: no parts add up to it (line 21, column 31). Round it in a step before."),
    ("parts of an amount for no time", BLOCK, "spread: {of: full, remainder: last}",
     "amount.steps[1].spread: only money per year or quarter has parts: full is money (line 21, column 31). "
     "Say per: year where it is defined, or use per_year(amount)."),
    ("parts longer than the whole", BLOCK, "spread: {of: per_month(income), remainder: last}",
     "amount.steps[1].spread: per_month(income) is money per month and the benefit is per quarter: it has no parts (line 21, column 31)"),
    ("an amount for no time converted", 'is: "full - reduction"', 'is: "per_year(full)"',
     "amount.steps[2].is: only money per year, quarter or month is converted: full is money (line 22, column 21). Say per: year, quarter or month where it is defined."),
    ("one list where two facts give the keys", "{age: [0-2, 3-14]}", "{age: [0-2, 3-14], resident: [yes, no]}",
     "parameters.rate.from.2022-01-01[0]: 1 value stand here, 2 values, one for each key of resident must (line 13, column 97). Write a list."),
    ("no such law of a value", "[4_653, 2_898]", "{value: [4_653, 2_898], law: [P1, P7]}",
     "parameters.rate.from.2022-01-01.law[1]: unknown law 'P7' (line 13, column 109). Known: P1."),
    ("a key that nothing can have", "age: [0-2, 3-14]", "age: [0-2, 2..<2]",
     "parameters.rate.by.age[1]: '2..<2' holds no value that can be (line 13, column 48)"),
    ("missing parameter at a date", "from: {2022-01-01: 828_100}", "from: {2023-01-01: 828_100}",
     "parameters.limit: 'limit' has no value on 2022-01-01, when the rule is in force (line 14, column 3). Give it one from then on or earlier."),
    ("a gap in the keys", "age: [0-2, 3-14]", "age: [0-2, 4-14]",
     "parameters.rate.by: 'rate' has no value where age is 3 (line 13, column 32). Add the keys, or a condition that keeps those out."),
    ("a gap in the keys of a condition", 'when: "age < 15"', 'when: "age < 15 and rate == rate"',
     "parameters.rate.by: 'rate' has no value where age is 15 to 130 (line 13, column 32). "
     "Add the keys: the condition 'young' asks for rate of everybody, whatever the other conditions say."),
    ("a gap of a minor unit in the keys", "by: {age: [0-2, 3-14]}", "by: {income: [0..800, 801..]}",
     "parameters.rate.by: 'rate' has no value where income is 800.01 to 800.99 (line 13, column 32). "
     "Add the keys, or a condition that keeps those out. A key such as 0..<10_000 leaves no gap before 10_000."),
    ("overlapping keys", "age: [0-2, 3-14]", "age: [0-3, 3-14]", "parameters.rate.by.age[1]: '3-14' overlaps an earlier key (line 13, column 48)"),
    ("too few values", "[4_653, 2_898]", "[4_653]",
     "parameters.rate.from.2022-01-01: 1 value stand here, 2 values, one for each key must (line 13, column 75). Give one for each of 0-2, 3-14."),
    ("an amount with a comma in a list", "[4_653, 2_898]", "[4,653, 2_898]",
     "parameters.rate.from.2022-01-01: 3 values stand here, 2 values, one for each key must (line 13, column 75). A number has _ and no comma: 4_653."),
    ("a year that no one can say", "year: period.year", "year: last year",
     "facts.income.year: 'last year' is no year of a benefit per quarter (line 11, column 60). "
     "Write a year such as 2019, period.year, or period.year - 1 for the year before (to - 9)."),
    ("overflow", 'is: "full - reduction"', 'is: "full * 9_000_000_000_000_000"',
     "amount.steps[2].is: may overflow: full * 9_000_000_000_000_000 reaches 4,187,700,000,000,000,000,000 minor units, which does not fit 64 bits "
     "(line 22, column 21). Narrow the range of the facts it uses."),
    ("no range", ", range: 0..1_000_000_000", "", "facts.income: 'income' needs a range, so that no amount can overflow (line 11, column 3). Say range: lowest..highest."),
    ("an amount of fractions", ", floor: 0, round: {to: 0.01, mode: half_up}", ", floor: 0",
     "amount.pay: 'net' is not a whole number of minor units but of 1/200 (line 23, column 8). Say where it is rounded: round: {to: 0.01, mode: half_up}."),
    ("a negative amount", "floor: 0, ", "", "amount.pay: 'net' may be negative: full - reduction may be -4,992,961.50 DKK (line 23, column 8). Say floor: 0 in the step."),
    ("duplicate key", "benefit: example", "benefit: example\nbenefit: other", "benefit: key 'benefit' stands twice (line 3, column 1). Keep one of them."),
    ("anchor", "{en: Example}", "&title {en: Example}", "title: anchor &title is refused (line 3, column 8). Write the value out where it is needed."),
    ("alias", "title: {en: Example}", "title: {en: &t Example, da: *t}",
     "title.en: anchor &t is refused (line 3, column 13). Write the value out where it is needed.\ntitle.da: alias *t is refused (line 3, column 29). Write the value out."),
    ("tag", "benefit: example", "benefit: !!str example", "benefit: tag tag:yaml.org,2002:str is refused (line 2, column 10). Leave the tag out; the schema gives the type."),
    ("a date that does not exist", "in_force: {from: 2022-01-01", "in_force: {from: 2022-02-30", "in_force.from: '2022-02-30' is not a date that exists (line 4, column 18)"),
    ("unknown key", "eligible_when:", "eligable_when:",
     "eligible_when: the key 'eligible_when' is missing (line 1, column 1)\neligable_when: unknown key 'eligable_when', did you mean 'eligible_when'? (line 16, column 1)"),
    ("unknown key within", "year: period.year", "yaer: period.year", "facts.income.yaer: unknown key 'yaer', did you mean 'year'? (line 11, column 54)"),
    ("an expression with a comma that is not in quotes", 'is: "full - reduction"', 'is: max(full - reduction, 0)',
     "amount.steps[2].is: the comma in 'max(full - reduction, 0)' ends the value: within { } a text with a comma wants quotes (line 22, column 21). "
     'Write is: "max(full - reduction, 0)".'),
    ("a number with a comma", "{2022-01-01: 828_100}", "{2022-01-01: 828,100}",
     "parameters.limit.from.2022-01-01: the comma in '828, 100' ends the value: a number has _ and no comma (line 14, column 63). Write 2022-01-01: 828_100."),
    ("a colon that is not in quotes", 'is: "full - reduction"', "is: full: reduction",
     "not YAML: expected ',' or '}', but got ':' (line 22, column 25). Close the bracket, or put a text that holds a comma, a colon or a bracket in quotes."),
    ("unknown word", "for: person", "for: persons", "decides.for: 'persons' is not known here, did you mean 'person'? (line 7, column 16). It is one of person, household, business."),
    ("no such fact", "residency.birth_date", "residency.birthdate", "facts.age.from: no registry tells 'residency.birthdate', did you mean 'residency.birth_date'? (line 9, column 28)"),
    ("fact of another type", "{type: yes_no, from: residency.resident}", "{type: money, from: residency.resident}",
     "facts.resident.type: residency.resident is yes_no, 'resident' cannot be money of it (line 10, column 20)"),
    ("no such law", "year, law: P1", "year, law: P2", "parameters.limit.law: unknown law 'P2' (line 14, column 40). Known: P1."),
    ("a bad amount", "828_100", "828_100.001", "parameters.limit.from.2022-01-01: '828_100.001' has more decimals than DKK has (2) (line 14, column 63)"),
    ("a name used twice", "id: full, is: rate", "id: limit, is: rate", "amount.steps[0].id: the name 'limit' is used twice (line 20, column 8). Give facts, parameters and steps different names.\n"
     "amount.steps[2].is: unknown name 'full' (line 22, column 21). Known names: age, resident, income, rate, limit, share, reduction."),
    ("a call", 'is: "full - reduction"', "is: \"__import__('os')\"",
     "amount.steps[2].is: unknown function '__import__' (line 22, column 21). "
     "Functions are min, max, abs, positive, spread, per_year, per_quarter, per_month, full_steps, started_steps, years, full_months, birthday, days, year, date."),
    ("an attribute", 'is: "full - reduction"', 'is: "full.real"', "amount.steps[2].is: unknown name 'full.real' (line 22, column 21). Days are period.start, period.end, payment.date, event.date."),
    ("floor division", 'is: "full - reduction"', 'is: "full // 2"', "amount.steps[2].is: 'full // 2': only + - * and / calculate (line 22, column 21). Division is written /; whole steps are full_steps(a, size)."),
    ("division by zero", 'is: "full - reduction"', 'is: "full / 0"', "amount.steps[2].is: cannot divide by zero (line 22, column 21)"),
    ("no expression", 'is: "full - reduction"', 'is: "full -"', "amount.steps[2].is: nothing follows '-' (line 22, column 27). Write what follows it, or leave it out."),
    ("a sentence with an unknown name", "is {age}.", "is {agee}.", "eligible_when[0].not_held: the sentence names unknown 'agee', did you mean 'age'? (line 17, column 54)"),
    ("a payment date nobody knows", "from: residency.resident}", "from: residency.resident, at: payment.date}",
     "decides: payment.date is asked for, but a benefit per period has no single payment day (line 7, column 1). Use period.start or period.end."),
    ("a test with an unknown fact", "age: 8, income: 0", "age: 8, incme: 0", "tests[0].given.incme: unknown fact 'incme', did you mean 'income'? (line 26, column 21)"),
    ("a test of another period", "period: 2022-Q1", "period: 2022-01", "tests[0].given.period: '2022-01' is no quarter, write it like 2022-Q1 (line 26, column 40)"),
    ("a test of a day on which the rule is not in force", "period: 2022-Q1", "period: 2012-Q1",
     "tests[0].given.period: 2012-Q1 begins on 2012-01-01, the rule is in force from 2022-01-01 (line 26, column 40). Give another period, or mend in_force."),
    ("a test with an unknown step", "expect: {decision: granted, amount", "expect: {decision: granted, nett", "tests[0].expect.nett: unknown expectation 'nett', did you mean 'net'? (line 27, column 33)"),
]  # fmt: skip


def problems(text, catalogue):
    with pytest.raises(Malformed) as refused:
        load_rule(text, catalogue)
    return str(refused.value)


def test_the_document_without_a_mistake_is_accepted(catalogue):
    assert load_rule(GOOD, catalogue).pay == "net"


@pytest.mark.parametrize(("before", "after", "message"), [mistake[1:] for mistake in MISTAKES], ids=[mistake[0] for mistake in MISTAKES])
def test_a_mistake_is_named_with_its_place_its_value_and_its_mend(before, after, message, catalogue):
    assert GOOD.count(before) == 1
    assert problems(GOOD.replace(before, after), catalogue) == message


def test_every_mistake_of_a_document_is_told_at_once(catalogue):
    text = GOOD.replace("full - reduction", "full - reductoin").replace("year, law: P1", "year, law: P2").replace('"age < 15"', '"aeg < 15"')
    assert len(problems(text, catalogue).splitlines()) == 3


def test_a_mistake_in_a_definition_is_not_told_again_where_its_name_is_used(catalogue):
    assert problems(GOOD.replace("from: tax.income", "from: tax.incom"), catalogue) == (
        "facts.income.from: no registry tells 'tax.incom', did you mean 'tax.income'? (line 11, column 42)"
    )


def test_an_oversize_document_is_refused_unread(catalogue):
    assert problems(GOOD + "#" * 600_000, catalogue) == "the document is longer than 524,288 bytes. Part it into several documents."


@pytest.mark.parametrize(
    "expression", ["positive(" * 40 + "age" + ")" * 40 + " > 1", "age > 1 and " * 60 + "resident", "-" * 400 + "age > 1", "not " * 100 + "resident"]
)
def test_a_huge_expression_is_refused(expression, catalogue):
    assert "limit is" in problems(GOOD.replace('"age < 15"', f'"{expression}"'), catalogue)


@pytest.mark.parametrize(
    "text",
    ["", "- a\n- b\n", "just text", "\x00", "a: [", "{}", "format: benefit-rule/1\n", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "a: [\r\r\r", "a\x85b\u2028: [\n\n"],
)
def test_what_is_no_rule_document_is_refused(text, catalogue):
    assert problems(text, catalogue)


@pytest.mark.parametrize(
    "expression",
    ["lambda: 1", "[x for x in age]", "age if resident", "f'{age}'", "age := 1", "{1: 2}", "age[0]", "*age", "await age", "age is 1", "age @ 2", "age ** 9", "0x10 > age", "1e400 > age", "None", "..."],
)  # fmt: skip
def test_what_the_language_does_not_have_is_refused(expression, catalogue):
    assert "eligible_when[0].when" in problems(GOOD.replace('"age < 15"', f'"{expression}"'), catalogue)


def test_a_test_of_an_event_while_the_rule_is_not_in_force_is_named_with_its_day(catalogue):
    text = GOOD.replace("period: quarter, parameters_at: period.start", "period: once, parameters_at: event.date")
    text = text.replace("at: period.start, range", "at: event.date, range").replace("year: period.year", "year: 2021").replace("to: null", "to: 2022-12-31")
    assert (
        "tests[0].given.event_date: the event is of 2023-01-01, the rule is in force from 2022-01-01 to 2022-12-31 (line 26, column 44). "
        "Give another day, or mend in_force."
    ) in problems(text.replace(", spread: 4", ", spread: 1").replace("period: 2022-Q1", "event_date: 2023-01-01"), catalogue)


def test_a_test_of_a_household_while_the_rule_is_not_in_force_is_named_with_its_period(catalogue):
    text = """\
format: benefit-rule/1
benefit: example
title: {en: Example}
in_force: {from: 2024-01-01, to: null}
law: {P1: {cite: "Act § 1"}}
decides: {for: household, period: month, parameters_at: period.end, currency: DKK}
members: {facts: {age: {type: years, from: residency.birth_date, range: 0..130}}}
aggregates: {children: {count: age < 18}}
parameters: {rate: {type: money, law: P1, from: {2024-01-01: 100}}}
eligible_when: []
amount: {steps: [{id: paid, is: children * rate}], pay: paid}
tests:
  - {name: first, given: {members: [{age: 8}], period: 2023-06}, expect: {amount: 100}}
"""
    assert load_rule(text.replace("2023-06", "2024-06"), catalogue).tests[0].given == {"children": 1}
    assert problems(text, catalogue) == (
        "tests[0].given.period: 2023-06 ends on 2023-06-30, the rule is in force from 2024-01-01 (line 13, column 56). Give another period, or mend in_force."
    )


def test_a_mistake_that_leaves_a_test_without_a_rule_in_force_is_noticed_by_the_check(catalogue):
    told = [one for one in mutate(GOOD, catalogue) if isinstance(one, Outcome) and one.path == "in_force.from"]
    assert [(one.now, one.noticed_by) for one in told] == [("2022-01-02", "the check")]
