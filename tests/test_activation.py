"""What decides follows the log of rules: activation runs, shares, suspension and rollback, on a real PostgreSQL with the real lanes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from office import NOW, Office, entry, unclaimed, variant
from story import LAW, Said, Story, Tale, account, income, person, tale, withdrawn
from town import Payout, quiet_afterwards

from connectors.failpoints import ACTIVATION, VARIABLE
from connectors.registries import load_registries
from connectors.store.activations import runs
from connectors.store.servers import connect
from pipeline.entitlements import Decision
from pipeline.facts import decode_history
from pipeline.observing import Silent
from pipeline.orders import State
from pipeline.problems import Malformed
from pipeline.rules import Rule, load_rule
from pipeline.rules.approval import Refusal
from pipeline.rules.life import WHOLE, place_in_share
from streams.activation import ActivationRuns
from streams.runner import Progress, runner_of
from streams.settings import SHIPPED

__all__ = ["quiet_afterwards", "tale"]

PEOPLE = [f"us-{number:03}" for number in range(60)]


@pytest.fixture(scope="module")
def law() -> Rule:
    return variant(20_000)


@cache
def generous() -> Rule:
    """1,300 for one adult."""
    return variant(20_000, 1_300)


@cache
def meagre() -> Rule:
    """1,000 for one adult."""
    return variant(20_000, 1_000)


@pytest.fixture
def office(tale: Tale, tmp_path: Path) -> Office:
    return Office(tale(rules=(), today=lambda: NOW.date()), tmp_path / "keys")


def follow(office: Office) -> None:
    """The lanes look at the log, and do everything that follows."""
    office.story.follow()


def decided(story: Story) -> dict[str, int]:
    """What is owed to everybody who is decided."""
    return dict(story.ask("SELECT subject, owed_minor FROM entitlement"))


def live(story: Story) -> dict[str, int]:
    """Live orders less claims of everybody who has any."""
    rows = story.ask(
        "SELECT e.subject, coalesce(sum(o.amount_minor) FILTER (WHERE o.state <> 9), 0)::bigint - e.claim_minor"
        " FROM entitlement AS e LEFT JOIN payment_order AS o USING (shard, subject, benefit_period_id) GROUP BY e.subject, e.claim_minor"
    )
    return dict(rows)


def test_a_rule_that_is_activated_decides_everybody_already_known_and_nobody_twice(office: Office, law: Rule):
    story = office.story
    story.hears(*map(person, PEOPLE))
    assert decided(story) == {}
    office.active(law)
    follow(office)
    assert decided(story) == dict.fromkeys(PEOPLE, 120_000)
    assert len(story.orders()) == len(PEOPLE)
    follow(office)
    story.restart()
    assert len(story.orders()) == len(PEOPLE)
    (run,) = runs(story.installation.store)
    assert (run.rule, run.share, run.done, run.decided, run.known) == (law.hash, WHOLE, run.shards, len(PEOPLE), len(PEOPLE))
    story.audit()


def test_a_share_is_decided_first_and_the_others_when_it_grows(office: Office, law: Rule):
    story = office.story
    story.hears(*map(person, PEOPLE))
    office.active(law, share=2_500)
    follow(office)
    first = {name for name in PEOPLE if place_in_share("us-eip1", name) < 2_500}
    assert 0 < len(first) < len(PEOPLE)
    assert set(decided(story)) == first
    story.hears(person("us-new"))
    assert ("us-new" in decided(story)) == (place_in_share("us-eip1", "us-new") < 2_500)
    story.audit()
    entry(office.by("Cleo").activate(law.hash))
    follow(office)
    assert set(decided(story)) == {*PEOPLE, "us-new"}
    assert len(story.orders()) == len(PEOPLE) + 1
    story.audit()


def test_the_audit_finds_somebody_of_the_share_who_is_not_decided(office: Office, law: Rule):
    office.story.hears(*map(person, PEOPLE))
    office.active(law, share=2_500)
    follow(office)
    office.story.close()
    missed = next(iter(decided(office.story)))
    for table in ("order_history", "payment_order", "entitlement"):
        with connect(office.story.urls[0], "test") as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(f"DELETE FROM {table} WHERE subject = '{missed}'".encode())
    (complete,) = [check for check in office.story.examine().checks if check.id == "complete"]
    assert complete.examples == [f"{missed} has no decision for us-eip1 once"]


def test_the_others_stay_under_the_older_rule_until_the_share_grows_and_go_back_with_a_rollback(office: Office, law: Rule):
    story = office.story
    story.hears(*map(person, PEOPLE))
    office.active(law)
    follow(office)
    office.active(generous(), share=2_500)
    follow(office)
    trial = {name for name in PEOPLE if place_in_share("us-eip1", name) < 2_500}
    assert decided(story) == {name: 130_000 if name in trial else 120_000 for name in PEOPLE}
    assert sum(order.amount_minor for order in story.orders()) == 120_000 * len(PEOPLE) + 10_000 * len(trial)
    story.audit(replay=True)
    entry(office.by("Cleo").rollback("us-eip1"))
    follow(office)
    assert decided(story) == dict.fromkeys(PEOPLE, 120_000)
    assert story.ask("SELECT sum(claim_minor)::bigint FROM entitlement") == [(10_000 * len(trial),)]
    assert live(story) == decided(story)
    story.audit()


def test_what_was_paid_too_little_after_a_rollback_is_paid(office: Office, law: Rule):
    story = office.story
    story.hears(*map(person, PEOPLE))
    for rule in (law, meagre()):
        office.active(rule)
        follow(office)
    assert story.ask("SELECT sum(claim_minor)::bigint FROM entitlement") == [(20_000 * len(PEOPLE),)]
    story.hears(person("us-late"))
    assert [order.amount_minor for order in story.orders("us-late")] == [100_000]
    entry(office.by("Cleo").rollback("us-eip1"))
    follow(office)
    assert [order.amount_minor for order in story.orders("us-late")] == [100_000, 20_000]
    assert story.ask("SELECT sum(claim_minor)::bigint FROM entitlement") == [(0,)]
    story.audit()


def test_a_suspended_benefit_is_decided_and_nothing_leaves_until_it_is_resumed(office: Office, law: Rule):
    story = office.story
    office.active(law)
    story.hears(person("us-before"), income("us-waits", 30_000))
    follow(office)
    entry(office.by("Cleo").suspend("us-eip1", "the budget"))
    follow(office)
    story.hears(person("us-during"))
    assert decided(story)["us-during"] == 120_000
    states = {order.subject: (order.state, order.reason) for order in story.orders()}
    assert states == {"us-before": (State.RELEASED, ""), "us-during": (State.HELD, "benefit_suspended")}
    story.audit()
    entry(office.by("Cleo").resume("us-eip1"))
    follow(office)
    assert {order.subject: order.state for order in story.orders()} == {"us-before": State.RELEASED, "us-during": State.RELEASED}
    story.audit()


def test_a_held_order_of_a_suspended_benefit_stays_when_its_account_comes(office: Office, law: Rule):
    story = office.story
    office.active(law)
    story.hears([record for record in person("us-x") if "account" not in record.topic])
    follow(office)
    assert [order.reason for order in story.orders()] == ["no_account"]
    entry(office.by("Cleo").suspend("us-eip1"))
    follow(office)
    story.hears(account("us-x"))
    assert [(order.state, order.reason) for order in story.orders()] == [(State.HELD, "benefit_suspended")]
    entry(office.by("Cleo").resume("us-eip1"))
    follow(office)
    assert [order.state for order in story.orders()] == [State.RELEASED]
    story.audit()


def test_a_rule_scheduled_for_a_day_decides_when_the_day_begins_without_a_restart(tale: Tale, tmp_path: Path, law: Rule):
    today = [NOW.date()]
    office = Office(tale(rules=(), today=lambda: today[0]), tmp_path / "keys")
    office.story.hears(person("us-x"))
    office.active(law, at=NOW.date() + timedelta(days=1))
    follow(office)
    assert decided(office.story) == {}
    today[0] += timedelta(days=1)
    follow(office)
    assert decided(office.story) == {"us-x": 120_000}
    office.story.audit()


def test_each_quarter_is_opened_when_it_begins(tale: Tale, tmp_path: Path):
    today = [date(2026, 12, 30)]
    office = Office(tale(rules=(), today=lambda: today[0]), tmp_path / "keys")
    office.active(load_rule(unclaimed(SHIPPED / "benefits/dk-child-benefit/2022-01-01.yaml"), load_registries(SHIPPED / "registries").catalogue))
    office.story.hears(person("us-x"))
    follow(office)
    opened = "SELECT period FROM entitlement JOIN benefit_period USING (benefit_period_id) ORDER BY 1"
    assert office.story.ask(opened) == [("2026-Q4",)]
    today[0] = date(2027, 1, 1)
    follow(office)
    assert office.story.ask(opened) == [("2026-Q4",), ("2027-Q1",)]
    office.now = datetime(2027, 1, 1, tzinfo=UTC)
    entry(office.by("Cleo").retire("dk-child-benefit"))
    today[0] = date(2027, 4, 1)
    follow(office)
    assert office.story.ask(opened) == [("2026-Q4",), ("2027-Q1",)]
    office.story.audit()


def test_rules_that_cannot_be_read_change_nothing_and_the_last_good_one_stays(office: Office, law: Rule):
    story = office.story
    office.active(law)
    follow(office)
    office.active(generous())
    with connect(story.urls[0], "test") as connection:
        connection.execute("ALTER TABLE rule_log DISABLE TRIGGER rule_log_append_only")
        connection.execute("UPDATE rule_log SET content = replace(content, '1_300', '9_999') WHERE person = 'Cleo'")
    office.forget()
    follow(office)
    story.hears(person("us-x"))
    assert decided(story) == {"us-x": 120_000}
    with pytest.raises(Malformed, match="it is not the document that was submitted"):
        story.installation.standing(NOW.date())


def test_a_document_that_nobody_approved_decides_only_where_it_is_trusted(tale: Tale):
    story = tale(rules=(LAW,))
    story.hears(person("us-x"))
    assert decided(story) == {"us-x": 120_000}
    story.installation = type(story.installation)(
        story.installation.settings.model_copy(update={"trust_rules": False}), story.installation.store, story.installation.registries
    )
    with pytest.raises(Malformed, match=r"nobody has approved the documents .*2020-03-27\.yaml.* trust_rules = true"):
        story.installation.standing(NOW.date())


def test_a_benefit_is_not_decided_by_a_trusted_document_beside_an_activated_one(office: Office, law: Rule):
    office.active(law)
    updated = office.story.installation.settings.model_copy(update={"rules": (LAW,)})
    both = type(office.story.installation)(updated, office.story.installation.store, office.story.installation.registries)
    with pytest.raises(Malformed, match="is decided by a trusted document and by an activated one"):
        both.standing(NOW.date())


# The activation run.


def test_a_run_goes_on_where_it_was_stopped(office: Office, law: Rule):
    story = office.story
    story.hears(*map(person, PEOPLE))
    office.active(law)
    standings = story.installation.standing(NOW.date())
    lanes = story.lanes
    lane = lanes._lanes[0]
    known = len(story.ask("SELECT 1 FROM facts WHERE shard = 0"))
    stopped = ActivationRuns(lane, chunk=7)
    stopped.begin(standings)
    assert (stopped.progress, stopped.step(), stopped.step()) == ((0, known), 7, 7)
    resumed = ActivationRuns(lane, chunk=7)
    resumed.begin(standings)
    assert resumed.progress == (14, known)
    looked_at = 0
    while resumed.progress != (0, 0):
        looked_at += resumed.step()
    assert looked_at == known - 14
    assert len(decided(story)) == known
    follow(office)
    story.audit()


def test_events_go_on_being_taken_between_the_chunks_and_what_they_say_holds(office: Office, law: Rule):
    story = office.story
    story.hears(*map(person, PEOPLE))
    office.active(law)
    lanes = story.lanes
    lane = lanes._lanes[0]
    mine = sorted(name for (name,) in story.ask("SELECT subject FROM facts WHERE shard = 0"))
    lanes._runs[0] = ActivationRuns(lane, chunk=5)
    lanes.look()
    story.tell(income(name, 200_000, 2) for name in (mine[0], mine[12]))
    assert lanes.step() == 7
    assert set(decided(story)) == {*mine[:5], mine[12]}
    story.work()
    assert decided(story) == {name: 0 if name in (mine[0], mine[12]) else 120_000 for name in PEOPLE}
    story.audit()


@pytest.mark.parametrize("point", ACTIVATION)
def test_a_kill_during_an_activation_run_changes_nothing(office: Office, law: Rule, point: str):
    story = office.story
    story.hears(*map(person, PEOPLE))
    office.active(law)
    story.close()
    undisturbed = Office.__new__(Office)
    undisturbed.__dict__.update(office.__dict__, story=story.copy(story.installation.settings.home))
    environment = {
        **os.environ, "PAYOUT_HOME": str(story.installation.settings.home), "PAYOUT_STORE_URLS": story.urls[0], "PAYOUT_SHARDS": "2", "PAYOUT_PROCESSES": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "streams.cli", "run", "--until-idle"]
    killed = subprocess.run(command, env={**environment, VARIABLE: f"{point}:2"}, cwd=SHIPPED, capture_output=True, timeout=120)
    assert killed.returncode == 3, killed.stderr
    assert f"ended with code {-signal.SIGKILL}".encode() in killed.stderr
    again = subprocess.run(command, env=environment, cwd=SHIPPED, capture_output=True, timeout=120)
    assert again.returncode == 0, again.stderr
    undisturbed.story.work()
    assert story.digest() == undisturbed.story.digest()
    assert decided(story) == dict.fromkeys(PEOPLE, 120_000)
    assert len(story.orders()) == len(PEOPLE)
    story.audit()
    undisturbed.story.close()


@pytest.mark.parametrize("processes", [0, 2])
def test_a_running_runner_notices_what_is_activated_and_tells_how_far_it_is(office: Office, law: Rule, processes: int):
    story = office.story
    story.hears(*map(person, PEOPLE))
    story.close()
    told: list[tuple[int, int]] = []

    class Noted(Progress):
        def deciding(self, decided: int, known: int) -> None:
            told.append((decided, known))

    rounds, until = [0], time.monotonic() + 60

    def stop() -> bool:
        rounds[0] += 1
        if rounds[0] == 3:
            office.active(law)
        through = rounds[0] > 3 and rounds[0] % 10 == 0 and all(run.done == 2 for run in runs(story.installation.store)) and len(decided(story)) == len(PEOPLE)
        return through or time.monotonic() > until

    with runner_of(story.installation, Silent(), processes) as runner:
        runner.run(until_idle=False, stop=stop, progress=Noted())
    assert decided(story) == dict.fromkeys(PEOPLE, 120_000)
    assert told
    story.audit()


# Whatever the order.

STEPS = st.one_of(
    st.tuples(st.just("activate"), st.integers(0, 2), st.sampled_from([1_000, 5_000, WHOLE])),
    st.tuples(st.just("rollback"), st.integers(-1, 2), st.just(0)),
    st.tuples(st.sampled_from(["suspend", "resume", "work", "follow", "restart"]), st.integers(0, 6), st.just(0)),
    st.tuples(st.just("tell"), st.integers(0, 11), st.sampled_from([20_000, 80_000, 90_000, 300_000])),
    st.tuples(st.just("withdraw"), st.integers(0, 11), st.just(0)),
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=3, max_size=10))
def test_activation_rollback_and_re_activation_in_any_order_leave_what_the_last_active_rule_owes(
    tmp_path_factory: pytest.TempPathFactory, law: Rule, steps: list[tuple[str, int, int]]
):
    home = tmp_path_factory.mktemp("life")
    story = Story(home / "home", rules=(), today=lambda: NOW.date())
    office = Office(story, home / "keys")
    documents = [law, generous(), meagre()]
    for rule in documents:
        office.approved(rule)
    people = PEOPLE[:12]
    story.hears(*map(person, people))
    said: dict[str, list[Said]] = {name: [income(name, 30_000)] for name in people}
    entry(office.by("Cleo").activate(law.hash))
    for step, number, more in steps:
        match step:
            case "activate":
                office.by("Cleo").activate(documents[number].hash, share=more)
            case "rollback":
                office.by("Cleo").rollback("us-eip1", documents[number].hash if number >= 0 else "")
            case "suspend":
                office.by("Cleo").suspend("us-eip1")
            case "resume":
                office.by("Cleo").resume("us-eip1")
            case "work":
                _some(story, number)
            case "follow":
                follow(office)
            case "restart":
                story.close()
            case "tell":
                said[people[number]].append(income(people[number], more, len(said[people[number]]) + 1))
                story.tell(said[people[number]][-1])
            case _:
                wrong = said[people[number]][-1]
                story.tell(withdrawn(wrong, len(said[people[number]]) + 50, id=f"{people[number]}-{len(said[people[number]])}-withdrawn"))
    follow(office)
    try:
        _stands(story, people)
    finally:
        story.close()


def _some(story: Story, steps: int) -> None:
    """A few steps of the lanes, so that a run is cut where it happens to be."""
    story.lanes.look()
    for runs_of in story.lanes._runs.values():
        runs_of._chunk = 2
    for _ in range(steps):
        story.lanes.step()


def _stands(story: Story, people: list[str]) -> None:
    """Everybody is owed what the rule that stands for them says now, and live orders less claims come to it."""
    (standing,) = story.installation.standing(NOW.date())
    known = {subject: decode_history(history) for subject, history in story.ask("SELECT subject, history FROM facts")}
    levels = {
        subject: (decision, owed, live_minor, claim)
        for subject, decision, owed, live_minor, claim in story.ask("SELECT subject, decision, owed_minor, live_minor, claim_minor FROM entitlement")
    }
    assert set(levels) == set(people)
    for subject in people:
        rule = standing.rule_of(subject)
        assert rule is not None
        ((_, decision, amount_minor, _),) = rule.decide([(subject, known[subject])])
        kept, owed, live_minor, claim = levels[subject]
        assert (kept, owed) == (decision, amount_minor)
        if decision != Decision.UNDETERMINED:
            assert live_minor - claim == owed
    orders = live(story)
    assert all(orders[subject] == owed for subject, (decision, owed, _, _) in levels.items() if decision != Decision.UNDETERMINED)
    if standing.suspended:
        assert {order.reason for order in story.orders() if order.state == State.HELD} <= {"benefit_suspended", "entitlement_undetermined"}
    story.audit()


# The commands.


@pytest.mark.usefixtures("quiet_afterwards")
def test_the_commands_take_a_document_from_submission_to_activation_and_back(
    office: Office, law: Rule, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    payout = Payout(monkeypatch, capsys, office.story)
    home = office.story.installation.settings.home
    keys = {name: tmp_path / f"{name}.pem" for name in ("Dora", "Emil")}
    made = {name: payout("rules", "keygen", str(path)).out for name, path in keys.items()}
    public = {name: said.split('key = "')[1].split('"')[0] for name, said in made.items()}
    people = (
        f'[approvals]\npeople = [{{ name = "Fie" }}, {{ name = "Dora", roles = ["legal"], key = "{public["Dora"]}" }},'
        f' {{ name = "Emil", roles = ["finance"], key = "{public["Emil"]}" }}]\n'
    )
    (home / "payout.toml").write_text(people, encoding="utf-8")
    document = str(tmp_path / "law.yaml")
    Path(document).write_text(law.text, encoding="utf-8")
    assert "submitted us-eip1" in payout("rules", "submit", document, "--as", "Fie").out
    early = payout("rules", "activate", document)
    assert (early.code, early.err.split(":")[2].strip()) == (1, Refusal.NOT_SIMULATED.value)
    facts = tmp_path / "facts.csv"
    facts.write_text(
        "subject,income,filing_status,children_under_17,claimed_as_dependent,alive,resident\nus-1,30000.00,single,0,no,yes,yes\n", encoding="utf-8"
    )
    result = json.loads(payout("rules", "simulate", document, "--against", "nothing", "--facts", str(facts), "--output", str(tmp_path), "--json").out)
    assert payout("rules", "simulated", document, str(facts)).code == 2
    assert result["hash"][:12] in payout("rules", "simulated", document, result["files"]["json"]).out
    for name, role in (("Dora", "legal"), ("Emil", "finance")):
        assert f"by {name}" in payout("rules", "approve", law.hash[:10], "--role", role, "--as", name, "--key", str(keys[name])).out
    assert "approved: activate it" in payout("rules", "status").out
    assert payout("rules", "activate", document, "--share", "0%").code == 2
    assert payout("rules", "activate", document, "--at", "tomorrow").code == 2
    assert "5 % of the subjects" in payout("rules", "activate", law.hash, "--share", "5%").out
    assert payout("rules", "suspend", "us-eip1", "--why", "the budget").code == 0
    status = payout("rules", "status").out
    assert "suspended" in status
    assert "5%" in status
    assert payout("rules", "rollback", "us-eip1").code == 1
    assert payout("rules", "restore", law.hash).out.strip() == law.text.strip()
    assert "every entry is as it was logged" in payout("rules", "log", "--verify").out
    assert "nothing_older" in payout("rules", "rollback", "us-eip1", "--json").out
    assert payout("rules", "restore", "0123456789").code == 2
    assert payout("run", "--until-idle").code == 0
    assert payout("status").code == 0
