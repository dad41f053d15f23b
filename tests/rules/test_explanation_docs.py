"""The page about explanations: what it says the commands print is what they print, and its document loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connectors.registries import load_registries
from pipeline.rules import load_rule
from streams.commands.rules import app

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/explanations.md").read_text(encoding="utf-8")
RULE = ROOT / "benefits/dk-child-benefit/2022-01-01.yaml"
PRINTED = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("place", "subject", "language"), [(0, "p-1", "en"), (1, "p-1", "da"), (2, "p-2", "en"), (3, "p-3", "da")])
def test_what_the_page_shows_is_what_the_command_prints(place: int, subject: str, language: str, tmp_path: Path):
    (children,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "children.csv").write_text(children, encoding="utf-8")
    arguments = [str(RULE), "--facts", str(tmp_path / "children.csv"), "--subject", subject, "--period", "2022-Q1", "--language", language]
    result = CliRunner().invoke(app, ["explain", *arguments])
    assert result.exit_code == 0
    assert re.sub(r"\b[0-9a-f]{12}\b", "…", result.stdout) == PRINTED[place]


def test_the_texts_that_the_page_shows_load_in_a_document():
    (snippet,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    facts, conditions = snippet.split("eligible_when:\n")
    text = f"""format: benefit-rule/1
benefit: page
title: {{en: Page}}
in_force: {{from: 2022-01-01}}
law: {{P1: {{cite: A}}}}
decides: {{for: person, period: quarter, parameters_at: period.start, currency: DKK}}
{facts}  age: {{type: years, from: residency.birth_date}}
parameters:
  rate: {{type: money, law: P1, from: {{2022-01-01: 1}}}}
eligible_when:
{conditions}amount:
  steps: [{{id: paid, is: rate}}]
  pay: paid
"""
    rule = load_rule(text, load_registries(ROOT / "registries").catalogue)
    assert rule.conditions[0].not_held == "{subject} is 15 or older."
