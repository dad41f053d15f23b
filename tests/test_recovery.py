"""A store restored from a backup pays nobody twice and nobody less: it takes back from its log what it had ordered and sent, and does no work before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from office import Office, entry, variant
from story import Said, Story, Tale, account, income, own_number, person, resident, tale
from town import Payout, quiet_afterwards

from connectors.bank.bank_side import read_initiation
from connectors.failpoints import heard_by
from connectors.sandbox_bank import Behaviour, SandboxBank, journal_path
from connectors.segment_log import LogReader, LogWriter
from connectors.store.schema import StoreError
from pipeline.observing import Silent
from pipeline.orders import State, end_to_end_id, order_id
from pipeline.problems import Malformed
from pipeline.receipts import decode_released, encode
from streams.recovery import Recovered, StoreBehind, behind, recover, refuse_behind
from streams.relay import Relay
from streams.runner import runner_of
from streams.topics import ORDERS, RECEIPTS

__all__ = ["quiet_afterwards", "tale"]

BENEFIT = "us-eip1"
BANK = Behaviour(3, 0.1, 0.1, False)
BEFORE = [person(f"early-{number}", 60_000 + 2_000 * number) for number in range(12)]
HELD = [[resident(f"held-{number}"), income(f"held-{number}", 30_000)] for number in range(4)]
AFTER = [
    *[person(f"late-{number}", 60_000 + 2_000 * number) for number in range(12)],
    *[[account(f"held-{number}")] for number in range(3)],  # what was held leaves
    [income("early-11", 30_000, 2), income("early-10", 150_000, 2), income("early-9", 20_000, 2)],  # more, a claim, more
    [income("held-3", 90_000, 2), account("held-3")],  # its held order is cancelled, and a smaller one made, before there is an account
    [income("late-3", 40_000, 2), income("late-4", 140_000, 2)],
]


def bank(story: Story) -> None:
    """The bank answers what lies there."""
    answering = SandboxBank(story.installation.settings.home, bic=story.installation.settings.bank.bank_bic, behaviour=BANK)
    answering.handle_all()
    answering.close()


def lived(story: Story) -> None:
    """What happens after the backup: told piece by piece, paid and answered in between."""
    for piece in AFTER:
        story.tell(piece)
        story.pay()
        bank(story)
    story.pay()


def recovered(story: Story, **how: object) -> Recovered:
    return recover(story.installation, today=datetime.now(UTC), **how)  # type: ignore[arg-type]


def files(story: Story) -> dict[str, list[str]]:
    """The end-to-end ids of each message to the bank that was put out."""
    found = {}
    for path in sorted((story.installation.bank_directory / "out").glob("*.xml")):
        batch, orders = read_initiation(path.read_bytes())
        found[batch.message_id] = [order.end_to_end_id for order in orders]
    return found


def paid_once(story: Story, reference: Story) -> None:
    """Nobody was sent to the bank twice, the proof holds with the bank's journal, and what is known and owed is what it was."""
    story.audit(journal=journal_path(story.installation.settings.home), replay=True)
    assert story.digest() == reference.digest()
    assert max(Counter(identity for ids in files(story).values() for identity in ids).values()) == 1
    assert not story.dead_letters()
    assert behind(story.installation) == []


class Ruled(Story):
    """A story whose benefit is in the log of rules, so that it can be suspended."""

    def begin(self, keys: Path) -> Ruled:
        self.office = Office(self, keys)
        self.office.active(variant(20_000))
        return self

    def restored(self) -> Ruled:
        """The store as it is now, as a backup of it gives it back; log and bank files are those that go on."""
        self.close()
        back = self.copy()
        assert isinstance(back, Ruled)
        back.office = object.__new__(Office)
        back.office.__dict__.update({**self.office.__dict__, "story": back})
        return back

    def suspend(self) -> None:
        entry(self.office.by("Cleo").suspend(BENEFIT, "restored from a backup"))

    def resume(self) -> None:
        entry(self.office.by("Cleo").resume(BENEFIT))


@pytest.fixture
def ruled(tmp_path: Path) -> Iterator[Callable[..., Ruled]]:
    """Makes such stories."""
    made: list[Ruled] = []

    def make(**shape: object) -> Ruled:
        made.append(Ruled(tmp_path / f"ruled{len(made)}", rules=(), **shape).begin(tmp_path / f"keys{len(made)}"))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for story in made:
        story.close()


def backed_up(story: Ruled) -> Ruled:
    """Some time passes, a backup is made."""
    story.tell(*BEFORE, *HELD)
    story.pay()
    bank(story)
    story.pay()
    return story.restored()


@pytest.mark.parametrize("servers", [1, 2])
def test_a_store_restored_to_yesterday_pays_nobody_twice_and_owes_what_it_owed(ruled: Callable[..., Ruled], servers: int):
    story = ruled(shards=4, servers=servers)
    back = backed_up(story)
    lived(story)
    story.audit(journal=journal_path(story.installation.settings.home))
    sent = files(story)
    back.suspend()
    done = recovered(back)
    assert done.orders == sum(order.release_seq > 0 for order in story.orders()) - 12
    assert (done.submissions, done.untraced) == (len(sent) - len(submitted_before(sent)), [])
    assert behind(back.installation) == []
    back.pay()  # the log is taken again, and nothing leaves
    assert files(back) == sent
    back.resume()
    back.pay()
    bank(back)
    back.pay()
    assert files(back) == sent
    paid_once(back, story)
    assert settled(back) == settled(story)


def submitted_before(sent: dict[str, list[str]]) -> list[str]:
    """The messages that were put out before the backup: those of the early people's first orders."""
    early = {end_to_end_id(order_id(BENEFIT, f"early-{number}", "once", 1), 1) for number in range(12)}
    return [message for message, ids in sent.items() if early & set(ids)]


def settled(story: Story) -> dict[str, tuple[int, int]]:
    """What each subject has had of the bank, and what is claimed back."""
    rows = story.ask(
        "SELECT e.subject, coalesce(sum(o.amount_minor) FILTER (WHERE o.state IN (4, 5)), 0)::bigint, max(e.claim_minor) FROM entitlement AS e"
        " LEFT JOIN payment_order AS o USING (shard, subject, benefit_period_id) GROUP BY 1"
    )
    return {str(subject): (int(paid), int(claim)) for subject, paid, claim in rows}


@pytest.mark.parametrize("point", ["bank_prepared", "bank_file_written", "bank_file_told"])
def test_what_was_being_sent_when_the_store_was_lost_is_sent_once(ruled: Callable[..., Ruled], point: str):
    story = ruled(shards=2)
    back = backed_up(story)
    story.tell(*AFTER[:2])

    class Lost(Exception):
        """The machine of the store is gone."""

    def lose(name: str) -> None:
        if name == point:
            raise Lost

    with heard_by(lose), pytest.raises(Lost):
        story.pay()
    back.suspend()
    recovered(back)
    back.resume()
    back.pay()
    bank(back)
    back.pay()
    assert max(Counter(identity for ids in files(back).values() for identity in ids).values()) == 1
    back.audit(journal=journal_path(back.installation.settings.home), replay=True)
    assert not [order for order in back.orders() if order.state in (State.RELEASED, State.SENT, State.UNKNOWN)]


def test_a_bank_that_knows_no_duplicates_is_asked_nothing_twice_even_without_the_files(ruled: Callable[..., Ruled], tmp_path: Path):
    story = ruled(shards=2)
    back = backed_up(story)
    lived(story)
    for path in (story.installation.bank_directory / "out").iterdir():  # the carrier to the bank took them away
        path.unlink()
    back.suspend()
    assert recovered(back).untraced == []
    back.resume()
    back.pay()
    assert files(back) == {}
    paid = settled(back)
    assert paid == settled(story)


def test_a_store_that_is_behind_its_log_does_no_work_and_says_why(
    tale: Tale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet_afterwards: None
):
    story = tale()
    story.tell(*BEFORE)
    story.work()
    story.close()
    back = story.copy()
    story.pay()  # what was released before the backup is submitted after it
    payout = Payout(monkeypatch, capsys, back)
    answer = payout("run", "--until-idle")
    assert answer.code == 3
    assert "the store is older than its log" in answer.err
    assert "payout store recover" in answer.err
    assert not [order for order in back.orders() if order.state is not State.RELEASED]
    assert payout("store", "recover", "--keep-paying").code == 0
    assert payout("run", "--until-idle").code == 0
    assert {order.state for order in back.orders()} == {State.SENT}
    assert "0 orders taken back" in payout("store", "recover").out


def test_a_released_order_that_the_store_does_not_know_is_noticed_before_and_after_the_lanes_have_worked(tale: Tale):
    story = tale(shards=1)
    story.tell(*BEFORE[:2])
    story.pay()
    back = story.copy()
    story.tell(BEFORE[3], BEFORE[5])
    story.pay()
    with pytest.raises(StoreBehind, match=r"shard 0 has released orders up to number 2, payment.orders holds 4"):
        refuse_behind(back.installation)
    back.tell(BEFORE[2])
    back.work()  # somebody has not listened: the numbers are given anew
    back.close()
    with pytest.raises(StoreBehind, match="messages to the bank that the store does not know|is another one|have left"):
        refuse_behind(back.installation)
    with pytest.raises(StoreError, match="has worked before it was recovered"):
        recovered(back, keep_paying=True)
    with LogWriter(back.installation.log_directory) as log, back.connection() as connection:
        assert Relay(connection, log, 0).step() > 0  # they are published as well: the highest number alone agrees now
    with pytest.raises(StoreBehind, match=r"payment.orders holds two orders under the number [34]"):
        refuse_behind(back.installation)


def test_recovery_waits_until_nothing_pays_and_nobody_works(ruled: Callable[..., Ruled]):
    story = ruled()
    back = backed_up(story)
    lived(story)
    with pytest.raises(StoreError, match="us-eip1 would pay while the log is taken again"):
        recovered(back)
    back.suspend()
    _ = back.lanes
    with pytest.raises(StoreError, match="payout lanes .* stop every worker"):
        recovered(back)
    back.close()
    until_gone(back)
    assert recovered(back).orders > 0


def until_gone(story: Story) -> None:
    gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'payout lanes%%'"
    for _ in range(10_000):
        if story.ask(gone) == [(0,)]:
            return
    raise AssertionError("the lanes are still connected")


def test_a_rule_that_was_activated_after_the_backup_must_be_told_again_first(ruled: Callable[..., Ruled], tmp_path: Path):
    story = Ruled(tmp_path / "home", rules=())
    story.office = Office(story, tmp_path / "keys")
    back = story.restored()
    rule = variant(20_000)
    story.office.active(rule)
    lived(story)
    with pytest.raises(StoreError, match="us-eip1 once, of which the restored store has no rule"):
        recovered(back)
    back.office.active(rule)
    back.suspend()
    recovered(back)
    back.pay()
    back.resume()
    back.pay()
    paid_once(back, story)


def test_recovery_that_was_stopped_goes_on_and_a_second_one_changes_nothing(ruled: Callable[..., Ruled], monkeypatch: pytest.MonkeyPatch):
    story = ruled(shards=2)
    back = backed_up(story)
    lived(story)
    back.suspend()
    monkeypatch.setattr("streams.recovery.CHUNK", 3)

    class Stopped(Exception):
        """Ctrl-C."""

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise Stopped

    with pytest.raises(Stopped):
        recovered(back, progress=stop)
    first = recovered(back)
    again = recovered(back)
    assert 0 < first.orders < 25
    assert (again.orders, again.submissions) == (0, 0)
    back.pay()
    back.resume()
    back.pay()
    paid_once(back, story)


def test_a_log_that_does_not_reach_back_to_the_backup_is_refused(tale: Tale):
    story = tale(shards=1)
    story.tell(*BEFORE[:2])
    story.pay()
    back = story.copy()
    with story.connection() as connection:  # the store gives numbers, and one of them never reaches the topic
        connection.execute("UPDATE lane SET release_seq = release_seq + 1")
        connection.execute("UPDATE relay SET relayed_seq = relayed_seq + 1")
    story.tell(BEFORE[2])
    story.work()
    story.close()
    with LogWriter(story.installation.log_directory) as log, story.connection() as connection:
        assert Relay(connection, log, 0).step() == 1
    with pytest.raises(StoreError, match=r"order 3 is no longer in payment.orders, and the store ends at 2: restore a younger backup"):
        recovered(back, keep_paying=True)


def test_two_orders_under_one_number_are_refused(tale: Tale):
    story = tale(shards=1)
    back = story.copy()
    story.hears(BEFORE[0])
    story.pay()
    (value,) = LogReader(story.installation.log_directory, ORDERS, 0).read(0, max_records=10).values
    with LogWriter(story.installation.log_directory) as log:
        log.append(ORDERS, 0, [(b"x", encode(replace(decode_released(value), order="0" * 30)))])
    with pytest.raises(StoreError, match="two orders under the number 1"):
        recovered(back, keep_paying=True)


def test_a_file_with_orders_that_the_log_does_not_tell_is_refused_and_one_that_differs_too(tale: Tale, tmp_path: Path):
    story, stranger = tale(shards=1), tale(shards=1)
    story.tell(*BEFORE[:2])
    story.pay()
    back = story.copy()
    stranger.tell(AFTER[0])
    stranger.pay()
    with pytest.raises(Malformed, match="1 of its 1 orders are not in the store"):
        recovered(back, keep_paying=True, sent=[stranger.installation.bank_directory / "out"])
    story.tell(BEFORE[2])
    story.pay()
    (newest,) = [path for path in (story.installation.bank_directory / "out").iterdir() if "early-2" in path.read_text()]
    amount = next(str(order.amount_minor) for order in read_initiation(newest.read_bytes())[1])
    whole = newest.read_text()
    newest.write_text(whole.replace(f"{int(amount) // 100}.00", "7.00"))
    with pytest.raises(Malformed, match="700 USD there, 120000 USD in the store"):
        recovered(back, keep_paying=True)


def test_an_order_between_sent_ones_of_which_nothing_tells_is_not_sent_and_is_named(tale: Tale):
    story = tale(shards=1)
    story.tell(*BEFORE[:2])
    story.pay()
    back = story.copy()
    for piece in BEFORE[2:5]:
        story.tell(piece)
        story.pay()
    out = story.installation.bank_directory / "out"
    (middle,) = [path for path in out.iterdir() if "early-3" in path.read_text()]
    lost = read_initiation(middle.read_bytes())[1][0].end_to_end_id
    middle.unlink()
    back.close()
    drop_receipts_of(story, b"early-3")
    done = recovered(back, keep_paying=True)
    assert [order.end_to_end_id for order in done.untraced] == [lost]
    before = set(files(back))
    back.pay()
    assert set(files(back)) == before
    assert [order.subject for order in back.orders() if order.state is State.RELEASED] == ["early-3"]


def drop_receipts_of(story: Story, key: bytes) -> None:
    """The log as it would be had the word that somebody's order was sent never been written."""
    records = LogReader(story.installation.log_directory, RECEIPTS, 0).read(0, max_records=100)
    kept = [(k, v) for k, v in zip(records.keys, records.values, strict=True) if k != key]
    rmtree(story.installation.log_directory / RECEIPTS / "0")
    with LogWriter(story.installation.log_directory) as log:
        log.append(RECEIPTS, 0, kept)


# Whatever happened.

SUBJECTS = ["ann", "bob", "eve"]
THINGS = st.one_of(
    st.tuples(st.just("income"), st.sampled_from(SUBJECTS), st.sampled_from([20_000, 80_000, 90_000, 150_000])),
    st.tuples(st.just("account"), st.sampled_from(SUBJECTS), st.sampled_from(["active", "closed"])),
    st.tuples(st.just("pay"), st.just(""), st.just(0)),
)


def happen(story: Story, thing: tuple[str, str, object], sequence: int) -> None:
    kind, subject, value = thing
    if kind == "pay":
        story.pay()
        bank(story)
        return
    said: Said = income(subject, value, sequence) if kind == "income" else account(subject, sequence, status=str(value), number=own_number(subject))  # type: ignore[arg-type]
    story.tell([said])


@settings(max_examples=6)
@given(before=st.lists(THINGS, max_size=6), after=st.lists(THINGS, max_size=10))
def test_whatever_happened_before_and_after_the_backup_what_is_owed_is_paid_once(
    tmp_path_factory: pytest.TempPathFactory, before: list[tuple[str, str, object]], after: list[tuple[str, str, object]]
):
    folder = tmp_path_factory.mktemp("recovery")
    story = Ruled(folder / "home", rules=(), shards=1, frame_records=3).begin(folder / "keys")
    story.tell([resident(subject) for subject in SUBJECTS])
    for number, thing in enumerate(before, 2):
        happen(story, thing, number)
    back = story.restored()
    for number, thing in enumerate(after, 100):
        happen(story, thing, number)
    story.pay()
    bank(story)
    sent = files(story)
    back.suspend()
    recovered(back)
    with runner_of(back.installation, Silent(), 0) as runner:
        runner.run(until_idle=True)
    assert files(back) == sent
    back.resume()
    back.pay()
    bank(back)
    back.pay()
    story.pay()
    back.audit(journal=journal_path(back.installation.settings.home))
    assert back.digest() == story.digest()
    ids = Counter(identity for put in files(back).values() for identity in put)
    assert max(ids.values(), default=0) <= 1
    assert not back.dead_letters()
    assert {subject: level for subject, level in net(back).items() if level} == {subject: level for subject, level in net(story).items() if level}


def net(story: Story) -> dict[str, int]:
    """What each subject's orders come to, less what is claimed back: what is owed, where it is known."""
    return {str(subject): int(amount) for subject, amount in story.ask("SELECT subject, live_minor - claim_minor FROM entitlement WHERE decision <> 2")}
