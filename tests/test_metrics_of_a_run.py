"""The demo's work, with everything it reports: what a scrape shows is what the audit and the store find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from story import UNITS, Said, Story, Tale, income, person, tale

from connectors.population import CASES, DemoShares, Population
from connectors.sandbox_bank import Behaviour, SandboxBank, journal_path
from pipeline.observing import CATALOGUE, STAGES
from pipeline.orders import State
from streams.audit import Audit
from streams.measures import measure
from streams.metrics import Metrics
from streams.runner import runner_of

__all__ = ["tale"]

SUBJECTS = 400
SHARES = DemoShares(**dict.fromkeys(CASES, 5), corrupt=16, duplicated_events=0.1, reordered_events=0.2)


class Run(NamedTuple):
    """A run that is over: what was scraped at its end, and what the audit says."""

    story: Story
    scraped: list[Sample]
    checked: dict[str, int]

    def values(self, name: str, **labels: str) -> list[float]:
        """The figures of a metric that carry these labels."""
        return [sample.value for sample in self.scraped if sample.name == name and labels.items() <= sample.labels.items()]

    def total(self, name: str, **labels: str) -> float:
        """Their sum."""
        return sum(self.values(name, **labels))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums per word of a label, those above zero."""
        words = {sample.labels[label] for sample in self.scraped if sample.name == name}
        return {word: total for word in words if (total := self.total(name, **{label: word}))}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The demo's first units, with every trouble that is planted there, taken by two processes and paid through the sandbox bank."""
    home: Path = tmp_path_factory.mktemp("measured") / "home"
    metrics = Metrics()
    story = Story(home, shards=4)
    story.tell([Said(topic, key, line) for topic, records in Population(UNITS, 11, SHARES, first=SUBJECTS).events() for key, line in records])
    bank = SandboxBank(home, bic=story.installation.settings.bank.bank_bic, behaviour=Behaviour(7, 0.05, 0.05, True))
    with runner_of(story.installation, metrics, 2) as runner:
        runner.run(until_idle=True)
        bank.handle_all()
        for name in ("torn.xml", "torn-again.xml"):
            (story.installation.bank_directory / "in" / name).write_bytes(b"<Document")
        runner.run(until_idle=True)
        paid = next(order for order in story.orders() if order.state == State.SETTLED)
        story.tell(income(paid.subject, 900_000, 99))
        runner.run(until_idle=True)
    bank.close()
    measure(story.installation, metrics)
    server = metrics.serve(0)
    try:
        with urlopen(server.url) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    finally:
        server.close()
    proven: Audit = story.audit(journal=journal_path(home))
    yield Run(story, [sample for family in families for sample in family.samples], {check.id: check.checked for check in proven.checks})
    story.close()


def test_every_record_that_the_audit_finds_was_counted_once_and_with_one_disposition(run: Run) -> None:
    assert run.total("payout_events_consumed_total") == run.checked["dispositions"]
    assert run.by("payout_events_consumed_total", "topic") == run.by("payout_events_processed_total", "topic")
    assert run.total("payout_frames_total") == run.checked["positions"]


def test_every_order_that_the_audit_finds_was_counted_once_with_its_money(run: Run) -> None:
    assert run.total("payout_orders_created_total") == run.total("payout_orders") == run.checked["orders"]
    ((ordered_minor,),) = run.story.ask("SELECT sum(amount_minor)::bigint FROM payment_order")
    assert run.total("payout_orders_created_amount_minor_total") == run.total("payout_order_amount_minor") == ordered_minor > 0


def test_the_states_of_the_orders_are_those_of_the_store(run: Run) -> None:
    states = dict(run.story.ask("SELECT state, count(*) FROM payment_order GROUP BY state"))
    assert run.by("payout_orders", "state") == {State(state).name.lower(): count for state, count in states.items()}
    assert run.total("payout_orders_held") == states[State.HELD] > 0
    assert run.total("payout_oldest_held_age_seconds") > 0


def test_the_last_decision_on_everybody_is_among_those_counted(run: Run) -> None:
    assert run.total("payout_decisions_total") >= run.checked["complete"] == SUBJECTS
    assert set(run.by("payout_decisions_total", "outcome")) == {"granted", "refused", "undetermined"}


def test_dead_letters_are_counted_when_they_are_set_aside_and_stand_until_they_are_dealt_with(run: Run) -> None:
    letters = len(run.story.dead_letters())
    assert run.total("payout_events_processed_total", outcome="dead_letter") == run.total("payout_dead_letters_open") == letters > 0


def test_claims_are_those_of_the_store(run: Run) -> None:
    ((claimed_minor,),) = run.story.ask("SELECT sum(claim_minor)::bigint FROM entitlement")
    assert run.total("payout_claims_minor") == claimed_minor > 0


def test_the_files_counted_are_those_that_lie_there_and_the_answers_those_of_the_journal(run: Run) -> None:
    bank = run.story.installation.bank_directory
    assert run.total("payout_bank_files_total", outcome="written") == len(list((bank / "out").glob("*.xml"))) > 0
    assert run.total("payout_bank_files_total", outcome="read") == len(list((bank / "done").glob("*.xml"))) > 0
    assert run.total("payout_bank_files_total", kind="unknown", outcome="refused") == len(list((bank / "refused").glob("torn.xml"))) == 1
    assert run.total("payout_bank_files_total", kind="unknown", outcome="duplicate") == 1
    answers = run.by("payout_bank_answers_total", "outcome")
    assert answers["settled"] == run.checked["bank"]
    states = dict(run.story.ask("SELECT state, count(*) FROM payment_order GROUP BY state"))
    assert (answers["returned"], answers["rejected"]) == (states[State.RETURNED], states[State.REJECTED])


def test_nothing_is_left_to_do_and_the_books_balance(run: Run) -> None:
    assert run.values("payout_ledger_imbalance_minor") == [0]
    assert len(run.values("payout_lag_records")) == run.story.shards * len(run.story.installation.topics)
    assert run.total("payout_lag_records") == run.total("payout_outbox_pending") == 0


def test_every_stage_of_a_frame_is_timed(run: Run) -> None:
    assert set(run.by("payout_stage_duration_seconds_count", "stage")) == set(STAGES)
    assert run.total("payout_frame_duration_seconds_count") == run.checked["positions"]


def test_nothing_in_the_catalogue_is_silent_where_nothing_went_wrong(run: Run) -> None:
    troubles = {"payout_store_retries_total", "payout_position_conflicts_total"}
    at_the_door = {metric.name for metric in CATALOGUE if metric.name.startswith("payout_ingest_")}
    names = {sample.name.removesuffix("_count") for sample in run.scraped}
    assert {metric.name for metric in CATALOGUE} - names <= troubles | at_the_door


def test_work_that_was_rolled_back_is_not_counted(tale: Tale) -> None:
    metrics = Metrics()
    story = tale(shards=1, observer=metrics)
    story.tell(person("us-1", 30_000))
    with story.connection() as connection:
        connection.execute(b"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''the disk is full''; END'")
        connection.execute(b"CREATE TRIGGER refusing BEFORE INSERT ON payment_order EXECUTE FUNCTION refuse()")
        with pytest.raises(Exception, match="the disk is full"):
            story.work()
        connection.execute(b"DROP TRIGGER refusing ON payment_order")
    story.restart()
    assert len(story.orders("us-1")) == 1
    assert metrics.registry.get_sample_value("payout_orders_created_total", {"benefit": "us-eip1", "kind": "original"}) == 1
    assert metrics.registry.get_sample_value("payout_decisions_total", {"benefit": "us-eip1", "outcome": "granted"}) == 1
    assert metrics.registry.get_sample_value("payout_frames_total") == 3
