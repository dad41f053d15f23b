"""The shipped benefits for households and businesses: published figures, and what is asked of whom."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipeline.problems import Malformed
from pipeline.rules import ONCE, decide, load_rule
from pipeline.rules.aggregates import members_frame, with_aggregates

BENEFITS = Path(__file__).resolve().parent.parent.parent / "benefits"
HERE = {"registered": True, "alive": True}


def rule_of(name, catalogue):
    (path,) = (BENEFITS / name).glob("*.yaml")
    return load_rule(path.read_text(), catalogue)


def amounts(rule, households, **facts):
    table = pl.DataFrame({"members": [len(household) for household in households], **{name: [value] * len(households) for name, value in facts.items()}})
    return decide(rule, with_aggregates(rule, table, members_frame(rule, households), ONCE), ONCE).get_column("amount_minor").to_list()


def test_every_resident_of_japan_brings_their_household_100000_yen(catalogue):
    assert amounts(rule_of("jp-fixed-sum-2020", catalogue), [[HERE] * size for size in range(1, 8)]) == [100_000 * size for size in range(1, 8)]


def test_127344140_residents_of_japan_are_the_published_12_trillion_yen(catalogue):
    """12,734,414 million yen for 127,344,140 people, whatever households they lived in."""
    rule = rule_of("jp-fixed-sum-2020", catalogue)
    sizes = {1: 40_000_000, 2: 20_000_000, 3: 12_000_000, 4: 2_836_035}
    people = sum(size * count for size, count in sizes.items())
    assert people == 127_344_140
    assert sum(amount * count for amount, count in zip(amounts(rule, [[HERE] * size for size in sizes]), sizes.values(), strict=True)) == 12_734_414_000_000


def test_a_korean_household_is_paid_by_its_members_up_to_four(catalogue):
    rule = rule_of("kr-relief-2020", catalogue)
    assert amounts(rule, [[HERE] * size for size in range(1, 7)], channel=None) == [400_000, 600_000, 800_000, 1_000_000, 1_000_000, 1_000_000]
    assert amounts(rule, [[HERE] * 3], channel="credit_card") == [0]


def test_a_rule_that_asks_a_household_for_what_is_told_of_persons_is_refused_with_what_to_do(catalogue):
    text = (
        (BENEFITS / "jp-fixed-sum-2020/2020-04-30.yaml")
        .read_text()
        .replace("aggregates:", "facts:\n  here: {type: yes_no, from: residency.resident}\naggregates:")
    )
    with pytest.raises(Malformed) as refused:
        load_rule(text, catalogue)
    (problem,) = refused.value.problems
    assert problem.place == "facts.here.from"
    assert problem.message == "residency.resident is told of a person, the rule decides for a household"
    assert problem.mend == "Say it under members.facts, and make an aggregate of it."


def test_a_rule_that_asks_a_business_for_the_income_of_a_person_is_refused(catalogue):
    text = (BENEFITS / "dk-wage-compensation/2020-03-27.yaml").read_text().replace("from: business.active", "from: residency.resident")
    with pytest.raises(Malformed, match="residency.resident is told of a person, the rule decides for a business"):
        load_rule(text, catalogue)
