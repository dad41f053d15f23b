"""The recipes of the cookbook: each loads with the registries it names, and passes its own tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectors.registries import load_registries
from pipeline.registry import Registries, load_registry
from pipeline.rules import load_rule, run_tests
from pipeline.rules.coverage import branch_coverage

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/rules/cookbook.md").read_text(encoding="utf-8")
REGISTRIES = Registries(
    [*load_registries(ROOT / "registries").registries, *(load_registry(text) for text in re.findall(r"```yaml registry\n(.*?)```", PAGE, re.DOTALL))]
)
RECIPES = {re.search(r"^benefit: (\S+)", text, re.MULTILINE)[1]: text for text in re.findall(r"```yaml recipe\n(.*?)```", PAGE, re.DOTALL)}


def test_there_are_eleven_recipes_each_in_the_list_at_the_top():
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert len(RECIPES) == len(headings) == 11
    assert re.findall(r"^\| \[(.*?)\]", PAGE, re.MULTILINE) == headings


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_passes_its_own_tests(name: str):
    results = run_tests(load_rule(RECIPES[name], REGISTRIES.catalogue))
    assert [str(result) for result in results if not result.passed] == []
    assert len(results) >= 6


@pytest.mark.parametrize("name", RECIPES)
def test_the_tests_of_a_recipe_reach_every_branch(name: str):
    coverage = branch_coverage(load_rule(RECIPES[name], REGISTRIES.catalogue))
    assert [str(missing) for missing in coverage.missing] == []
