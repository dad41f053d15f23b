"""Percents, numbers and amounts for a time in one amount: what may be put together, and what is said where it may not."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from connectors.registries import load_registries
from pipeline.problems import Malformed
from pipeline.rules import decide, load_rule, parse_period, physical_type

CATALOGUE = load_registries(Path(__file__).resolve().parent.parent.parent / "registries").catalogue
DOCUMENT = """format: benefit-rule/1
benefit: grant
title: {en: Grant}
in_force: {from: 2022-01-01, to: 2022-12-31}
law: {P1: {cite: "§ 1"}}
decides: {for: household, period: month, parameters_at: period.start, currency: DKK}
facts:
  income: {type: money, per: year, from: dk_household.personal_income, year: 2021, range: 0..1_000_000_000}
parameters:
  grant: {type: money, law: P1, from: {2022-01-01: 6_000}}
  free: {type: money, per: year, law: P1, from: {2022-01-01: 12_000}}
  base_rate: {type: percent, law: P1, from: {2022-01-01: 20}}
  more: {type: percent, law: P1, from: {2022-01-01: 5}}
  children: {type: number, law: P1, from: {2022-01-01: 2}}
eligible_when:
  - {id: some, when: income > 0, law: P1}
amount:
  steps:
    - {id: off, taper: {of: income, above: free, rate: RATE, spread: 12}, law: P1}
    - {id: net, is: grant - off, floor: 0, round: {to: 0.01, mode: half_up}, law: P1}
  pay: net
"""


def problem(text):
    with pytest.raises(Malformed) as refused:
        load_rule(text, CATALOGUE)
    (only,) = refused.value.problems
    return f"{only.message}. {only.mend}"


@pytest.mark.parametrize(("rate", "paid"), [
    ("base_rate", 5_800_00), ("base_rate + more * children", 5_700_00), ("base_rate - children * more", 5_900_00), ("more * children", 5_900_00),
    ("base_rate + more * children / 2", 5_750_00),
])  # fmt: skip
def test_a_rate_may_be_more_for_each_child(rate, paid):
    rule = load_rule(DOCUMENT.replace("RATE", rate), CATALOGUE)
    table = pl.DataFrame([pl.Series("income", [24_000_00], dtype=physical_type(rule.facts[0]))])
    assert decide(rule, table, parse_period("2022-03")).get_column("amount_minor").to_list() == [paid]


@pytest.mark.parametrize(("old", "new", "said"), [
    ("RATE", "base_rate + children",
     "cannot add percent and number: base_rate is percent, children is number. Times 1 it is a number: base_rate * 1."),
    ("RATE", "base_rate + children / 3",
     "cannot add percent and number: base_rate is percent, children / 3 is number. Times 1 it is a number: base_rate * 1."),
    (", floor: 0", "", "'net' may be negative: grant - off may be -16,660,466.67 DKK. Say floor: 0 in the step."),
    ("grant - off, floor: 0", '"off - off"', "'net' may be negative: off - off may be -16,666,466.67 DKK. Say floor: 0 in the step."),
    (", spread: 12", "", ("income is money per year and the benefit is per month. "
     "Say spread: 12; what it takes is then an amount of the month, and so has no per, like the amounts it is taken off.")),
])  # fmt: skip
def test_what_does_not_go_together_is_named_as_the_document_does_with_the_way_to_write_it(old, new, said):
    assert problem(DOCUMENT.replace(old, new).replace("RATE", "20 %")) == said
