"""Small mistakes in a rule document: which are made, that they are undone, and that the tests of the shipped rules notice every one."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from test_rule_coverage import SHIPPED, TEXT
from test_rule_oracle import CATALOGUE, documents, loaded
from typer.testing import CliRunner

from pipeline.documents import parse_document
from pipeline.rules import load_rule
from pipeline.rules.check import rule_hash, rule_of
from pipeline.rules.mutations import Outcome, mutate, mutations, noticed_by
from pipeline.rules.slips import expression_slips, key_slips, shifted_keys, value_slips
from streams.commands.rules import app

ROOT = Path(__file__).resolve().parent.parent.parent


def made(text, catalogue):
    """(place, was, now) of every mistake."""
    return {(one.path, one.was, one.now) for one in mutate(text, catalogue) if isinstance(one, Outcome)}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_the_tests_of_a_shipped_rule_notice_every_mistake(path, catalogue):
    total, *outcomes = mutate(path.read_text(encoding="utf-8"), catalogue)
    assert total == len(outcomes) > 5
    assert [one for one in outcomes if not one.noticed_by] == []


@pytest.mark.parametrize(
    ("text", "slips"),
    [
        ("4_653", ["4652", "4654"]), ("0", ["-1", "1"]), ("250.50", ["250.49", "250.51"]), ("-0.05", ["-0.06", "-0.04"]), ("5 %", ["4 %", "6 %"]),
        ("1/3", ["0/3", "2/3"]), ("2024-02-29", ["2024-02-28", "2024-03-01"]), ("single", []),
    ],
)  # fmt: skip
def test_a_value_is_one_less_and_one_more_in_its_last_place(text, slips):
    assert value_slips(text) == slips


@pytest.mark.parametrize(
    ("text", "slips"),
    [
        ("age < 15", {"age <= 15", "age < 14", "age < 16"}),
        ("a >= 1 and not b", {"a > 1 and not b", "a >= 0 and not b", "a >= 2 and not b", "a >= 1 or not b"}),
        ("a or b or c", {"a and b or c", "a or b and c"}),
        ("max(a - b, 0)", {"min(a - b, 0)", "max(a + b, 0)", "max(a - b, -1)", "max(a - b, 1)"}),
        ('s in ["x"]', {'s not in ["x"]'}),
        ('day == date("2022-01-01")', {'day != date("2022-01-01")', 'day == date("2021-12-31")', 'day == date("2022-01-02")'}),
        ('"ø" == s and full_steps(a, 10) > b', {
            '"ø" != s and full_steps(a, 10) > b', '"ø" == s or full_steps(a, 10) > b', '"ø" == s and started_steps(a, 10) > b',
            '"ø" == s and full_steps(a, 9) > b', '"ø" == s and full_steps(a, 11) > b', '"ø" == s and full_steps(a, 10) >= b',
        }),
    ],
)  # fmt: skip
def test_an_expression_has_one_thing_changed_at_a_time(text, slips):
    assert {slip.of(text) for slip in expression_slips(text)} == slips


def test_a_condition_in_which_nothing_can_be_changed_is_turned_round():
    assert [slip.of(" resident ") for slip in expression_slips(" resident ", condition=True)] == [" not (resident) "]


def test_keys_move_their_ends_and_the_boundary_between_two_of_them():
    assert list(key_slips("3-6")) == ["2-6", "4-6", "3-5", "3-7"]
    assert list(key_slips("15..")) == ["14..", "16.."]
    assert list(key_slips("..<10_000")) == ["..<9999", "..<10001"]
    assert list(shifted_keys("0-2", "3-6")) == [("0-1", "2-6"), ("0-3", "4-6")]
    assert list(shifted_keys("0..<10_000", "10_000..")) == [("0..<9999", "9999.."), ("0..<10001", "10001..")]
    assert list(shifted_keys("0-2", "4-6")) == []


def test_mistakes_are_made_in_every_part_of_a_document_that_decides(catalogue):
    found = made(TEXT, catalogue)
    assert found >= {
        ("in_force.from", "2022-01-01", "2022-01-02"),
        ("facts.resident.if_missing.assume", "no", "yes"),
        ("parameters.rate.by.age[0]", "0-6", "0-7"),
        ("parameters.rate.from.2023-01-01", "2023-01-01", "2023-01-02"),
        ("parameters.rate.from.2023-01-01[1]", "220", "221"),
        ("eligible_when[0].when", ">=", ">"),
        ("excluded_when[0].when", "resident", "not (resident)"),
        ("amount.steps[0].taper.above", "100_000", "100001"),
        ("amount.steps[0].taper.rate", "5 %", "6 %"),
        ("amount.steps[0].taper.spread", "4", "5"),
        ("amount.steps[1].taper.until", "300_000", "299999"),
        ("amount.steps[2].scale.brackets[1].rate", "2 %", "1 %"),
        ("amount.steps[3].spread.remainder", "last", "first"),
        ("amount.steps[4].table.rows[0].when.age", "0-2", "0-3"),
        ("amount.steps[4].table.rows[1].gives", "1", "2"),
        ("amount.steps[5].is", "<", "<="),
        ("amount.steps[6].is", "+", "-"),
        ("amount.steps[6].cap", "500", "501"),
        ("amount.steps[6].floor", "0", "-1"),
        ("amount.steps[6].round.mode", "half_up", "down"),
    }


def test_a_change_that_no_decision_can_feel_is_not_made(catalogue):
    found = made(TEXT.replace("{2022-01-01: 1_001}", "{2014-01-01: 7, 2020-01-01: 1_001}"), catalogue)
    assert not [one for one in found if one[0].startswith("parameters.yearly.from.2014-01-01")]
    assert ("parameters.yearly.from.2020-01-01", "2020-01-01", "2020-01-02") not in found
    assert ("parameters.rate.from.2023-01-01", "2023-01-01", "2022-12-31") not in found


def test_the_document_is_whole_again_after_every_mistake(catalogue):
    root = parse_document(TEXT)
    before = rule_hash(root)
    for mutation in mutations(root, rule_of(root, catalogue)):
        noticed_by(root, mutation, catalogue)
        assert rule_hash(root) == before


def test_a_mistake_that_no_test_notices_is_named_with_its_line_and_column(tmp_path):
    path = tmp_path / "rule.yaml"
    text = (ROOT / "benefits/dk-heat-cheque/2022-04-01.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("650_000.01", "651_000").replace("personal_income: 650_000,", "personal_income: 649_000,"), encoding="utf-8")
    result = CliRunner().invoke(app, ["mutate", str(path)])
    line, column = next((number, one.index("<=") + 1) for number, one in enumerate(text.splitlines(), 1) if "household_income <= income_limit" in one)
    assert result.exit_code == 1
    assert f"{path}:{line}:{column}: eligible_when[1].when: no test notices < instead of <=" in result.stdout.splitlines()
    told = json.loads(CliRunner().invoke(app, ["mutate", str(path), "--json"]).stdout)
    assert result.stdout.splitlines()[-1] == f"{told['noticed']} of {told['made']} noticed"
    assert (told["ok"], told["made"] - told["noticed"]) == (False, len(told["documents"][0]["unnoticed"]))


HARMLESS = """\
format: benefit-rule/1
benefit: example
title: {en: Example}
in_force: {from: 2024-01-01, to: null}
law: {P1: {cite: "Act § 1"}}
decides: {for: household, period: year, parameters_at: period.start, currency: DKK}
members: {most: 5, facts: {pay: {type: money, from: tax.income, year: period.year, range: 0..1_000_000}}}
aggregates: {highest: {max: pay, if_none: 0}, lowest: {min: pay, if_none: 0}}
parameters: {free: {type: money, law: P1, from: {2024-01-01: 100}}, full: {type: money, law: P1, from: {2024-01-01: 500}}}
eligible_when: []
amount:
  steps:
    - {id: above, is: positive(highest - free)}
    - {id: paid, is: full - above + lowest, floor: 0, round: {to: 10, mode: down}}
  pay: paid
"""


def test_a_mistake_that_nobody_can_notice_is_left_out_and_counted(tmp_path, catalogue):
    told = {(one.path, one.now): one.harmless for one in mutate(HARMLESS, catalogue, timeout_s=5) if isinstance(one, Outcome) and not one.noticed_by}
    assert {now: harmless for (path, now), harmless in told.items() if path == "aggregates.highest.if_none"} == {"-1": True, "1": True}
    assert {now: harmless for (path, now), harmless in told.items() if path == "aggregates.lowest.if_none"} == {"-1": False, "1": False}
    assert {now: harmless for (path, now), harmless in told.items() if path == "amount.steps[1].floor"} == {"-1": True, "1": True}
    assert not any(harmless for (path, _), harmless in told.items() if path.startswith(("parameters", "in_force", "aggregates.lowest")))
    assert not any(one.harmless for one in mutate(HARMLESS, catalogue) if isinstance(one, Outcome))
    path = tmp_path / "rule.yaml"
    path.write_text(HARMLESS.replace("tax.income", "dk_tax.income"), encoding="utf-8")
    result = CliRunner().invoke(app, ["mutate", str(path)])
    assert result.stdout.splitlines()[-1].endswith(f"; {sum(told.values())} left out, of which the solver proves that nobody can notice them")
    assert "highest.if_none" not in result.stdout
    said = json.loads(CliRunner().invoke(app, ["mutate", str(path), "--json"]).stdout)
    assert (said["ok"], said["harmless"]) == (False, sum(told.values()))


def test_a_document_whose_own_tests_fail_is_not_asked_what_they_notice(tmp_path, catalogue):
    path = tmp_path / "rule.yaml"
    path.write_text((ROOT / "benefits/dk-heat-cheque/2022-04-01.yaml").read_text(encoding="utf-8").replace("amount: 6_000}", "amount: 6_001}", 1))
    assert load_rule(path.read_text(encoding="utf-8"), catalogue).tests
    result = CliRunner().invoke(app, ["mutate", str(path)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "own tests come first" in result.stderr


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_every_mistake_in_a_document_makes_another_document_or_one_that_is_refused(text):
    loaded(text)
    outcomes = [one for one in islice(mutate(text, CATALOGUE), 25) if isinstance(one, Outcome)]
    assert {one.noticed_by for one in outcomes} <= {"", "the check"}
    assert all(one.was != one.now for one in outcomes)
    lines = text.splitlines()
    assert all(lines[one.line - 1][one.column - 1 :].startswith(one.was) for one in outcomes if one.was in lines[one.line - 1])
