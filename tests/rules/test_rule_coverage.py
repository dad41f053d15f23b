"""What the tests of a rule reach: every kind of branch is named where no test goes it, and the shipped rules leave none out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_rule_oracle import a_period, documents, loaded, rows
from typer.testing import CliRunner

from pipeline.rules import load_rule
from pipeline.rules.coverage import branch_coverage
from pipeline.rules.rule import Case
from streams.commands.rules import app

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = sorted((ROOT / "benefits").rglob("*.yaml"))
TEXT = """\
format: benefit-rule/1
benefit: branches
title: {en: Branches}
in_force: {from: 2022-01-01, to: 2023-12-31}
law: {P1: {cite: Act § 1}}
decides: {for: person, period: quarter, parameters_at: period.start}
facts:
  age: {type: years, from: residency.birth_date, at: period.start}
  born: {type: date, from: residency.birth_date, at: period.start, range: 1900-01-01..2023-12-31}
  resident: {type: yes_no, from: residency.resident, if_missing: {assume: "no"}}
  income: {type: money, per: year, from: tax.income, year: period.year, range: 0..1_000_000}
parameters:
  rate: {type: money, law: P1, by: {age: [0-6, 7-17, 18..]}, from: {2022-01-01: [300, 200, 100], 2023-01-01: [330, 220, 110]}}
  yearly: {type: money, per: year, law: P1, from: {2022-01-01: 1_001}}
eligible_when:
  - {id: old, when: "years(born, period.start) >= 5", law: P1}
excluded_when:
  - {id: resident, when: resident, law: P1}
amount:
  steps:
    - {id: less, taper: {of: income, above: 100_000, rate: 5 %, spread: 4}}
    - {id: over, taper: {of: income, from: 200_000, until: 300_000, take: 100}}
    - {id: tax, scale: {of: "spread(income, 4)", brackets: [{above: 10_000, rate: 1 %}, {above: 20_000, rate: 2 %}]}}
    - {id: part, spread: {of: yearly, remainder: last}}
    - id: extra
      table:
        type: money
        hit: first
        rows:
          - {when: {age: 0-2}, gives: 5}
          - {gives: 1}
    - {id: chosen, is: "rate if age < 18 else extra"}
    - {id: net, is: "chosen + part + extra - less - over - tax", floor: 0, cap: 500, round: {to: 0.01, mode: half_up}}
  pay: net
tests:
  - {name: first, given: {age: 8, born: 2014-01-01, resident: "no", income: 0, period: 2022-Q1}, expect: {decision: granted}}
"""
ALL = {
    "eligible_when[0].when": {"old held", "old not held", "old unknown"},
    "excluded_when[0].when": {"resident held", "resident not held"},
    "amount.steps[0].taper": {"less: income below 100_000", "less: income at 100_000", "less: income above 100_000"},
    "amount.steps[1].taper": {
        "over: income below 200_000", "over: income at 200_000", "over: income between 200_000 and 300_000",
        "over: income at 300_000", "over: income above 300_000",
    },
    "amount.steps[2].scale.brackets[0]": {"tax: spread(income, 4) not above 10_000", "tax: spread(income, 4) in the bracket above 10_000"},
    "amount.steps[2].scale.brackets[1]": {"tax: spread(income, 4) in the bracket above 20_000"},
    "amount.steps[3].spread": {"part: the last period, with the remainder", "part: a period without it"},
    "amount.steps[4].table.rows[0]": {"extra: row 0"},
    "amount.steps[4].table.rows[1]": {"extra: row 1"},
    "amount.steps[5]": {"age < 18", "not age < 18"},
    "amount.steps[6].cap": {"net: the cap 500 bites", "net: the cap 500 does not bite"},
    "amount.steps[6].floor": {"net: the floor 0 bites", "net: the floor 0 does not bite"},
    "parameters.rate.by": {"rate where age 0 to 6", "rate where age 7 to 17", "rate where age 18 to 150"},
}  # fmt: skip
DAYS = {
    "in_force.from": {"the first period from 2022-01-01, 2022-Q1"},
    "in_force.to": {"the last period before 2024-01-01, 2023-Q4"},
    "parameters.rate.from": {"the first period from 2023-01-01, 2023-Q1", "the last period before 2023-01-01, 2022-Q4"},
    "eligible_when[0].when": {"the birthday on which years(born, period.start) becomes 5", "the day before years(born, period.start) becomes 5"},
    "amount.steps[5]": {"age 18, from the birthday on", "age 17, up to the day before the birthday"},
}


@pytest.fixture
def unasked_solver(monkeypatch):
    """The solver takes its time over each branch that is not reached, and closes none of these."""
    monkeypatch.setattr("pipeline.rules.coverage.solver_installed", lambda: False)


def without_tests(catalogue):
    return replace(load_rule(TEXT, catalogue), tests=())


def by_place(unreached):
    found = {}
    for one in unreached:
        found.setdefault(one.path, set()).add(one.text)
    return found


@pytest.mark.usefixtures("unasked_solver")
def test_every_branch_row_and_key_is_named_where_there_is_no_test(catalogue):
    covered = branch_coverage(without_tests(catalogue))
    assert by_place(covered.missing) == ALL
    assert (covered.full, covered.percent, covered.branches) == (False, 0, sum(map(len, ALL.values())))


@pytest.mark.usefixtures("unasked_solver")
def test_every_boundary_day_is_named_where_there_is_no_test(catalogue):
    found = by_place(branch_coverage(without_tests(catalogue)).days)
    assert {place: texts & found.get(place, set()) for place, texts in DAYS.items()} == DAYS


@pytest.mark.usefixtures("unasked_solver")
def test_what_is_named_has_the_line_on_which_it_stands(catalogue):
    lines = TEXT.splitlines()
    for one in branch_coverage(without_tests(catalogue)).missing:
        key = one.path.rpartition(".")[2].partition("[")[0]
        assert key in ("rows", "brackets", "steps") or f"{key}:" in lines[one.line - 1]


@pytest.mark.usefixtures("unasked_solver")
def test_a_test_takes_away_what_it_reaches_and_nothing_else(catalogue):
    covered = branch_coverage(load_rule(TEXT, catalogue))
    reached = {place: ALL[place] - by_place(covered.missing).get(place, set()) for place in ALL}
    assert {place: texts for place, texts in reached.items() if texts} == {
        "eligible_when[0].when": {"old held"},
        "excluded_when[0].when": {"resident not held"},
        "amount.steps[0].taper": {"less: income below 100_000"},
        "amount.steps[1].taper": {"over: income below 200_000"},
        "amount.steps[2].scale.brackets[0]": {"tax: spread(income, 4) not above 10_000"},
        "amount.steps[3].spread": {"part: a period without it"},
        "amount.steps[4].table.rows[1]": {"extra: row 1"},
        "amount.steps[5]": {"age < 18"},
        "amount.steps[6].cap": {"net: the cap 500 does not bite"},
        "amount.steps[6].floor": {"net: the floor 0 does not bite"},
        "parameters.rate.by": {"rate where age 7 to 17"},
    }


@pytest.mark.usefixtures("unasked_solver")
def test_a_birthday_and_the_day_before_it_are_told_apart(catalogue):
    for born, standing in (("2017-01-01", "the birthday on which"), ("2017-01-02", "the day before"), ("2016-12-31", "")):
        days = by_place(branch_coverage(load_rule(TEXT.replace("2014-01-01", born), catalogue)).days)["eligible_when[0].when"]
        assert {text for text in DAYS["eligible_when[0].when"] if text not in days} == {
            text for text in DAYS["eligible_when[0].when"] if standing and standing in text
        }


@pytest.mark.usefixtures("unasked_solver")
def test_a_test_that_expects_nothing_reaches_nothing(catalogue):
    unfinished = load_rule(TEXT.replace("expect: {decision: granted}", "expect: {}"), catalogue)
    assert by_place(branch_coverage(unfinished).missing) == ALL


@pytest.mark.usefixtures("unasked_solver")
def test_a_branch_that_the_ranges_of_the_facts_rule_out_is_not_asked_for(catalogue):
    text = TEXT.replace("floor: 0, cap: 500", "floor: 0, cap: 100_000").replace("above: 100_000, rate: 5 %", "above: 2_000_000, rate: 5 %")
    found = by_place(branch_coverage(replace(load_rule(text, catalogue), tests=())).missing)
    assert found["amount.steps[6].cap"] == {"net: the cap 100_000 does not bite"}
    assert found["amount.steps[0].taper"] == {"less: income below 2_000_000"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_the_tests_of_a_shipped_rule_reach_every_branch(path, catalogue):
    covered = branch_coverage(load_rule(path.read_text(encoding="utf-8"), catalogue))
    assert (covered.missing, covered.percent) == ((), 100)


@pytest.mark.usefixtures("unasked_solver")
def test_below_all_branches_the_command_ends_with_1_and_names_them(tmp_path):
    text = (ROOT / "benefits/dk-heat-cheque/2022-04-01.yaml").read_text(encoding="utf-8")
    path = tmp_path / "rule.yaml"
    head, tests = text.split("tests:\n")
    kept = "".join("  - name" + one for one in tests.split("approvals:")[0].split("  - name")[1:] if "unknown heating" not in one)
    path.write_text(f"{head}tests:\n{kept}approvals:{tests.split('approvals:')[1]}", encoding="utf-8")
    plain, covered = (CliRunner().invoke(app, ["test", str(path), *more]) for more in ((), ("--coverage",)))
    assert (plain.exit_code, covered.exit_code) == (0, 1)
    assert "eligible_when[0].when: heating unknown" in covered.stdout
    told = json.loads(CliRunner().invoke(app, ["test", str(path), "--coverage", "--json"]).stdout)["documents"][0]["coverage"]
    assert (told["full"], [one["text"] for one in told["missing"]]) == (False, ["heating unknown"])
    assert told["percent"] == 100 * (told["branches"] - 1) // told["branches"]


IMPOSSIBLE = TEXT.replace("- {id: chosen, is:", '- {id: half, is: rate / 2}\n    - {id: rest, is: "rate - half", floor: 0}\n    - {id: chosen, is:').replace(
    "chosen + part", "chosen + rest + part"
)
"""With a floor that interval arithmetic asks for, since a half of one rate may be more than another rate."""


def test_a_branch_that_the_solver_proves_closed_to_everybody_is_named_apart_and_not_asked_for(catalogue):
    covered = branch_coverage(replace(load_rule(IMPOSSIBLE, catalogue), tests=()))
    assert by_place(covered.nobody) == {"amount.steps[6].floor": {"rest: the floor 0 bites"}}
    assert by_place(covered.missing)["amount.steps[6].floor"] == {"rest: the floor 0 does not bite"}
    assert covered.branches == len(covered.missing)


def test_without_the_solver_it_says_that_the_branch_may_be_closed_and_how_to_get_it(catalogue, monkeypatch):
    monkeypatch.setattr("pipeline.rules.coverage.solver_installed", lambda: False)
    covered = branch_coverage(replace(load_rule(IMPOSSIBLE, catalogue), tests=()))
    assert by_place(covered.missing)["amount.steps[6].floor"] == {"rest: the floor 0 bites", "rest: the floor 0 does not bite"}
    assert covered.nobody == ()
    assert covered.unproved == "Whether anybody can reach them is not known: the solver is not installed: pip install 'payout[prove]'"


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents(), st.lists(rows, min_size=2, max_size=6))
def test_more_tests_never_reach_less(text, people):
    rule = loaded(text)
    cases = tuple(Case(str(number), row, a_period(rule, row), row["event_day"], "granted", None, None, {}, "") for number, row in enumerate(people))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.rules.coverage.solver_installed", lambda: False)  # what it closes is closed whatever the tests reach
        some, all_, none = (set(branch_coverage(replace(rule, tests=tests)).missing) for tests in (cases[:1], cases, ()))
    assert all_ <= some <= none
    assert some < none


@pytest.mark.usefixtures("unasked_solver")
def test_a_member_with_and_a_member_without_what_an_aggregate_asks_are_both_wanted(catalogue):
    text = (ROOT / "benefits/jp-fixed-sum-2020/2020-04-30.yaml").read_text(encoding="utf-8")
    rule = load_rule(text, catalogue)
    by_head = replace(rule, tests=tuple(case for case in rule.tests if case.members is None))
    resident = {"registered": True, "alive": True}
    only_residents = replace(rule, tests=tuple(case for case in rule.tests if case.members and all(member == resident for member in case.members)))
    place = "aggregates.residents.count"
    assert by_place(branch_coverage(by_head).missing)[place] == {"a member with registered and alive", "a member without registered and alive"}
    assert by_place(branch_coverage(only_residents).missing)[place] == {"a member without registered and alive"}
    assert branch_coverage(rule).full
