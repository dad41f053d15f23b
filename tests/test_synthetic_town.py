"""A made town of 2,000 through the real lanes and store: the Danish benefits, and the Japanese one for each member,
come out as its table of facts says, and the audit is green."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import date

import polars as pl
import pytest
from story import Said, Story

from connectors.registries import load_registries
from connectors.rule_files import read_rule
from connectors.store import proof
from connectors.synthetic import Country, EventFiles, Made, RuleFacts, load_shares, make_events
from connectors.synthetic.writing import pieces
from pipeline.orders import State
from pipeline.rules import decide, parse_period
from streams.settings import SHIPPED

FIRST_KNOWN = ("registry.residency", "registry.account")
BENEFITS = {
    "dk-one-time-1000": ("2020-06-15", "once"),
    "dk-one-time-2000": ("2022-09-13", "once"),
    "dk-heat-cheque": ("2022-04-01", "once"),
    "dk-child-benefit": ("2022-01-01", "2022-Q1"),
    "dk-wage-compensation": ("2020-03-27", "once"),
    "jp-fixed-sum-2020": ("2020-04-30", "once"),
}
IN_ONE_SUM = [benefit for benefit in BENEFITS if benefit != "jp-fixed-sum-2020"]
"""Benefits that do not grow with every member who becomes known."""
REGISTRIES = load_registries(SHIPPED / "registries")
COUNTRY = Country(load_shares(SHIPPED / "data/population-dk.yaml"), 7, date(2022, 1, 1))
FACTS = {
    benefit: RuleFacts(read_rule(SHIPPED / f"benefits/{benefit}/{first}.yaml", REGISTRIES), parse_period(period), COUNTRY, REGISTRIES)
    for benefit, (first, period) in BENEFITS.items()
}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Story, Made]]:
    """The town once everything is known: who they are and their accounts first, as in a country before a law is passed."""
    stream = io.BytesIO()
    with EventFiles(stream) as files:
        made = make_events(COUNTRY, 2_000, REGISTRIES, files, list(FACTS.values()))
    topic_of = {registry.source: registry.topic for registry in REGISTRIES.registries}
    said = []
    for line in stream.getvalue().splitlines():
        message = json.loads(line)
        said.append(Said(topic_of[message["source"]], message["subject"].encode(), line))
    rules = [f"{SHIPPED}/benefits/{benefit}/{first}.yaml@{period}" for benefit, (first, period) in BENEFITS.items()]
    story = Story(tmp_path_factory.mktemp("town") / "home", rules=rules)
    for known in (True, False):
        story.tell(record for record in said if (record.topic in FIRST_KNOWN) == known)
        story.pay()
    yield story, made
    story.close()


def test_the_registries_of_a_made_town_break_no_contract_and_the_audit_is_green(town: tuple[Story, Made]) -> None:
    story, made = town
    assert story.dead_letters() == []
    found = story.audit()
    assert next(check.checked for check in found.checks if check.id == "dispositions") >= sum(made.events.values())


@pytest.mark.parametrize("benefit", BENEFITS)
def test_everybody_is_owed_what_the_table_of_facts_decides(benefit: str, town: tuple[Story, Made]) -> None:
    story, made = town
    facts = FACTS[benefit]
    [people] = pieces(COUNTRY, 2_000)
    table = facts.table(people)
    if facts.rule.members is not None:
        table = table.filter(pl.col("residents").is_not_null())  # somebody was ever said to live there
    decided = decide(facts.rule, table, facts.period).select("decision", "amount_minor")
    expected = dict(zip(table.get_column("subject"), decided.iter_rows(), strict=True))
    stands = {
        subject: (int(decision), owed_minor)
        for connection in story.installation.store.servers("made town")
        for subject, of, _, _, decision, owed_minor, *_ in proof.levels(connection)
        if of == benefit
    }
    assert {subject: stands[subject] for subject in expected} == expected
    assert all(owed_minor == 0 for subject, (_, owed_minor) in stands.items() if subject not in expected)
    told = next(decision for decision in made.decisions if decision.benefit == benefit)
    assert told.amount_minor == sum(owed_minor for _, owed_minor in stands.values()) == int(decided.filter(pl.col("decision") == 1)["amount_minor"].sum()) > 0


@pytest.mark.parametrize("benefit", IN_ONE_SUM)
def test_what_was_planted_on_accounts_holds_as_many_orders_as_expected(benefit: str, town: tuple[Story, Made]) -> None:
    story, made = town
    told = next(decision for decision in made.decisions if decision.benefit == benefit)
    held = Counter(order.reason for order in story.orders() if order.benefit == benefit and order.state == State.HELD)
    assert held == told.held
    assert any(decision.held for decision in made.decisions)
