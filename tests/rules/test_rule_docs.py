"""The pages about rules: every snippet loads."""

from __future__ import annotations

import re
from contextlib import chdir
from pathlib import Path
from textwrap import dedent

from typer.testing import CliRunner

from pipeline.rules import document_schema, load_rule, run_tests
from pipeline.rules.expressions import FUNCTIONS
from streams.commands.rules import app

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


def test_the_mistake_that_the_tutorial_shows_is_told_so(tmp_path):
    ((_, text),) = snippets("tutorial.md")
    with chdir(tmp_path):
        Path("heating.yaml").write_text(text.replace("is: full_amount", "is: ful_amount"), encoding="utf-8")
        shown = CliRunner().invoke(app, ["check", "heating.yaml"]).stderr.splitlines()
    assert "\n".join(shown[:-1]) in (DOCS / "tutorial.md").read_text()


HOUSEHOLD = """\
format: benefit-rule/1
benefit: page
title: {en: Page}
in_force: {from: 2022-01-01}
law: {P1: {cite: A}}
decides: {for: household, period: year, parameters_at: period.start, currency: DKK}
MEMBERS
parameters:
  supplement: {type: money, by: {age: [0-2, 3-17]}, from: {2022-01-01: [100, 50]}}
eligible_when:
  - {id: family, when: children > 0 or a_pensioner}
amount:
  steps:
    - {id: net, is: child_supplements}
  pay: net
tests:
  - name: two children
    given: {period: 2022, members: [{age: 1, alive: yes, income: 0}, {age: 8, alive: yes, income: 0}, {age: 40, alive: yes, income: 500_000}]}
    expect: {decision: granted, amount: 150}
"""


def test_the_members_of_the_page_about_the_language_make_a_rule(catalogue):
    members = dict(snippets("language.md"))["members"]
    (result,) = run_tests(load_rule(HOUSEHOLD.replace("MEMBERS", members.rstrip()), catalogue))
    assert str(result) == "test 'two children': as expected"


def test_the_snippets_of_the_page_about_the_language_make_one_rule(catalogue):
    parts = {name: re.sub("^", "    " if name == "steps" else "  ", body.rstrip(), flags=re.MULTILINE) for name, body in snippets("language.md")}
    parts.pop("members")
    payment = parts.pop("payment")
    assert set(parts) == {"facts", "parameters", "steps"}
    rule = load_rule(FRAME.format(**parts) + dedent(payment) + "\n", catalogue)
    assert rule.payment.calendar == "DK"
    assert [step.id for step in rule.steps] == ["reduction", "in_steps", "rate_in_steps", "over_a_range", "tax", "supplement", "this_quarter", "full", "net"]


def test_the_reference_describes_every_key_and_names_every_function():
    text = (DOCS / "reference.md").read_text()
    assert [name for name in FUNCTIONS if f"| `{name}(" not in text] == []
    schema = document_schema()
    keys = {key for part in [*schema["$defs"].values(), schema] for key in part.get("properties", {})}
    assert [key for key in keys if f"| `{key}` |" not in text and key != "assume"] == []
    assert re.findall(r"^\| `\w+` \|.*\|  \|$", text, re.MULTILINE) == []
