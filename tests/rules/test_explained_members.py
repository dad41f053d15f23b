"""What is explained of households: only what was decided is told, which member's which fact is unknown, and which keys picked a value."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from connectors.languages import load_language
from connectors.registries import load_registries
from pipeline.rules import decide, explain, letter, load_rule, parse_period, run_tests
from pipeline.rules.tables import fact_table
from pipeline.texts import ENGLISH
from streams.commands.rules import app

ROOT = Path(__file__).resolve().parent.parent.parent
DANISH = load_language("da", ROOT / "locales")
REGISTRIES = load_registries(ROOT / "registries")
MONTH = parse_period("2022-01")
DOCUMENT = """format: benefit-rule/1
benefit: families
title: {en: Families}
in_force: {from: 2022-01-01, to: 2022-12-31}
law: {P1: {cite: "§ 1"}}
decides: {for: household, period: month, parameters_at: period.start, currency: NZD}
members:
  at: period.start
  most: 10
  facts:
    age: {type: years, from: residency.birth_date, at: period.start}
    alive: {type: yes_no, from: residency.alive, at: period.start}
aggregates:
  children: {count: age < 18 and alive}
  supplements: {sum: supplement, where: age < 18 and alive, title: {en: supplements}}
parameters:
  first: {type: money, law: P1, from: {2022-01-01: 100}}
  supplement: {type: money, law: P1, by: {age: [0-5, 6..]}, from: {2022-01-01: [50, 20]}}
  share: {type: ratio, law: P1, by: {children: [0, 1-2, 3..]}, from: {2022-01-01: [0, 1/3, 1/2]}}
eligible_when:
  - {id: a_child, when: children > 0, law: P1}
amount:
  steps:
    - {id: part, is: first * share, law: P1}
    - {id: total, is: part + supplements, round: {to: 0.01, mode: half_up}, law: P1}
  pay: total
"""
RULE = load_rule(DOCUMENT, REGISTRIES.catalogue)
ONE_AGGREGATE = load_rule(
    DOCUMENT.replace("  supplements: {sum: supplement, where: age < 18 and alive, title: {en: supplements}}\n", "")
    .replace("  supplement: {type: money, law: P1, by: {age: [0-5, 6..]}, from: {2022-01-01: [50, 20]}}\n", "")
    .replace(" + supplements", ""),
    REGISTRIES.catalogue,
)


def told(rule, members, language=ENGLISH):
    table = fact_table(rule, pl.DataFrame({"subject": ["h-1"], "members": [members]}), MONTH)
    people = [(f"{number}", member, {}) for number, member in enumerate(members, 1)]
    return explain(rule, decide(rule, table, MONTH).row(0, named=True), table.row(0, named=True), MONTH, "h-1", language=language, members=people)


def test_no_amount_is_told_of_a_change_in_one_of_several_aggregates_of_the_same_members():
    """One more child of 3 would bring 83.33; with the number alone changed it would seem to be 33.33."""
    said = told(RULE, [{"age": 40, "alive": True}])
    assert said.decision == "refused"
    (change,) = said.changes
    assert (change.fact, change.value, change.amount_minor) == ("children", 1, None)
    assert change.text == "Children: 1 instead of 0. A member would have to be there, or be another; that may change more than this, so no amount is told."
    assert "33.33" not in letter(said)
    assert "Et medlem skulle være der" in letter(told(RULE, [{"age": 40, "alive": True}], DANISH), DANISH)


def test_an_amount_is_told_where_a_rule_makes_one_thing_of_the_members():
    (change,) = told(ONE_AGGREGATE, [{"age": 40, "alive": True}]).changes
    assert (change.fact, change.value, change.amount_minor) == ("children", 1, 33_33)


def test_an_amount_that_no_decimals_say_is_told_as_about_the_nearest_and_kept_exactly_beside_it():
    family = [{"age": 3, "alive": True}]
    (part,) = [step for step in told(RULE, family).steps if step.id == "part"]
    assert (part.value, part.exact) == ("about 33.33 NZD", "10000/3")
    (danish,) = [step for step in told(RULE, family, DANISH).steps if step.id == "part"]
    assert danish.value == "ca. 33,33 NZ$"


TESTED = """tests:
  - {name: a third, given: {children: 1, supplements: 0, period: 2022-01}, expect: {part: PART}}
"""


@pytest.mark.parametrize(("part", "said"), [
    ("100/4", "expected part 25.00 NZD, got about 33.33 NZD"), ("33.33", "expected part 33.33 NZD, got about 33.33 NZD"),
    ("1_000/31", "expected part about 32.26 NZD, got about 33.33 NZD"), ("10_001/300", "expected part about 33.34 NZD, got about 33.33 NZD"),
    ("100_001/3_000", "expected part 100001/30 minor units, got 10000/3 minor units"),
])  # fmt: skip
def test_a_failing_test_tells_amounts_that_differ_so_that_they_differ(part, said):
    (result,) = run_tests(load_rule(DOCUMENT + TESTED.replace("PART", part), REGISTRIES.catalogue))
    assert result.told() == [said]


def test_a_household_that_waits_is_told_which_fact_of_which_member_is_not_known():
    """Nothing is asked of a grown-up of whom it is not known whether they live."""
    family = [{"age": 40, "alive": None}, {"age": None, "alive": True}, {"age": 3, "alive": True}]
    missing = {item.fact: item.text for item in told(RULE, family).unknown}
    assert missing["children"] == "Children is not known. Not known of 2: age."
    assert missing["supplements"].endswith("Not known of 2: age.")
    assert "Ikke oplyst om 2: age." in letter(told(RULE, family, DANISH), DANISH)


def test_the_command_tells_the_members_of_the_household(tmp_path):
    rule, homes, people = tmp_path / "rule.yaml", tmp_path / "homes.csv", tmp_path / "people.csv"
    rule.write_text(DOCUMENT, encoding="utf-8")
    homes.write_text("subject\nh-1\nh-2\n", encoding="utf-8")
    people.write_text("household,member,age,alive\nh-1,Ann,40,yes\nh-1,Bea,,yes\nh-2,Cid,,yes\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["explain", str(rule), "--facts", str(homes), "--members", str(people), "--subject", "h-1", "--period", "2022-01"])
    assert result.exit_code == 0
    assert "Not known of Bea: age." in result.stdout
    assert "Cid" not in result.stdout


@pytest.mark.parametrize(("children", "keys"), [(1, "children 1-2"), (2, "children 1-2"), (4, "children 3-10")])
def test_a_value_by_key_is_told_with_the_key_that_picked_it(children, keys):
    said = told(RULE, [{"age": 3, "alive": True}] * children)
    assert {figure.name: figure.keys for step in said.steps for figure in step.used}["share"] == keys
    assert f"({keys})" in letter(said)
