"""What-if on the facts of a real store: frozen consistently, without account numbers, and decided as the lanes decided them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from office import NOW as OFFICE_NOW
from office import Office, variant
from story import LAW, Story, Tale, account, income, person, resident, tale
from test_households import JAPAN, family, lives, told
from town import SHARED_NUMBER, Payout, Town, account_numbers, quiet_afterwards, town

from connectors.rule_files import read_rule
from connectors.snapshot import InForce, Snapshot, freeze, open_snapshot
from connectors.snapshot_people import SnapshotPeople
from pipeline.facts import decode_history
from pipeline.problems import Malformed
from pipeline.rules import ONCE, load_rule
from pipeline.whatif import Side, SimulationResult, simulate, simulation_hash

__all__ = ["quiet_afterwards", "tale", "town"]

DAY, NOW = date(2020, 6, 1), datetime(2020, 6, 1, 12, tzinfo=UTC)


def frozen(story: Story, directory: Path, on: date = DAY) -> Snapshot:
    return freeze(story.installation.store, story.installation.registries, story.installation.policy, directory, on, NOW)


def side(story: Story, path: Path = LAW) -> Side:
    return Side(read_rule(path, story.installation.registries), ONCE)


def what_if(story: Story, taken: Snapshot, candidate: Side, active: Side | None = None, **more: object) -> SimulationResult:
    return simulate(candidate, active, SnapshotPeople(taken, candidate, active, story.installation.registries, **more))  # type: ignore[arg-type]


def test_the_snapshot_of_a_town_decides_as_the_lanes_did_and_sums_to_what_they_ordered(town: Town, tmp_path: Path):
    story = town.story
    result = what_if(story, frozen(story, tmp_path), side(story))
    decided = story.ask("SELECT decision, count(*), sum(owed_minor) FROM entitlement GROUP BY decision")
    cells = {cell.candidate: (cell.people, cell.candidate_minor) for cell in result.decisions}
    assert cells == {("refused", "granted", "undetermined")[code]: (count, int(minor)) for code, count, minor in decided}
    live = sum(int(amount) for (amount,) in story.ask("SELECT sum(amount_minor) FROM payment_order WHERE state <> 9"))
    claims = sum(int(amount) for (amount,) in story.ask("SELECT sum(claim_minor) FROM entitlement"))
    assert result.whole.candidate_minor == live - claims > 0


def test_who_could_not_be_paid_is_who_is_held(town: Town, tmp_path: Path):
    story = town.story
    found = what_if(story, frozen(story, tmp_path, date.today()), side(story)).payability  # noqa: DTZ011
    assert found is not None
    held = dict(story.ask("SELECT reason, count(*) FROM payment_order WHERE state = 1 GROUP BY reason"))
    assert {row.reason: row.people for row in found.unpaid} == held


def test_nothing_that_is_frozen_or_written_holds_an_account_number(town: Town, tmp_path: Path):
    taken = frozen(town.story, tmp_path)
    what_if(town.story, taken, side(town.story))
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        held = repr(pl.read_parquet(path).rows()) if path.suffix == ".parquet" else path.read_text()
        assert not [number for number in [*account_numbers(), SHARED_NUMBER] if number in held]
    registries = {event.registry for path in taken.parts for raw in pl.read_parquet(path).get_column("history") for event in decode_history(raw)}
    assert registries == {"us-irs", "residency"}


def test_the_name_of_a_snapshot_follows_from_its_content_and_not_from_shards_or_servers(tale: Tale, tmp_path: Path):
    names = []
    for shards, servers in ((2, 1), (3, 2)):
        story = tale(shards=shards, servers=servers)
        story.hears(person("us-a"), person("us-b", 90_000), resident("us-c"), [account("us-x", number="77"), account("us-y", number="77")])
        names.append(frozen(story, tmp_path / str(servers)).manifest.hash)
    assert names[0] == names[1]
    again = frozen(story, tmp_path / "2")
    assert again.directory.name == names[0][:16]
    assert [path.name for path in again.directory.parent.iterdir()] == [again.directory.name]
    story.hears(income("us-c", 1))
    assert frozen(story, tmp_path / "2").manifest.hash != names[0]


def test_a_snapshot_does_not_change_when_the_store_does_and_its_facts_are_read_once(tale: Tale, tmp_path: Path):
    story = tale()
    story.hears(person("us-a"), person("us-b", 90_000))
    taken = frozen(story, tmp_path)
    before = simulation_hash(what_if(story, taken, side(story)))
    story.hears(income("us-a", 200_000, 2))
    read: list[int] = []
    again = what_if(story, open_snapshot(taken.directory), side(story), progress=lambda done, total: read.append(done))
    assert simulation_hash(again) == before
    assert read == []


def test_provisional_facts_are_told_apart_and_people_grouped_by_what_no_rule_reads(tale: Tale, tmp_path: Path):
    story = tale()
    story.hears(person("us-a"), person("us-b", status="preliminary"))
    taken = frozen(story, tmp_path)
    result = what_if(story, taken, side(story))
    assert [(row.accepts, row.granted, row.undetermined) for row in result.certainty] == [("document", 1, 1), ("provisional", 2, 0)]
    ages = next(dimension for dimension in result.dimensions if dimension.name == "age")
    assert [(group.label, group.tally.people) for group in ages.groups] == [("45-54", 2)]
    by = simulate(side(story), None, SnapshotPeople(taken, side(story), None, story.installation.registries, by=["residency.birth_date"]), by=["age"])
    assert [dimension.name for dimension in by.dimensions] == ["age"]


def test_households_are_simulated_by_their_members_and_their_heads_could_be_paid_or_not(tale: Tale, tmp_path: Path):
    story = tale(shards=3, rules=(JAPAN,))
    told(story, family("jp-tanaka", 4), family("jp-sato", 1), [lives("jp-mori-0", "jp-mori", "head"), lives("jp-abe-0", "jp-abe")])
    taken = frozen(story, tmp_path, date.today())  # noqa: DTZ011
    text = JAPAN.read_text().partition("\ntests:")[0].replace("100_000", "120_000")
    candidate = Side(load_rule(text, story.installation.registries.catalogue), ONCE)
    result = what_if(story, taken, candidate, side(story, JAPAN))
    assert result.population.people == 4  # no member is counted beside their household
    assert (result.whole.active_minor, result.whole.candidate_minor, result.whole.more) == (700_000, 840_000, 4)
    assert result.payability is not None
    assert (result.payability.payable, result.payability.payable_minor) == (2, 600_000)
    assert {row.reason: row.people for row in result.payability.unpaid} == {"no_account": 1, "payee_unknown": 1}
    held = dict(story.ask("SELECT reason, count(*) FROM payment_order WHERE state = 1 GROUP BY reason"))
    assert {row.reason: row.people for row in result.payability.unpaid} == held


def test_a_folder_that_is_no_snapshot_is_told(tmp_path: Path):
    with pytest.raises(Malformed, match="is no snapshot"):
        open_snapshot(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(Malformed, match="cannot be read"):
        open_snapshot(tmp_path)


def test_the_commands_freeze_the_store_and_simulate_on_it(town: Town, monkeypatch, capsys, tmp_path: Path, quiet_afterwards: None):
    payout = Payout(monkeypatch, capsys, town.story)
    made = json.loads(payout("rules", "snapshot", "--output", str(tmp_path), "--json").out)
    cheaper = tmp_path / "cheaper.yaml"
    cheaper.write_text(LAW.read_text().partition("tests:")[0].replace("[1_200, 2_400, 1_200, 1_200]", "[1_000, 2_000, 1_000, 1_000]"))
    code, out, err = payout("rules", "simulate", str(cheaper), "--snapshot", made["folder"], "--output", str(tmp_path / "reports"), "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["result"]["active"]["benefit"] == "us-eip1"
    assert said["result"]["whole"]["less"] > 0
    assert said["result"]["whole"]["more"] == 0
    assert sorted(said["files"]) == ["csv", "html", "json"]
    again = json.loads(payout("rules", "simulate", str(cheaper), "--snapshot", made["folder"], "--output", str(tmp_path / "reports"), "--json").out)
    assert again["hash"] == said["hash"]
    assert payout("rules", "simulate", str(cheaper), "--snapshot", "feedbeef").code == 2


@pytest.mark.usefixtures("quiet_afterwards")
def test_the_rule_that_the_log_has_in_force_is_what_a_candidate_is_compared_with(tale: Tale, monkeypatch, capsys, tmp_path: Path):
    office = Office(tale(rules=(), today=lambda: OFFICE_NOW.date()), tmp_path / "keys")
    office.story.tell(person("us-a"), person("us-b", 90_000))
    law = office.active(variant(20_000))
    office.active(variant(20_000, 1_300), share=500)  # tried on a few: most are decided by the law
    office.story.follow()
    payout = Payout(monkeypatch, capsys, office.story)
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text(variant(20_000, 1_500).text)
    said = json.loads(payout("rules", "simulate", str(candidate), "--json").out)["result"]
    assert said["active"]["hash"] == law.hash
    assert (said["whole"]["more"], said["whole"]["candidate_minor"] - said["whole"]["active_minor"]) == (2, 60_000)
    assert payout("rules", "snapshot").code == 0


def test_a_snapshot_of_the_same_people_names_the_rules_that_are_in_force_now(tale: Tale, tmp_path: Path):
    story = tale()
    story.hears(person("us-a"))
    taken = frozen(story, tmp_path)
    rule = InForce("us-eip1", "once", "0" * 64, "text")
    store, registries, policy = story.installation.store, story.installation.registries, story.installation.policy
    again = freeze(store, registries, policy, tmp_path, DAY, NOW, [rule])
    assert again.manifest.hash == taken.manifest.hash
    assert open_snapshot(taken.directory).manifest.rules == (rule,)
