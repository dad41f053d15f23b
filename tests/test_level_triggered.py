"""Money follows from the level, not from the event: however a log arrives, the same is known and owed, and orders less claims come to it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from story import LAW, TAXCALC, UNITS, Said, Story, Tale, account, death, income, person, resident, tale, withdrawn

from connectors.population import CASES, DemoShares, Population
from connectors.registries import load_registries
from pipeline.entitlements import Decision
from pipeline.holds import HoldReason
from pipeline.observing import DECISIONS, Recorder
from pipeline.orders import Kind, State
from pipeline.problems import Malformed
from streams.audit import Digest
from streams.settings import SHIPPED
from streams.topics import MEMBERS, RECEIPTS, lane_topics, registry_topics

__all__ = ["tale"]

# Any order, any repetition, any batches, any number of shards.

TROUBLED = DemoShares(**dict.fromkeys(CASES, 5), corrupt=16, duplicated_events=0.1, reordered_events=0.2)
SUBJECTS = 400


@pytest.fixture(scope="module")
def population() -> Population:
    """The first units of the demo, with every trouble that is planted there."""
    return Population(UNITS, 11, TROUBLED, first=SUBJECTS)


@pytest.fixture(scope="module")
def log(population: Population) -> list[Said]:
    """What the registries deliver of them."""
    return [Said(topic, key, line) for topic, records in population.events() for key, line in records]


def whole_story(home: Path, log: list[Said], instalments: int, **shape: Any) -> Digest:
    """Tells a log in instalments, with work in between; the proof must hold after each."""
    story = Story(home, **shape)
    size = -(-len(log) // instalments)
    for first in range(0, len(log), size):
        story.hears(log[first : first + size])
        story.audit()
    digest = story.audit().digest
    owed: dict[str, int] = dict(story.ask("SELECT subject, owed_minor FROM entitlement WHERE decision <> 2"))
    claims: dict[str, int] = dict(story.ask("SELECT subject, claim_minor FROM entitlement"))
    live = dict.fromkeys(claims, 0)
    for order in story.orders():
        live[order.subject] += order.amount_minor if order.state != State.CANCELLED else 0
    assert {subject: live[subject] - claims[subject] for subject in owed} == owed
    story.close()
    return digest


@pytest.fixture(scope="module")
def reference(log: list[Said], tmp_path_factory: pytest.TempPathFactory) -> Digest:
    """What is known and owed when everything comes as it was sent."""
    return whole_story(tmp_path_factory.mktemp("reference"), log, 1, shards=2)


@pytest.mark.parametrize(
    ("shards", "servers", "frame_records", "instalments", "doubled"),
    [(1, 1, 97, 1, True), (2, 1, 5_000, 3, False), (8, 1, 5_000, 2, True), (8, 1, 31, 1, False), (3, 2, 5_000, 1, False)],
)
def test_a_shuffled_doubled_rebatched_log_gives_the_same_digests(
    shards: int, servers: int, frame_records: int, instalments: int, doubled: bool, log: list[Said], reference: Digest, tmp_path: Path
) -> None:
    again = log * 2 if doubled else list(log)
    random.Random(f"{shards} {frame_records}").shuffle(again)
    assert whole_story(tmp_path, again, instalments, shards=shards, servers=servers, frame_records=frame_records) == reference


def test_the_demo_population_comes_out_as_its_planted_troubles_say(population: Population, log: list[Said], tale: Tale) -> None:
    expected = population.expected()
    story = tale(shards=2)
    for topic in registry_topics(story.installation.registries):  # who shares an account must be known before anybody is paid to it
        story.hears(record for record in log if record.topic == topic)
    count: dict[int, int] = dict(story.ask("SELECT decision, count(*) FROM entitlement GROUP BY 1"))
    money = [order for order in story.orders() if order.state in (State.HELD, State.RELEASED)]
    held = [order for order in money if order.state == State.HELD]
    assert count[Decision.UNDETERMINED] == sum(expected.undetermined.values())
    assert sum(minor for (minor,) in story.ask("SELECT owed_minor FROM entitlement")) == expected.granted_minor
    assert len({order.subject for order in held}) == sum(expected.held.values())
    assert {order.reason for order in held} == {"no_account", "account_invalid", "account_closed", "account_shared", "account_pending"}
    assert len(story.dead_letters()) == sum(expected.corrupt.values())
    assert len([finding for finding in story.findings() if finding[0] == "event_id_conflict"]) == expected.conflicts


# Small logs, searched for the worst.

SUBJECT_NAMES = ("a", "b", "c")


@st.composite
def small_logs(draw: st.DrawFn) -> list[tuple[str, dict[str, object]]]:
    """A few events about a few people, with reused ids, equal sequences, deaths, withdrawals and accounts of all kinds."""
    event = st.one_of(
        st.fixed_dictionaries({
            "is": st.just("income"), "dollars": st.sampled_from([None, -500, 20_000, 80_000, 90_000, 150_000]), "sequence": st.integers(1, 4),
            "status": st.sampled_from(["final", "final", "preliminary"]), "children": st.integers(0, 2), "id": st.sampled_from(["t1", "t2", "t3", "t4"]),
        }),
        st.fixed_dictionaries({
            "is": st.just("resident"), "resident": st.sampled_from([True, True, False]), "death": st.sampled_from(["", "", "2020-03-30"]),
            "sequence": st.integers(1, 4), "id": st.sampled_from(["r1", "r2", "r3"]),
        }),
        st.fixed_dictionaries({
            "is": st.just("account"), "number": st.sampled_from(["", "700000001"]), "status": st.sampled_from(["active", "active", "closed", "pending"]),
            "sequence": st.integers(1, 4), "id": st.sampled_from(["a1", "a2", "a3"]),
        }),
        st.fixed_dictionaries({"is": st.just("withdrawn"), "of": st.sampled_from(["t1", "t2", "r1", "a1"]), "sequence": st.integers(1, 9)}),
    )  # fmt: skip
    return draw(st.lists(st.tuples(st.sampled_from(SUBJECT_NAMES), event), min_size=1, max_size=14))


def written(log: list[tuple[str, dict[str, object]]], run: int) -> list[Said]:
    """The events of a small log about people of whom nobody has spoken before."""
    told = []
    for name, entry in log:
        subject, fields = f"run{run}-{name}", {key: value for key, value in entry.items() if key != "is"}
        if "id" in fields:
            fields["id"] = f"{subject}-{fields['id']}"
        match entry["is"]:
            case "income":
                told.append(income(subject, **fields))  # type: ignore[arg-type]
            case "resident":
                told.append(resident(subject, **fields))  # type: ignore[arg-type]
            case "account":
                told.append(account(subject, **fields))  # type: ignore[arg-type]
            case _:
                earlier = {"t": income(subject, 1), "r": resident(subject), "a": account(subject)}[str(fields["of"])[0]]
                message = json.loads(earlier.value)
                message["id"] = f"{subject}-{fields['of']}"
                sequence = int(str(fields["sequence"]))
                told.append(withdrawn(Said(earlier.topic, earlier.key, json.dumps(message).encode()), sequence, f"{message['id']}-withdrawn-{sequence}"))
    return told


@pytest.fixture(scope="module")
def two_shapes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Story, Story]]:
    """One shard that takes whole logs, and three that take an event or two at a time."""
    home = tmp_path_factory.mktemp("shapes")
    stories = Story(home / "one", shards=1), Story(home / "three", shards=3, frame_records=2)
    yield stories
    for story in stories:
        story.close()


def test_any_small_log_in_any_order_leaves_the_same_known_and_owed(two_shapes: tuple[Story, Story]) -> None:
    one, three = two_shapes
    runs = iter(range(10_000))

    @settings(max_examples=40)
    @given(log=small_logs(), seed=st.integers(0, 2**32), doubled=st.booleans())
    def law(log: list[tuple[str, dict[str, object]]], seed: int, doubled: bool) -> None:
        chance = random.Random(seed)
        told = written(log, run := next(runs))
        one.hears(told)
        again = told * 2 if doubled else list(told)
        chance.shuffle(again)
        cut = chance.randrange(len(again) + 1)
        three.hears(again[:cut])
        three.hears(again[cut:])
        known = "SELECT f.subject, history, decision, owed_minor FROM facts AS f JOIN entitlement USING (shard, subject) WHERE f.subject LIKE %s ORDER BY 1"
        assert one.ask(known, f"run{run}-%") == three.ask(known, f"run{run}-%")
        assigned = "SELECT account_key, subject FROM account_holder WHERE subject LIKE %s ORDER BY 1, 2"
        assert one.ask(assigned, f"run{run}-%") == three.ask(assigned, f"run{run}-%")
        for story in two_shapes:
            sums = "SELECT sum(amount_minor) FROM payment_order AS o WHERE o.subject = e.subject AND state <> 9"
            unlevel = f"SELECT subject FROM entitlement AS e WHERE subject LIKE %s AND decision <> 2 AND owed_minor <> coalesce(({sums}), 0) - claim_minor"
            assert story.ask(unlevel, f"run{run}-%") == []

    law()
    assert one.audit().digest == three.audit().digest


# One change at a time.


def test_a_repeated_event_orders_nothing(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna"))
    first = story.orders()
    story.hears(person("anna"), person("anna"))
    assert story.orders() == first
    assert [(order.kind, order.amount_minor, order.state) for order in first] == [(Kind.ORIGINAL, 120_000, State.RELEASED)]


def test_a_raised_payment_is_one_difference_order(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna", 80_000))
    story.hears(income("anna", 75_000, 2))
    assert [(order.sequence, order.kind, order.amount_minor) for order in story.orders()] == [(1, Kind.ORIGINAL, 95_000), (2, Kind.DIFFERENCE, 25_000)]
    story.audit()


def test_a_lowered_payment_after_the_release_is_a_claim_and_no_order(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna", 75_000))
    story.hears(income("anna", 80_000, 2))
    assert story.level("anna") == (Decision.GRANTED, 95_000, 120_000, 25_000)
    assert [order.amount_minor for order in story.orders()] == [120_000]
    assert story.findings() == {("overpaid", "anna", "us-eip1 once")}
    story.audit()


def test_a_payment_raised_again_takes_the_claim_away_before_it_orders(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna", 75_000, children=0))
    story.hears(income("anna", 80_000, 2))
    story.hears(income("anna", 75_000, 3))
    assert story.level("anna") == (Decision.GRANTED, 120_000, 120_000, 0)
    story.hears(income("anna", 75_000, 4, children=1))
    assert [order.amount_minor for order in story.orders()] == [120_000, 50_000]
    story.audit()


def test_a_lowered_payment_before_the_release_cancels_the_held_order_and_orders_anew(tale: Tale) -> None:
    story = tale()
    story.hears(resident("anna"), income("anna", 75_000))
    story.hears(income("anna", 80_000, 2))
    assert [(order.amount_minor, order.state) for order in story.orders()] == [(120_000, State.CANCELLED), (95_000, State.HELD)]
    story.hears(account("anna"))
    assert [(order.amount_minor, order.state) for order in story.orders()] == [(120_000, State.CANCELLED), (95_000, State.RELEASED)]
    assert story.level("anna").claim_minor == 0
    story.audit()


def test_a_late_older_event_changes_nothing(tale: Tale) -> None:
    story = tale()
    story.hears(resident("anna"), account("anna"), income("anna", 80_000, 2))
    story.hears(income("anna", 20_000, 1))
    assert [order.amount_minor for order in story.orders()] == [95_000]


def test_a_correction_withdraws_what_it_names_and_the_earlier_word_holds_again(tale: Tale) -> None:
    story = tale()
    mistaken = income("anna", 80_000, 2)
    story.hears(person("anna", 75_000))
    story.hears(mistaken)
    assert story.level("anna").claim_minor == 25_000
    story.hears(withdrawn(mistaken))
    assert story.level("anna") == (Decision.GRANTED, 120_000, 120_000, 0)
    story.audit()


def test_a_correction_that_overtakes_its_event_withdraws_it_on_arrival(tale: Tale) -> None:
    story = tale()
    mistaken = income("anna", 80_000, 2)
    story.hears(person("anna", 75_000), withdrawn(mistaken))
    story.hears(mistaken)
    assert [order.amount_minor for order in story.orders()] == [120_000]


def test_withdrawing_the_only_income_leaves_the_decision_undetermined(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna"))
    story.hears(withdrawn(income("anna", 30_000)))
    assert story.level("anna") == (Decision.UNDETERMINED, 0, 120_000, 0)
    story.audit()


def test_an_undetermined_decision_orders_nothing_and_calls_nothing_back(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna"))
    story.hears(income("anna", 90_000, 2, status="preliminary"))
    assert story.level("anna") == (Decision.UNDETERMINED, 0, 120_000, 0)
    assert [(order.amount_minor, order.state) for order in story.orders()] == [(120_000, State.RELEASED)]
    story.hears(income("anna", 80_000, 3))
    assert story.level("anna") == (Decision.GRANTED, 95_000, 120_000, 25_000)
    story.audit()


def test_an_undetermined_decision_keeps_held_orders_back_until_it_is_known_again(tale: Tale) -> None:
    story = tale()
    story.hears(resident("anna"), income("anna", 30_000))
    story.hears(income("anna", 30_000, 2, status="preliminary"))
    story.hears(account("anna"))
    assert [(order.state, order.reason) for order in story.orders()] == [(State.HELD, HoldReason.ENTITLEMENT_UNDETERMINED)]
    story.hears(income("anna", 30_000, 3))
    assert [(order.state, order.reason) for order in story.orders()] == [(State.RELEASED, "")]
    story.audit()


def test_an_assessment_that_leaves_the_income_out_leaves_the_earlier_word_standing(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna", 80_000))
    story.hears(income("anna", None, 2, children=1))
    assert [order.amount_minor for order in story.orders()] == [95_000, 50_000]


def test_a_provisional_income_never_reads_as_known(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna", status="preliminary"), person("bert", status="estimated"))
    assert {story.level(subject).decision for subject in ("anna", "bert")} == {Decision.UNDETERMINED}
    assert story.orders() == []


def test_a_disputed_income_is_unknown_until_the_registry_withdraws_the_id(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna", 75_000))
    story.hears(income("anna", 80_000, id="tax-anna-1"))
    assert story.level("anna").decision == Decision.UNDETERMINED
    assert story.findings() == {("event_id_conflict", "anna", "us-irs/tax-anna-1")}
    story.hears(withdrawn(income("anna", 75_000)), income("anna", 75_000, 2))
    assert story.level("anna") == (Decision.GRANTED, 120_000, 120_000, 0)
    story.audit()


# Deaths.


def test_a_death_before_the_release_cancels_and_finds_nothing(tale: Tale) -> None:
    story = tale()
    story.hears(resident("anna"), income("anna", 30_000))
    story.hears(death("anna"))
    assert [(order.state, order.reason) for order in story.orders()] == [(State.CANCELLED, "no_longer_owed")]
    assert story.level("anna") == (Decision.REFUSED, 0, 0, 0)
    assert story.findings() == set()
    story.hears(account("anna"))
    assert [order.state for order in story.orders()] == [State.CANCELLED]
    story.audit()


def test_a_death_after_the_release_is_a_finding_and_a_claim(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna"))
    story.hears(death("anna"))
    assert story.level("anna") == (Decision.REFUSED, 0, 120_000, 120_000)
    assert story.findings() == {("death_after_release", "anna", ""), ("overpaid", "anna", "us-eip1 once")}
    story.audit()


def test_a_death_while_a_lowered_order_is_still_held_is_no_finding(tale: Tale) -> None:
    story = tale()
    story.hears(resident("anna"), income("anna", 75_000))
    story.hears(income("anna", 80_000, 2))
    story.hears(death("anna"))
    assert [order.state for order in story.orders()] == [State.CANCELLED, State.CANCELLED]
    assert story.findings() == set()


def test_a_death_while_only_the_difference_is_held_is_a_finding_about_what_has_left(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna", 80_000))
    story.hears(account("anna", 2, status="closed"))
    story.hears(income("anna", 75_000, 2))
    story.hears(death("anna"))
    assert [order.state for order in story.orders()] == [State.RELEASED, State.CANCELLED]
    assert story.level("anna") == (Decision.REFUSED, 0, 95_000, 95_000)
    assert ("death_after_release", "anna", "") in story.findings()
    story.audit()


def test_a_death_that_is_withdrawn_pays_anew(tale: Tale) -> None:
    story = tale()
    story.hears(resident("anna"), income("anna", 30_000))
    story.hears(death("anna"), account("anna"))
    story.hears(withdrawn(death("anna")))
    assert [(order.sequence, order.state) for order in story.orders()] == [(1, State.CANCELLED), (2, State.RELEASED)]
    story.audit()


def test_a_move_abroad_before_the_release_cancels(tale: Tale) -> None:
    story = tale()
    story.hears(resident("anna"), income("anna", 30_000))
    story.hears(resident("anna", 2, resident=False))
    assert [order.state for order in story.orders()] == [State.CANCELLED]


# Rules.


def changed(directory: Path, **replaced: tuple[str, str]) -> Path:
    """The law's document with other words or amounts."""
    text = LAW.read_text()
    for old, new in replaced.values():
        assert old in text
        text = text.replace(old, new)
    text = text[: text.index("tests:")] + text[text.index("approvals:") :]
    path = directory / "changed.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def many() -> list[Said]:
    """Paid, held, with children, refused and undetermined people."""
    return [
        *person("paid"), *person("parent", children=2), resident("held"), income("held", 75_000), *person("dependent", dependent=True),
        resident("unknown"), account("unknown"), *person("tapered", 80_000),
    ]  # fmt: skip


def test_a_document_with_another_title_decides_everybody_once_and_orders_nothing(many: list[Said], tale: Tale, tmp_path: Path) -> None:
    recorder = Recorder()
    story = tale(observer=recorder, shards=3)
    story.hears(many)
    before, digest = story.orders(), story.digest()
    recorder.take()
    other = changed(tmp_path, title=('"Economic Impact Payment, first round"', '"The first payment"'))
    decided = []
    for rules in ([other], [other]):
        story.restart(rules)
        decided.append(sum(seen.value for seen in recorder.take() if seen.metric == DECISIONS.name))
    assert decided == [6, 0]
    assert story.orders() == before
    assert story.audit().digest == digest
    assert story.ask("SELECT DISTINCT rule_id FROM entitlement") == [(2,)]


def test_a_document_that_gives_more_orders_only_the_differences(many: list[Said], tale: Tale, tmp_path: Path) -> None:
    story = tale(shards=3)
    story.hears(many)
    before = story.orders()
    story.restart([changed(tmp_path, child=("law: a2, from: {2020-03-27: 500}}", "law: a2, from: {2020-03-27: 600}}"))])
    added = [order for order in story.orders() if order not in before]
    assert [(order.subject, order.sequence, order.kind, order.amount_minor, order.state) for order in added] == [
        ("parent", 2, Kind.DIFFERENCE, 20_000, State.RELEASED)
    ]
    story.audit()


def test_a_document_that_gives_less_cancels_what_is_held_and_claims_what_has_left(many: list[Said], tale: Tale, tmp_path: Path) -> None:
    story = tale(shards=3)
    story.hears(many)
    story.restart([changed(tmp_path, adults=("[1_200, 2_400, 1_200, 1_200]", "[1_000, 2_000, 1_000, 1_000]"))])
    assert {subject: story.level(subject).claim_minor for subject in ("paid", "parent", "tapered", "held")} == {
        "paid": 20_000, "parent": 20_000, "tapered": 20_000, "held": 0,
    }  # fmt: skip
    assert [(order.amount_minor, order.state) for order in story.orders("held")] == [(120_000, State.CANCELLED), (100_000, State.HELD)]
    story.audit()


def test_going_back_to_the_earlier_document_decides_everybody_again(many: list[Said], tale: Tale, tmp_path: Path) -> None:
    story = tale(shards=3)
    story.hears(many)
    digest = story.digest()
    story.restart([changed(tmp_path, adults=("[1_200, 2_400, 1_200, 1_200]", "[1_000, 2_000, 1_000, 1_000]"))])
    assert story.digest() != digest
    story.restart([LAW])
    assert story.audit().digest == digest
    assert story.ask("SELECT sum(claim_minor) FROM entitlement") == [(0,)]


def test_a_second_benefit_decides_everybody_known_and_is_paid_beside_the_first(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna"))
    story.restart([LAW, TAXCALC])
    assert [(order.benefit, order.sequence, order.kind) for order in story.orders()] == [("us-eip1", 1, Kind.ORIGINAL), ("us-eip1-taxcalc", 1, Kind.ORIGINAL)]
    story.audit()


def test_two_documents_of_one_benefit_and_period_in_force_at_once_are_refused(tale: Tale, tmp_path: Path) -> None:
    story = tale()
    story.hears(person("anna"))
    with pytest.raises(Malformed, match="us-eip1 once is decided by two documents"):
        story.restart([LAW, changed(tmp_path, title=('"Economic Impact Payment, first round"', '"The first payment"'))])


def test_the_topic_of_a_new_registry_document_is_taken_without_a_change_of_code(tale: Tale, tmp_path: Path) -> None:
    directory = shutil.copytree(SHIPPED / "registries", tmp_path / "registries")
    document = (directory / "residency.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("name: residency", "name: students"),
        ("urn:registry:residency", "urn:registry:students"),
        ("registry.residency\n", "registry.students\n"),
    ):
        assert old in document
        document = document.replace(old, new)
    (directory / "students.yaml").write_text(document.replace("facts: residency", "facts: students"), encoding="utf-8")
    assert set(lane_topics(load_registries(directory))) == {*registry_topics(tale().installation.registries), "registry.students", MEMBERS, RECEIPTS}
