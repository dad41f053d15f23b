"""More shards for an installation that has paid: everybody moves whole, what was ordered stays ordered once, and it goes on as if nothing had been."""

from __future__ import annotations

import pytest
from story import Said, Story, Tale, death, income, person, tale
from town import Payout, quiet_afterwards

from connectors.failpoints import heard_by
from connectors.sandbox_bank import Behaviour, SandboxBank
from connectors.segment_log import LogReader
from connectors.store import reshard as division
from connectors.store.frames import Replaced
from connectors.store.servers import Store, StoreError
from connectors.store.tables import SQLModel
from pipeline.problems import Malformed
from pipeline.receipts import decode_released
from pipeline.sharding import shard_of
from streams.reshard import Divided, reshard
from streams.topics import ORDERS

__all__ = ["quiet_afterwards", "tale"]

PEOPLE = [f"us-{number:03}" for number in range(60)]
ACCEPTS = Behaviour(7, 0.1, 0.1, False)
TABLES = ("facts", "entitlement", "payment_order", "order_history")


def first() -> list[Said]:
    return [record for subject in PEOPLE for record in person(subject)]


def later() -> list[Said]:
    changed = [income(subject, 90_000, 2) for subject in PEOPLE[:20]]
    return [*changed, *(record for number in range(60, 80) for record in person(f"us-{number:03}")), death(PEOPLE[30])]


def paid(story: Story) -> None:
    """Everything runs until idle, and so does the bank."""
    story.pay()
    bank = SandboxBank(story.installation.settings.home, bic=story.installation.settings.bank.bank_bic, behaviour=ACCEPTS)
    bank.handle_all()
    bank.close()


def divided(story: Story, shards: int) -> Divided:
    story.close()
    done = reshard(story.installation.settings, story.installation.registries, story.urls, shards)
    settings = story.installation.settings.model_copy(update={"shards": shards})
    story.installation = type(story.installation)(settings, Store.open(story.urls), story.installation.registries)
    return done


def money(story: Story) -> list[tuple[str, int, int, str]]:
    return [(order.subject, order.sequence, order.amount_minor, order.state.name) for order in story.orders()]


def rows(story: Story) -> dict[str, list[str]]:
    return {table: sorted(str(row) for row in story.ask(f"SELECT to_jsonb(t) - 'taken_at' FROM {table} AS t")) for table in ("lane", "facts", "payment_order")}


@pytest.mark.parametrize("servers", [1, 2])
def test_an_installation_with_more_shards_goes_on_as_one_that_was_left_alone(tale: Tale, servers: int) -> None:
    left, moved = tale(shards=2, servers=servers), tale(shards=2, servers=servers)
    for story in (left, moved):
        story.tell(first())
        paid(story)
    done = divided(moved, 6)
    assert (done.before, done.after, done.audit.ok) == (2, 6, True)
    assert done.moved == sum(shard_of(subject, 2) != shard_of(subject, 6) for subject in PEOPLE) > 20
    assert {shard for (shard,) in moved.ask("SELECT DISTINCT shard FROM facts")} == set(range(6))
    assert all(shard_of(subject, 6) == shard for table in TABLES for shard, subject in moved.ask(f"SELECT shard, subject FROM {table}"))
    assert moved.digest() == left.digest()
    assert money(moved) == money(left)
    for story in (left, moved):
        story.tell(later())
        paid(story)  # and the answers of the bank to what was sent before
        story.pay()
        story.audit(replay=True)
    assert moved.digest() == left.digest()
    assert money(moved) == money(left)


def test_outbox_numbers_go_on_above_every_one_that_was_given(tale: Tale) -> None:
    story = tale(shards=2)
    story.tell(first())
    story.pay()
    given = dict(story.ask("SELECT shard, release_seq FROM lane"))
    for shards in (4, 8):
        divided(story, shards)
        story.tell(later() if shards == 4 else [income(subject, 95_000, 3) for subject in PEOPLE[40:]])
        story.pay()
    on_topic: dict[int, list[int]] = {}
    for shard in range(8):
        values = LogReader(story.installation.log_directory, ORDERS, shard).read(0, max_records=1_000).values
        on_topic[shard] = [decode_released(value).release_seq for value in values]
    assert all(numbers == sorted(set(numbers)) for numbers in on_topic.values()), "whoever has handled n ignores n or less"
    assert all(min(on_topic[shard][given[shard] :]) > given[shard] for shard in given)
    story.audit()


def test_a_shard_in_which_nothing_was_released_yet_submits_its_first_order(tale: Tale) -> None:
    story = tale(shards=1)
    one = PEOPLE[0]
    story.tell(person(one))
    story.pay()
    assert divided(story, 2).audit.ok
    other = next(subject for subject in PEOPLE if shard_of(subject, 2) != shard_of(one, 2))
    story.tell(person(other))
    story.pay()
    assert {order.state.name for order in story.orders()} == {"SENT"}
    story.audit()


def test_an_answer_to_a_submission_from_before_finds_every_order_of_it(tale: Tale) -> None:
    story = tale(shards=2)
    story.tell(first())
    story.pay()
    assert divided(story, 4).audit.ok
    parts = story.ask("SELECT split_part(message_id, '/', 1), sum(orders) FROM submission GROUP BY 1")
    assert len(parts) == 2
    assert sum(orders for _, orders in parts) == len(PEOPLE)
    bank = SandboxBank(story.installation.settings.home, bic=story.installation.settings.bank.bank_bic, behaviour=Behaviour(7, 0, 0, False))
    bank.handle_all()
    bank.close()
    story.pay()
    assert {order.state.name for order in story.orders()} == {"SETTLED"}
    assert not story.findings()
    story.audit()


@pytest.mark.parametrize(("point", "shards"), [("shards_divided", [4, 4]), ("server_divided", [8, 4]), ("topics_grown", [8, 8])])
def test_it_goes_on_where_it_was_interrupted(tale: Tale, point: str, shards: list[int]) -> None:
    story = tale(shards=4, servers=2)
    story.tell(first())
    story.pay()
    before = story.digest()

    class Cut(Exception):
        """The process is gone."""

    def cut(name: str) -> None:
        if name == point:
            raise Cut

    with heard_by(cut), pytest.raises(Cut):
        divided(story, 8)
    assert division.provisioned(story.urls) == shards
    if shards == [8, 4]:
        with pytest.raises(StoreError):
            Store.open(story.urls)
    assert divided(story, 8).audit.ok
    assert division.provisioned(story.urls) == [8, 8]
    assert story.digest() == before
    assert divided(story, 8).moved == 0
    story.tell(later())
    story.pay()
    story.audit()


def test_a_worker_that_still_runs_commits_nothing_more(tale: Tale) -> None:
    story = tale(shards=2)
    story.hears(first())
    lanes = story.lanes
    story._lanes = None
    story.pay()
    with pytest.raises(Malformed, match="payout lanes .*Stop every worker"):
        divided(story, 4)
    division.divide(story.installation.store, 0, 4)  # as if it had connected just afterwards
    divided(story, 4)
    story.tell(later())
    with pytest.raises(Replaced, match="has been replaced"):
        lanes.step()
    lanes.close()
    story.pay()
    story.audit()


@pytest.mark.parametrize(
    ("shards", "told"),
    [(1, "can have 4, 6 or another multiple"), (3, "can have 4, 6 or another multiple"), (5, "another multiple"), (2048, "1024 at most")],
)
def test_only_a_multiple_divides(tale: Tale, shards: int, told: str) -> None:
    story = tale(shards=2)
    with pytest.raises(Malformed, match=told):
        divided(story, shards)
    assert division.provisioned(story.urls) == [2]


def test_people_who_would_change_servers_are_not_moved(tale: Tale) -> None:
    story = tale(shards=3, servers=2)
    with pytest.raises(Malformed, match="3 shards on 2 servers cannot be divided"):
        divided(story, 6)


def test_what_is_not_taken_yet_is_named_and_nothing_changes(tale: Tale) -> None:
    story = tale(shards=2)
    story.hears(first())
    before = rows(story)
    story.tell(later())
    with pytest.raises(Malformed) as refused:
        divided(story, 4)
    assert any("records are not taken yet" in str(problem) for problem in refused.value.problems)
    assert any("released orders are not published" in str(problem) for problem in refused.value.problems)
    assert rows(story) == before


def test_somebody_in_the_shard_of_another_stops_it(tale: Tale) -> None:
    story = tale(shards=2)
    story.tell(first())
    story.pay()
    own = shard_of(PEOPLE[0], 2)
    story.ask("UPDATE facts SET shard = %s WHERE subject = %s RETURNING 1", 1 - own, PEOPLE[0])
    with pytest.raises(StoreError, match=f"{PEOPLE[0]} is kept in shard {1 - own} and belongs to {own}"):
        division.divide(story.installation.store, 0, 4)
    assert division.provisioned(story.urls) == [2]


def test_every_table_of_shards_is_known_to_the_division() -> None:
    known = {*division.OF_SUBJECTS, *division.OF_RECORDS, *division.OF_SHARDS}
    assert {name for name, table in SQLModel.metadata.tables.items() if "shard" in table.columns} <= known


def test_a_table_that_the_division_does_not_know_stops_it(tale: Tale) -> None:
    story = tale(shards=2)
    with story.connection() as connection:
        connection.execute("CREATE TABLE stranger (shard smallint)")
    with pytest.raises(StoreError, match="the table stranger is not known here"):
        division.divide(story.installation.store, 0, 4)


@pytest.mark.usefixtures("quiet_afterwards")
def test_the_command_says_what_has_moved_and_what_to_set(tale: Tale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    story = tale(shards=2)
    story.tell(first())
    story.pay()
    payout = Payout(monkeypatch, capsys, story)
    refused = payout("store", "reshard", "3")
    assert refused.code == 2
    assert "another multiple" in refused.err
    done = payout("store", "reshard", "4")
    assert done.code == 0
    assert done.out.startswith("2 shards have become 4; ")
    assert "set shards = 4 (PAYOUT_SHARDS)" in done.err
    assert "every invariant holds, and what is known and owed is what it was" in done.err
