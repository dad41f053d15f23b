"""Granted, refused, undetermined: what an unknown fact does to a decision, and which facts are then named."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.rules import DECISIONS, ONCE, decide, load_rule, missing_facts

DOCUMENT = """\
format: benefit-rule/1
benefit: outcomes
title: {en: Outcomes}
in_force: {from: 2022-01-01}
law: {P1: {cite: A}}
decides: {for: person, period: once, parameters_at: period.start, currency: DKK}
facts:
  resident: {type: yes_no, from: residency.resident}
  alive: {type: yes_no, from: residency.alive}
  dependent: {type: yes_no, from: tax.claimed_as_dependent, year: 2021}
  income: {type: money, from: tax.income, year: 2021, range: 0..1_000}
parameters:
  most: {type: money, law: P1, from: {2022-01-01: 100}}
eligible_when:
  - {id: either, when: resident or alive}
  - {id: not_both, when: not (resident and dependent)}
  - {id: something_left, when: paid > 0}
amount:
  steps:
    - {id: paid, is: most - income, floor: 0}
  pay: paid
"""
FACTS = ("resident", "alive", "dependent", "income")


@pytest.mark.parametrize(
    ("facts", "decision", "amount", "missing"),
    [
        ((True, True, False, 4_000), "granted", 6_000, []),
        ((None, True, False, 4_000), "granted", 6_000, []),
        ((None, None, False, 4_000), "undetermined", 0, ["resident", "alive"]),
        ((False, None, None, 4_000), "undetermined", 0, ["alive"]),
        ((None, True, None, 4_000), "undetermined", 0, ["resident", "dependent"]),
        ((True, None, None, 4_000), "undetermined", 0, ["dependent"]),
        ((None, True, False, None), "undetermined", 0, ["income"]),
        ((False, False, None, None), "refused", 0, []),
        ((True, None, True, None), "refused", 0, []),
        ((None, None, None, 10_000), "refused", 0, []),
        ((True, True, False, 100_001), "undetermined", 0, ["income"]),
        ((True, True, False, -1), "undetermined", 0, ["income"]),
    ],
)
def test_an_unknown_fact_counts_only_where_it_matters(facts, decision, amount, missing, catalogue):
    rule = load_rule(DOCUMENT, catalogue)
    types = {"resident": pl.Boolean, "alive": pl.Boolean, "dependent": pl.Boolean, "income": pl.Int64}
    row = decide(rule, pl.DataFrame([facts], schema=types, orient="row"), ONCE).row(0, named=True)
    assert (DECISIONS[row["decision"]], row["amount_minor"], missing_facts(rule, row["missing"])) == (decision, amount, missing)
