"""The log of rules in the store, and what moves a rule through its life: on a real PostgreSQL, with real keys and signatures."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from office import NOW, SIMULATION, Office, codes, entry, unclaimed, variant
from story import Tale, tale

from connectors.keys import VARIABLE, make_key, read_key
from connectors.registries import load_registries
from connectors.store.rule_log import damage, writing
from connectors.store.servers import connect
from pipeline.problems import Malformed
from pipeline.rules import Rule, load_rule
from pipeline.rules.approval import Refusal
from pipeline.rules.life import WHOLE, Activated, RolledBack, Submitted, Suspended
from streams.settings import SHIPPED

__all__ = ["tale"]

CHILD = SHIPPED / "benefits/dk-child-benefit/2022-01-01.yaml"


@pytest.fixture
def office(tale: Tale, tmp_path: Path) -> Office:
    return Office(tale(rules=()), tmp_path / "keys")


@pytest.fixture(scope="module")
def law() -> Rule:
    return variant(20_000)


# The log.


def test_the_log_can_only_be_appended_to(office: Office, law: Rule):
    office.submitted(law)
    for statement in ("UPDATE rule_log SET person = 'Mallory'", "DELETE FROM rule_log", "TRUNCATE rule_log"):
        with connect(office.story.urls[0], "test") as connection, pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            connection.execute(statement.encode())


def test_an_entry_changed_behind_the_log_is_found(office: Office, law: Rule):
    office.active(law)
    assert damage(office.story.installation.store) == []
    with connect(office.story.urls[0], "test") as connection:
        connection.execute("ALTER TABLE rule_log DISABLE TRIGGER rule_log_append_only")
        connection.execute("UPDATE rule_log SET content = replace(content, '\"share\":10000', '\"share\":9999') WHERE entry = 5")
    assert damage(office.story.installation.store) == ["entry 5 is not what was logged: its link does not fit"]
    with connect(office.story.urls[0], "test") as connection:
        connection.execute("DELETE FROM rule_log WHERE entry = 3")
    assert damage(office.story.installation.store)[0] == "entry 4 follows entry 2"


def test_many_who_append_at_once_leave_a_log_without_gap_or_fork(office: Office):
    store = office.story.installation.store

    def append(number: int) -> None:
        with writing(store) as log:
            log.append(Suspended("x", str(number)), "Cleo", number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(24)))
    assert [logged.number for logged in office.log] == list(range(1, 25))
    assert damage(store) == []


def test_the_log_is_one_for_all_servers(tale: Tale, tmp_path: Path, law: Rule):
    office = Office(tale(rules=(), servers=2), tmp_path / "keys")
    office.active(law)
    assert [standing.rule.hash for standing in office.story.installation.standing(NOW.date())] == [law.hash]
    counts = [connection.execute("SELECT count(*) FROM rule_log").fetchone() for connection in office.story.installation.store.servers("test")]
    assert counts == [(5,), (0,)]


def test_every_active_rule_is_restored_from_the_log_alone(office: Office, law: Rule):
    office.active(law)
    (standing,) = office.story.installation.standing(NOW.date())
    assert (standing.rule.hash, standing.rule.text, standing.run) == (law.hash, law.text, "5:10000")
    assert standing.rule is not law


def test_a_text_that_was_changed_behind_the_log_decides_nothing(office: Office, law: Rule):
    office.active(law)
    with connect(office.story.urls[0], "test") as connection:
        connection.execute("ALTER TABLE rule_log DISABLE TRIGGER rule_log_append_only")
        connection.execute("UPDATE rule_log SET content = replace(content, 'family', 'famile') WHERE entry = 1 AND content LIKE '%family%'")
        connection.execute("UPDATE rule_log SET content = replace(content, '1_200', '1_201') WHERE entry = 1")
    with pytest.raises(Malformed, match="it is not the document that was submitted|rule log: us-eip1"):
        type(office.story.installation)(*(getattr(office.story.installation, name) for name in ("settings", "store", "registries"))).standing(NOW.date())


# From a document to a rule that decides.


def test_a_document_is_submitted_simulated_approved_by_two_people_and_activated(office: Office, law: Rule):
    office.active(law)
    assert [type(logged.entry).__name__ for logged in office.log] == ["Submitted", "Simulated", "Approved", "Approved", "Activated"]
    assert [logged.person for logged in office.log] == ["Cleo", "Cleo", "Anna", "Bo", "Cleo"]
    assert office.deciding() == [law.hash]


def test_the_same_document_or_simulation_again_changes_nothing(office: Office, law: Rule):
    first = entry(office.by("Cleo").submit(law))
    assert entry(office.by("Cleo").submit(law)) == first
    result = entry(office.by("Cleo").simulated(law.hash, SIMULATION, cost_minor=0))
    assert entry(office.by("Cleo").simulated(law.hash, SIMULATION, cost_minor=0)) == result
    assert len(office.log) == 2


def test_what_is_not_submitted_or_was_changed_since_is_refused(office: Office, law: Rule):
    assert codes(office.by("Cleo").activate("0123456789")) == [Refusal.NOT_SUBMITTED]
    assert codes(office.by("Cleo").activate(law)) == [Refusal.NOT_SUBMITTED]
    office.approved(law)
    for step in (office.by("Cleo").activate(variant(900)), office.by("Anna").approve(variant(900), "legal", office.keys["Anna"])):
        assert codes(step) == [Refusal.DOCUMENT_CHANGED]
    assert len(office.log) == 4


def test_a_document_whose_own_tests_fail_is_refused_and_the_last_good_rule_stays(office: Office, law: Rule):
    office.active(law)
    wrong = law.text.replace("expect: {decision: granted", "expect: {decision: refused", 1)
    broken = load_rule(wrong, load_registries(SHIPPED / "registries").catalogue)
    assert codes(office.by("Cleo").submit(broken)) == [Refusal.OWN_TESTS_FAIL]
    assert office.deciding() == [law.hash]


def test_nobody_who_is_not_known_submits(office: Office, law: Rule):
    assert codes(office.by("Eve").submit(law)) == [Refusal.UNKNOWN_PERSON]
    assert codes(office.by("Anna").submit(law)) == [Refusal.SIGNATURE_FOREIGN]
    assert entry(office.by("Anna").submit(law, office.keys["Anna"])).person == "Anna"


def test_an_author_does_not_approve_their_own_document(office: Office, law: Rule):
    entry(office.by("Anna").submit(law, office.keys["Anna"]))
    entry(office.by("Anna").simulated(law.hash, SIMULATION, cost_minor=0))
    assert codes(office.by("Anna").approve(law.hash, "legal", office.keys["Anna"])) == [Refusal.AUTHOR_APPROVES]


def test_one_person_does_not_approve_in_two_roles(office: Office, law: Rule):
    office.submitted(law)
    entry(office.by("Cleo").simulated(law.hash, SIMULATION, cost_minor=0))
    entry(office.by("Anna").approve(law.hash, "legal", office.keys["Anna"]))
    assert codes(office.by("Anna").approve(law.hash, "finance", office.keys["Anna"])) == [Refusal.ONE_PERSON_TWO_ROLES]
    assert codes(office.by("Cleo").activate(law.hash)) == [Refusal.APPROVALS_MISSING]


def test_a_foreign_signature_is_refused(office: Office, law: Rule):
    office.submitted(law)
    entry(office.by("Cleo").simulated(law.hash, SIMULATION, cost_minor=0))
    assert codes(office.by("Anna").approve(law.hash, "legal", office.keys["Mallory"])) == [Refusal.SIGNATURE_FOREIGN]
    assert codes(office.by("Mallory").approve(law.hash, "legal", office.keys["Mallory"])) == [Refusal.UNKNOWN_PERSON]


def test_nothing_is_approved_before_it_was_simulated_nor_active_before_it_was_approved(office: Office, law: Rule):
    office.submitted(law)
    assert codes(office.by("Anna").approve(law.hash, "legal", office.keys["Anna"])) == [Refusal.NOT_SIMULATED]
    assert codes(office.by("Cleo").activate(law.hash)) == [Refusal.NOT_SIMULATED]
    entry(office.by("Cleo").simulated(law.hash, SIMULATION, cost_minor=0))
    assert codes(office.by("Cleo").activate(law.hash)) == [Refusal.APPROVALS_MISSING]


def test_an_approval_expires(office: Office, law: Rule):
    office.approved(law)
    office.now = NOW + timedelta(days=31)
    assert codes(office.by("Cleo").activate(law.hash)) == [Refusal.APPROVALS_MISSING, Refusal.SIGNATURE_EXPIRED, Refusal.SIGNATURE_EXPIRED]
    office.now = NOW + timedelta(days=30)
    entry(office.by("Cleo").activate(law.hash))


def test_a_new_simulation_wants_new_approvals(office: Office, law: Rule):
    office.approved(law)
    entry(office.by("Cleo").simulated(law.hash, "6" * 64))
    assert codes(office.by("Cleo").activate(law.hash))[0] is Refusal.APPROVALS_MISSING


def test_a_simulation_of_another_document_is_refused(office: Office, law: Rule):
    office.submitted(law)
    assert codes(office.by("Cleo").simulated(law.hash, SIMULATION, candidate=variant(900).hash)) == [Refusal.OTHER_SIMULATION]
    entry(office.by("Cleo").simulated(law.hash, SIMULATION, candidate=law.hash))


def test_a_document_with_branches_that_no_test_reaches_is_not_approved(office: Office, law: Rule):
    text, rest = law.text.split("\ntests:\n")
    first = rest.index("  - name:", 10)
    few = load_rule(f"{text}\ntests:\n{rest[:first]}{rest[rest.index('approvals:') :]}", load_registries(SHIPPED / "registries").catalogue)
    office.submitted(few)
    entry(office.by("Cleo").simulated(few.hash, SIMULATION, cost_minor=0))
    assert codes(office.by("Anna").approve(few.hash, "legal", office.keys["Anna"])) == [Refusal.BRANCHES_UNTESTED]


def test_a_document_whose_claim_fails_is_not_approved(office: Office, law: Rule):
    text = law.text.replace("\ntests:\n", "\nclaims: [{at_most: 100}]\ntests:\n", 1)
    wrong = load_rule(text, load_registries(SHIPPED / "registries").catalogue)
    assert len(wrong.claims) == 1
    office.submitted(wrong)
    entry(office.by("Cleo").simulated(wrong.hash, SIMULATION, cost_minor=0))
    assert codes(office.by("Anna").approve(wrong.hash, "legal", office.keys["Anna"])) == [Refusal.CLAIMS_UNPROVED]


# What decides.


def test_a_rule_that_is_scheduled_decides_from_its_day_on(office: Office, law: Rule):
    later = office.active(law, at=NOW.date() + timedelta(days=3))
    installation = office.story.installation
    assert [len(installation.standing(NOW.date() + timedelta(days=days))) for days in (0, 2, 3)] == [0, 0, 1]
    assert office.deciding(today=NOW.date() + timedelta(days=3)) == [later.hash]


def test_a_share_goes_first_and_only_grows(office: Office, law: Rule):
    office.active(law)
    trial = office.active(variant(900), share=500)
    (standing,) = office.story.installation.standing(NOW.date())
    assert [(active.rule.hash, share) for active, share in standing.layers] == [(trial.hash, 500), (law.hash, WHOLE)]
    assert codes(office.by("Cleo").activate(trial.hash, share=400)) == [Refusal.SHARE_SHRINKS]
    assert codes(office.by("Cleo").activate(trial.hash, share=500)) == [Refusal.ALREADY_ACTIVE]
    entry(office.by("Cleo").activate(trial.hash))
    (standing,) = office.story.installation.standing(NOW.date())
    assert [active.rule.hash for active, _ in standing.layers] == [trial.hash]


def test_a_rollback_goes_to_the_rule_before_and_to_no_other_without_being_told(office: Office, law: Rule):
    office.active(law)
    assert codes(office.by("Cleo").rollback("us-eip1")) == [Refusal.NOTHING_OLDER]
    second, third = office.active(variant(900)), office.active(variant(901))
    assert entry(office.by("Cleo").rollback("us-eip1")).entry.rule == second.hash  # type: ignore[union-attr]
    assert entry(office.by("Cleo").rollback("us-eip1")).entry.rule == law.hash  # type: ignore[union-attr]
    assert codes(office.by("Cleo").rollback("us-eip1")) == [Refusal.NOTHING_OLDER]
    forward = entry(office.by("Cleo").rollback("us-eip1", third.hash[:12])).entry
    assert isinstance(forward, RolledBack)
    assert office.deciding() == [third.hash, second.hash, law.hash]
    assert codes(office.by("Cleo").rollback("us-eip1", third.hash)) == [Refusal.ALREADY_ACTIVE]
    assert codes(office.by("Cleo").rollback("us-eip1", office.approved(variant(902)).hash)) == [Refusal.NEVER_ACTIVE]


def test_a_rollback_voids_what_was_scheduled(office: Office, law: Rule):
    office.active(law)
    office.active(variant(900))
    office.active(variant(901), at=NOW.date() + timedelta(days=1))
    entry(office.by("Cleo").rollback("us-eip1"))
    assert office.deciding(today=NOW.date() + timedelta(days=1)) == [law.hash]


def test_a_rollback_that_would_leave_periods_undecided_is_refused(office: Office):
    rule = load_rule(unclaimed(CHILD), load_registries(SHIPPED / "registries").catalogue)
    text = unclaimed(CHILD).replace("review_above: 50_000", "review_above: 9_000")
    newer = load_rule(text, load_registries(SHIPPED / "registries").catalogue)
    office.active(rule, first="2026-Q1", last="2026-Q2")
    office.active(newer, first="2026-Q1", last="2026-Q3")
    assert codes(office.by("Cleo").rollback("dk-child-benefit")) == [Refusal.OLDER_COVERS_LESS]


def test_periods_that_the_law_does_not_cover_are_refused(office: Office):
    rule = office.approved(load_rule(unclaimed(CHILD), load_registries(SHIPPED / "registries").catalogue))
    assert codes(office.by("Cleo").activate(rule.hash, first="2020-Q1", last="2021-Q4")) == [Refusal.NO_PERIOD]
    opened = entry(office.by("Cleo").activate(rule.hash)).entry
    assert isinstance(opened, Activated)
    assert (opened.first, opened.last) == ("2026-Q4", "")
    assert [standing.period.label for standing in office.story.installation.standing(date(2027, 4, 1))] == ["2026-Q4", "2027-Q1", "2027-Q2"]


def test_a_benefit_is_suspended_resumed_and_retired_once(office: Office, law: Rule):
    for step in (office.by("Cleo").suspend("us-eip1"), office.by("Cleo").retire("us-eip1"), office.by("Cleo").rollback("us-eip1")):
        assert codes(step) == [Refusal.NOT_ACTIVE]
    office.active(law)
    entry(office.by("Cleo").suspend("us-eip1", "the budget"))
    assert [standing.suspended for standing in office.story.installation.standing(NOW.date())] == [True]
    assert codes(office.by("Cleo").suspend("us-eip1")) == [Refusal.ALREADY_SUSPENDED]
    entry(office.by("Cleo").resume("us-eip1"))
    assert codes(office.by("Cleo").resume("us-eip1")) == [Refusal.NOT_SUSPENDED]
    entry(office.by("Cleo").retire("us-eip1"))
    assert codes(office.by("Cleo").retire("us-eip1")) == [Refusal.ALREADY_RETIRED]
    assert office.deciding() == [law.hash]


def test_a_benefit_keeps_its_currency(office: Office, law: Rule):
    office.active(law)
    office.story.installation.standing(NOW.date())
    with connect(office.story.urls[0], "test") as connection:
        connection.execute("UPDATE benefit_period SET currency = 'DKK'")
    assert codes(office.by("Cleo").activate(office.approved(variant(900)).hash)) == [Refusal.CURRENCY_DIFFERS]


def test_a_submitted_document_is_in_the_log_with_its_author_and_text(office: Office, law: Rule):
    submitted = entry(office.by("Cleo").submit(law)).entry
    assert isinstance(submitted, Submitted)
    assert (submitted.rule, submitted.document) == (law.hash, law.text)


# Keys.


def test_a_key_file_is_for_its_owner_alone_and_never_overwritten(tmp_path: Path):
    made = make_key(tmp_path / "key.pem")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert read_key(tmp_path / "key.pem").public == made.public
    with pytest.raises(Malformed, match="a key is never overwritten"):
        make_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(Malformed, match=r"others can read this key: its mode is 640.*chmod 600"):
        read_key(tmp_path / "key.pem")


def test_a_key_comes_from_the_environment_where_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = make_key(tmp_path / "key.pem")
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(Malformed, match="no key is given"):
        read_key(None)
    monkeypatch.setenv(VARIABLE, (tmp_path / "key.pem").read_text())
    assert read_key(None).public == made.public


def test_what_is_no_key_is_told_without_showing_it(tmp_path: Path):
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN SECRET-----")
    path.chmod(0o600)
    with pytest.raises(Malformed, match="is no Ed25519 key") as refused:
        read_key(path)
    assert "SECRET" not in str(refused.value)
    with pytest.raises(Malformed, match="cannot be read"):
        read_key(tmp_path / "nothing.pem")
