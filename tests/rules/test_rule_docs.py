"""The pages about rules: every snippet loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.rules import load_rule, run_tests
from pipeline.rules.expressions import FUNCTIONS

DOCS = Path(__file__).resolve().parent.parent.parent / "docs/rules"
FRAME = """\
format: benefit-rule/1
benefit: page
title: {{en: Page}}
in_force: {{from: 2022-01-01}}
law: {{P1: {{cite: A}}, P2: {{cite: B}}}}
decides: {{for: person, period: quarter, parameters_at: period.start}}
facts:
{facts}
parameters:
{parameters}
eligible_when: []
amount:
  steps:
{steps}
  pay: net
"""


def snippets(page: str) -> list[tuple[str, str]]:
    return re.findall(r"```yaml *(\w*)\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_tutorials_document_loads_and_passes_its_tests(catalogue):
    ((_, text),) = snippets("tutorial.md")
    assert [result.passed for result in run_tests(load_rule(text, catalogue))] == [True] * 4


def test_the_mistake_that_the_tutorial_shows_is_told_so(catalogue):
    ((_, text),) = snippets("tutorial.md")
    with pytest.raises(ValueError, match="unknown name") as refused:
        load_rule(text.replace("is: full_amount", "is: ful_amount"), catalogue)
    assert f"`{refused.value}`" in (DOCS / "tutorial.md").read_text()


def test_the_snippets_of_the_reference_make_one_rule(catalogue):
    parts = {name: re.sub("^", "    " if name == "steps" else "  ", body.rstrip(), flags=re.MULTILINE) for name, body in snippets("reference.md")}
    assert set(parts) == {"facts", "parameters", "steps"}
    rule = load_rule(FRAME.format(**parts), catalogue)
    assert [step.id for step in rule.steps] == ["reduction", "in_steps", "rate_in_steps", "over_a_range", "tax", "supplement", "this_quarter", "full", "net"]


def test_the_reference_names_every_function():
    text = (DOCS / "reference.md").read_text()
    assert [name for name in FUNCTIONS if f"`{name}(" not in text and f" `{name}(" not in text] == []
