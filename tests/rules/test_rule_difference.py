"""What changed between two documents is said in words, and nothing where nothing changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.rules import load_rule
from pipeline.rules.difference import changes
from streams.commands.rules import app

BENEFITS = Path(__file__).resolve().parent.parent.parent / "benefits"
CHILD = (BENEFITS / "dk-child-benefit/2022-01-01.yaml").read_text()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("2024-01-01: 882_700}", "2024-01-01: 900_000}", "parameter 'income_limit', from 2024-01-01: 882700 -> 900000 (Børne- og ungeydelsesloven § 1 a)"),
        ("2024-01-01: 882_700}", "2024-01-01: {value: 882_700, law: P1}}",
         "parameter 'income_limit', from 2024-01-01: 882700 -> value: 882700, law: P1 (Børne- og ungeydelsesloven § 1)"),
        ("2024-01-01: 882_700}", "2024-01-01: 882_700, 2025-01-01: 917_000}",
         "parameter 'income_limit', from 2025-01-01 added: 917000 (Børne- og ungeydelsesloven § 1 a)"),
        ("[4_653, 3_681, 2_898]", "[4_653, 3_700, 2_898]",
         "parameter 'rate', from 2022-01-01: [4653, 3681, 2898] -> [4653, 3700, 2898] (Børne- og ungeydelsesloven § 1)"),
        ('"age < 15"', '"age < 14"', "condition 'under_15', when: age < 15 -> age < 14 (Børne- og ungeydelsesloven § 1)"),
        ("excluded_when: []", 'excluded_when: [{id: rich, when: "income > income_limit", law: P1a}]',
         "exclusion 'rich' added: when: income > income_limit, law: P1a (Børne- og ungeydelsesloven § 1 a)"),
        ("mode: half_up", "mode: down", "step 'net', round, mode: half_up -> down"),
        ("accept: [final, preliminary]", "accept: [final]", "fact 'income', accept: [final, preliminary] -> [final]"),
        ("closed_day: before", "closed_day: after", "payment, closed_day: before -> after"),
    ],
)  # fmt: skip
def test_a_change_is_said_with_its_place_and_its_law(before, after, told, catalogue):
    assert CHILD.count(before) == 1
    found = changes(load_rule(CHILD, catalogue), load_rule(CHILD.replace(before, after), catalogue))
    assert [str(change) for change in found] == [told]


@pytest.mark.parametrize("path", sorted(BENEFITS.rglob("*.yaml")), ids=lambda path: path.parent.name)
def test_a_document_does_not_differ_from_itself_written_otherwise(path, catalogue):
    text = path.read_text()
    rule = load_rule(text, catalogue)
    again = load_rule("# another comment\n" + re.sub(r"(?<=[ \[])(\d+)_(\d{3})(?=[],}])", r"\1\2", text), catalogue)
    assert (changes(rule, again), again.hash) == ([], rule.hash)


def test_steps_in_another_order_are_told(catalogue):
    full = next(line + "\n" for line in CHILD.splitlines() if "{id: full" in line)
    reduction = next(line + "\n" for line in CHILD.splitlines() if "{id: reduction" in line)
    found = changes(load_rule(CHILD, catalogue), load_rule(CHILD.replace(full + reduction, reduction + full), catalogue))
    assert [str(change) for change in found] == ["the order of the steps: full, reduction, net -> reduction, full, net"]


def test_the_command_says_that_two_documents_say_the_same():
    path = str(BENEFITS / "us-eip1/2020-03-27.yaml")
    result = CliRunner().invoke(app, ["diff", path, path])
    assert (result.exit_code, result.stdout) == (0, "The documents say the same.\n")
