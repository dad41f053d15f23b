"""A store that moves to another PostgreSQL server goes on there as if nothing had been, and the old one does no more work."""

from __future__ import annotations

import pytest
from story import Story, Tale, death, income, person, server, tale
from town import Payout, quiet_afterwards

from connectors.sandbox_bank import Behaviour, SandboxBank, journal_path
from connectors.store.connecting import connect
from connectors.store.copying import copy_store
from connectors.store.schema import StoreError
from connectors.store.servers import Store

__all__ = ["quiet_afterwards", "tale"]

PEOPLE = [f"us-{number:02}" for number in range(24)]


def empty(name: str) -> str:
    """The URL of a database with nothing in it."""
    with connect(server().url, "story") as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server().url_of(name)


def bank(story: Story) -> None:
    answering = SandboxBank(story.installation.settings.home, bic=story.installation.settings.bank.bank_bic, behaviour=Behaviour(3, 0.1, 0.1, False))
    answering.handle_all()
    answering.close()


def rows(story: Story) -> dict[str, list[str]]:
    """Every row of every table."""
    names = [str(name) for (name,) in story.ask("SELECT DISTINCT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1") if name != "schema_version"]
    return {name: sorted(str(row) for (row,) in story.ask(f"SELECT to_jsonb(t) FROM {name} AS t")) for name in names}


@pytest.mark.parametrize("servers", [1, 2])
def test_a_store_that_has_moved_holds_every_row_and_goes_on(tale: Tale, servers: int) -> None:
    story = tale(shards=4, servers=servers)
    story.tell(*map(person, PEOPLE))
    story.pay()
    bank(story)
    counted = "SELECT nextval(pg_get_serial_sequence('hold_release', 'number'))"
    for _ in range(3):
        story.ask(counted)
    before, digest = rows(story), story.digest()
    targets = [empty(f"moved_{servers}_{number}") for number in range(servers)]
    assert copy_store(story.installation.store, targets) == sum(map(len, before.values()))
    moved = story.copy()
    moved.urls = targets
    moved.installation = type(moved.installation)(moved.installation.settings, Store.open(targets), moved.installation.registries)
    assert rows(moved) == before
    assert moved.digest() == digest
    assert moved.ask(counted)[0] == (4,), "the next release by hand has a number that nobody has seen"
    moved.tell(*([income(subject, 90_000, 2)] for subject in PEOPLE[:8]), [death(PEOPLE[9])], person("new"))
    moved.pay()  # and the answers of the bank to what was sent from the old place
    moved.audit(journal=journal_path(moved.installation.settings.home), replay=True)
    assert len(moved.orders()) == len(PEOPLE) + 1
    moved.close()


def test_a_copy_is_made_of_a_store_at_rest_and_into_nothing(tale: Tale) -> None:
    story = tale()
    story.hears(person("us-1"))
    target = empty("moved_refused")
    with pytest.raises(StoreError, match="payout lanes .* stop every worker"):
        copy_store(story.installation.store, [target])
    story.close()
    with pytest.raises(StoreError, match="has tables already"):
        copy_store(story.installation.store, story.copy().urls)
    with pytest.raises(StoreError, match="on 1 servers, 2 are named"):
        copy_store(story.installation.store, [target, target])

    def cut(table: str, count: int) -> None:
        if table == "payment_order":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_store(story.installation.store, [target], cut)
    assert copy_store(story.installation.store, [target]) > 0, "what was cut off has left nothing"


@pytest.mark.usefixtures("quiet_afterwards")
def test_the_command_says_what_to_set_without_the_password_and_the_old_store_does_no_more_work(
    tale: Tale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    story = tale()
    story.tell(person("us-1"))
    story.pay()
    payout = Payout(monkeypatch, capsys, story)
    target = empty("moved_command")
    done = payout("store", "copy", target.replace("@", ":hush@", 1))  # a local server asks for none
    assert done.code == 0, done.err
    assert "rows copied" in done.out
    assert "hush" not in done.err
    assert "store_urls" in done.err
    monkeypatch.setenv("PAYOUT_STORE_URLS", target)
    story.tell(person("us-2"))
    assert payout("run", "--until-idle", "--processes", "1").code == 0
    monkeypatch.setenv("PAYOUT_STORE_URLS", story.urls[0])
    old = payout("run", "--until-idle", "--processes", "1")
    assert old.code == 3
    assert "the store is older than its log" in old.err
    assert payout("store", "copy", target).code == 3
