"""The life of a rule: the fold of its log, the links of the log, shares of the subjects, and who may approve."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from connectors.registries import load_registries
from pipeline.facts import day
from pipeline.rules import Rule, load_rule
from pipeline.rules.approval import Refusal, approval_bytes, authorship_bytes, judge_approval, judge_approvals, judge_author
from pipeline.rules.life import (
    WHOLE,
    Activated,
    Approved,
    Document,
    Entry,
    Layer,
    Life,
    Logged,
    Resumed,
    Retired,
    RolledBack,
    Simulated,
    Submitted,
    Suspended,
    after,
    broken_links,
    chain,
    decode_entry,
    encode_entry,
    lives,
    place_in_share,
)
from pipeline.signatures import Approver, fits
from pipeline.standing import layers_by_period, period_at, periods_of, run_name
from streams.settings import SHIPPED

CATALOGUE = load_registries(SHIPPED / "registries").catalogue
QUARTERLY = (SHIPPED / "benefits/dk-child-benefit/2022-01-01.yaml").read_text(encoding="utf-8")
ONCE_ONLY = (SHIPPED / "benefits/us-eip1/2020-03-27.yaml").read_text(encoding="utf-8")
TODAY = day(date(2026, 11, 25))

RULES = ("a" * 64, "b" * 64, "c" * 64)
rules = st.sampled_from(RULES)
days = st.integers(TODAY - 3, TODAY + 3)
entries: st.SearchStrategy[Entry] = st.one_of(
    st.builds(Submitted, st.just("x"), rules, st.text(max_size=20)),
    st.builds(Simulated, st.just("x"), rules, rules),
    st.builds(Approved, st.just("x"), rules, rules, st.just("legal"), days, st.just("key"), st.just("signature")),
    st.builds(Activated, st.just("x"), rules, days, st.sampled_from([500, 5_000, WHOLE])),
    st.builds(Suspended, st.just("x")),
    st.builds(Resumed, st.just("x")),
    st.builds(RolledBack, st.just("x"), rules, st.integers(1, 12), days),
    st.builds(Retired, st.just("x"), days),
)


def logged(said: list[Entry]) -> list[Logged]:
    return [Logged(number, 1_000 * number, "Cleo", entry) for number, entry in enumerate(said, 1)]


logs = st.lists(entries, max_size=14).map(logged)


# The fold.


@given(entries)
def test_an_entry_reads_back_as_it_was_written(entry: Entry):
    assert decode_entry(encode_entry(entry)) == entry


@given(logs, st.integers(0, 14))
def test_a_life_is_a_function_of_the_log_however_it_is_cut(log: list[Logged], cut: int):
    whole = lives(log).get("x", Life("x"))
    piecewise = lives(log[:cut]).get("x", Life("x"))
    for entry in log[cut:]:
        piecewise = after(piecewise, entry)
    assert piecewise == whole == lives(reversed(log)).get("x", Life("x"))


@given(logs)
def test_whatever_decides_was_submitted_and_activated_and_its_text_is_in_the_log(log: list[Logged]):
    life = lives(log).get("x", Life("x"))
    activated = {entry.number: entry.entry for entry in log if isinstance(entry.entry, Activated)}
    submitted = {entry.entry.rule: entry.entry.document for entry in reversed(log) if isinstance(entry.entry, Submitted)}
    for layer in life.layers:
        entry = activated[layer.number]
        assert (layer.rule, layer.share, layer.from_day) == (entry.rule, entry.share, entry.from_day)
        assert life.documents[layer.rule].text == submitted[layer.rule]


@given(logs, days)
def test_a_rollback_brings_back_what_stood_when_the_older_rule_was_activated(log: list[Logged], today: int):
    life = lives(log).get("x", Life("x"))
    for number in life.stood:
        stood = lives(log[:number])["x"]
        back = after(life, Logged(len(log) + 1, 0, "Cleo", RolledBack("x", "", number, today)))
        assert back.layers == tuple(layer for layer in stood.layers if layer.from_day <= today)
        assert back.scheduled(today) == ()


@given(logs, days)
def test_suspending_and_resuming_changes_nothing_of_what_decides(log: list[Logged], today: int):
    life = lives(log).get("x", Life("x"))
    stopped = after(life, Logged(99, 0, "Cleo", Suspended("x")))
    resumed = after(stopped, Logged(100, 0, "Cleo", Resumed("x")))
    assert stopped.suspended
    assert not resumed.suspended
    assert stopped.in_effect(today) == resumed.in_effect(today) == life.in_effect(today)


def test_a_scheduled_rule_decides_from_its_day_on_and_not_before():
    first, second, _ = RULES
    log = logged([Submitted("x", first, ""), Submitted("x", second, ""), Activated("x", first, TODAY), Activated("x", second, TODAY + 2)])
    life = lives(log)["x"]
    assert [life.newest(TODAY + later) for later in range(-1, 4)] == ["", first, first, second, second]
    assert [layer.rule for layer in life.scheduled(TODAY)] == [second]


def test_a_rule_activated_now_stands_until_one_scheduled_earlier_has_its_day():
    first, second, third = RULES
    log = logged([*(Submitted("x", rule, "") for rule in RULES), Activated("x", first, TODAY), Activated("x", second, TODAY + 2), Activated("x", third, TODAY)])
    assert [lives(log)["x"].newest(TODAY + later) for later in range(3)] == [third, third, second]


# The links.


def linked(log: list[Logged]) -> list[tuple[Logged, bytes]]:
    links, before = [], b""
    for entry in log:
        before = chain(before, entry)
        links.append((entry, before))
    return links


@given(logs.filter(bool), st.data())
def test_an_entry_that_was_changed_exchanged_or_taken_away_is_noticed(log: list[Logged], data: st.DataObject):
    links = linked(log)
    assert list(broken_links(links)) == []
    place = data.draw(st.integers(0, len(links) - 1))
    entry, link = links[place]
    changed = data.draw(
        st.sampled_from([replace(entry, person="Mallory"), replace(entry, at_ms=entry.at_ms + 1), replace(entry, entry=Suspended("x", "forged"))])
    )
    assert list(broken_links([*links[:place], (changed, link), *links[place + 1 :]])) != []
    if place + 1 < len(links):
        assert list(broken_links(links[:place] + links[place + 1 :])) != []


# Shares and periods.


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_a_place_in_a_share_is_stable_and_below_the_whole(benefit: str, subject: str):
    assert 0 <= place_in_share(benefit, subject) == place_in_share(benefit, subject) < WHOLE


def test_a_share_has_about_its_part_of_the_subjects_and_other_people_for_another_benefit():
    people = [f"us-{number:06}" for number in range(20_000)]
    first, second = ({person for person in people if place_in_share(benefit, person) < 500} for benefit in ("us-eip1", "dk-one-time-2000"))
    assert 900 < len(first) < 1_100
    assert len(first & second) < 100


def layers(*said: tuple[str, int, int, str, str]) -> Life:
    documents = {rule: Document(rule, "Cleo", "", 0) for rule, *_ in said}
    made = tuple(Layer(rule, number, from_day, share, first, last) for number, (rule, from_day, share, first, last) in enumerate(said, 1))
    return Life("x", documents, made)


@pytest.fixture(scope="module")
def quarterly() -> Rule:
    return load_rule(QUARTERLY, CATALOGUE)


def test_of_each_period_the_newest_layers_decide_down_to_the_first_for_everybody(quarterly: Rule):
    life = layers(
        ("old", TODAY, WHOLE, "2026-Q1", ""), ("new", TODAY, WHOLE, "2026-Q3", ""), ("trial", TODAY, 500, "2026-Q4", ""), ("wider", TODAY, 2_000, "2026-Q4", "")
    )
    found = layers_by_period(life, dict.fromkeys(("old", "new", "trial", "wider"), quarterly), TODAY)
    assert {period.label: [layer.rule for layer in decide] for period, decide in found.items()} == {
        "2026-Q1": ["old"], "2026-Q2": ["old"], "2026-Q3": ["new"], "2026-Q4": ["wider", "new"],
    }  # fmt: skip
    assert run_name(found[period_at("quarter", TODAY)]) == "4:2000 2:10000"


def test_an_open_layer_opens_each_period_as_it_begins_and_a_retired_benefit_opens_none(quarterly: Rule):
    life = layers(("old", TODAY, WHOLE, "2026-Q3", ""))
    by_day = {date(2026, 11, 25): 2, date(2026, 12, 31): 2, date(2027, 1, 1): 3, date(2027, 12, 31): 6}
    assert {on: len(layers_by_period(life, {"old": quarterly}, day(on))) for on in by_day} == by_day
    retired = after(life, Logged(9, 0, "Cleo", Retired("x", TODAY + 1)))
    assert [len(layers_by_period(retired, {"old": quarterly}, day(on))) for on in by_day] == [2, 2, 2, 2]


def test_periods_before_the_law_was_in_force_are_not_decided(quarterly: Rule):
    assert [period.label for period in periods_of(Layer("old", 1, TODAY, WHOLE, "2021-Q3", "2022-Q2"), quarterly, TODAY)] == ["2022-Q1", "2022-Q2"]


@given(st.sampled_from(["year", "quarter", "month"]), st.integers(day(date(1900, 1, 1)), day(date(2200, 12, 31))))
def test_a_day_lies_in_the_period_of_that_day(kind: str, on: int):
    period = period_at(kind, on)
    assert period.kind == kind
    assert period.start <= on <= period.end


# Who may approve.


class Signer:
    """Somebody with a key."""

    def __init__(self, name: str, *roles: str) -> None:
        self.name, self._private = name, Ed25519PrivateKey.generate()
        self.key = base64.b64encode(self._private.public_key().public_bytes_raw()).decode()
        self.known = Approver(name, roles, self.key)

    def sign(self, content: bytes) -> str:
        return base64.b64encode(self._private.sign(content)).decode()

    def approves(self, document: Document, role: str, /, *, simulation: str = "", expires: int = TODAY + 30, **forged: str) -> Logged:
        """An approval; `forged` are fields of the entry that say something else than was signed."""
        signed = approval_bytes("us-eip1", document.rule, simulation or document.simulation, role, self.name, expires)
        entry = Approved("us-eip1", document.rule, simulation or document.simulation, role, expires, self.key, self.sign(signed))
        return Logged(9, 0, self.name, replace(entry, **forged))  # type: ignore[arg-type]


ANNA, BO, CLEO, MALLORY = Signer("Anna", "legal", "finance"), Signer("Bo", "finance"), Signer("Cleo", "legal"), Signer("Mallory", "legal")
PEOPLE = {signer.name: signer.known for signer in (ANNA, BO, CLEO)}


@pytest.fixture(scope="module")
def rule() -> Rule:
    return load_rule(ONCE_ONLY, CATALOGUE)


@pytest.fixture(scope="module")
def document(rule: Rule) -> Document:
    return Document(rule.hash, "Cleo", ONCE_ONLY, 1, ("5" * 64,))


def with_approvals(document: Document, *approvals: Logged) -> Document:
    return Document(document.rule, document.author, document.text, document.number, document.simulations, approvals)


def codes(refused: object) -> list[Refusal]:
    return [one.code for one in refused]  # type: ignore[attr-defined]


def test_two_people_in_two_roles_approve(rule: Rule, document: Document):
    approved = with_approvals(document, ANNA.approves(document, "legal"), BO.approves(document, "finance"))
    assert judge_approvals(approved, rule, PEOPLE, (), TODAY) == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda document: CLEO.approves(document, "legal"), Refusal.AUTHOR_APPROVES),
        (lambda document: BO.approves(document, "legal"), Refusal.ROLE_NOT_HELD),
        (lambda document: MALLORY.approves(document, "legal"), Refusal.UNKNOWN_PERSON),
        (lambda document: replace(MALLORY.approves(document, "legal"), person="Anna"), Refusal.SIGNATURE_FOREIGN),
        (lambda document: replace(ANNA.approves(document, "legal"), person="Bo"), Refusal.SIGNATURE_FOREIGN),
        (lambda document: ANNA.approves(document, "legal", simulation="6" * 64), Refusal.OTHER_SIMULATION),
        (lambda document: ANNA.approves(document, "legal", expires=TODAY - 1), Refusal.SIGNATURE_EXPIRED),
        (lambda document: ANNA.approves(document, "legal", role="finance"), Refusal.SIGNATURE_WRONG),
        (lambda document: ANNA.approves(document, "legal", rule="f" * 64), Refusal.SIGNATURE_WRONG),
        (lambda document: ANNA.approves(document, "legal", benefit="us-eip2"), Refusal.SIGNATURE_WRONG),
        (lambda document: ANNA.approves(document, "legal", signature="AAAA"), Refusal.SIGNATURE_WRONG),
    ],
)
def test_an_approval_is_refused_and_does_not_count(wrong: Callable[[Document], Logged], code: Refusal, rule: Rule, document: Document):
    approval = wrong(document)
    assert code in codes(judge_approval(document, rule, approval, PEOPLE, TODAY))
    refused = codes(judge_approvals(with_approvals(document, approval, BO.approves(document, "finance")), rule, PEOPLE, (), TODAY))
    assert refused[0] is Refusal.APPROVALS_MISSING
    assert code in refused


def test_nobody_approves_in_two_roles(rule: Rule, document: Document):
    once = with_approvals(document, ANNA.approves(document, "legal"))
    assert codes(judge_approval(once, rule, ANNA.approves(document, "finance"), PEOPLE, TODAY)) == [Refusal.ONE_PERSON_TWO_ROLES]
    twice = with_approvals(document, ANNA.approves(document, "legal"), ANNA.approves(document, "finance"))
    assert Refusal.APPROVALS_MISSING in codes(judge_approvals(twice, rule, PEOPLE, (), TODAY))


def test_an_approval_of_an_earlier_simulation_counts_no_more(rule: Rule, document: Document):
    approved = with_approvals(document, ANNA.approves(document, "legal"), BO.approves(document, "finance"))
    again = Document(document.rule, document.author, document.text, 1, (*document.simulations, "7" * 64), approved.approvals)
    assert codes(judge_approvals(again, rule, PEOPLE, (), TODAY)) == [Refusal.APPROVALS_MISSING, Refusal.OTHER_SIMULATION, Refusal.OTHER_SIMULATION]


def test_a_document_that_was_never_simulated_is_not_approved(rule: Rule, document: Document):
    assert codes(judge_approvals(Document(document.rule, "Cleo", "", 1), rule, PEOPLE, (), TODAY)) == [Refusal.NOT_SIMULATED]


def test_the_installation_can_ask_for_more_than_the_document_and_not_for_less(rule: Rule, document: Document):
    approved = with_approvals(document, ANNA.approves(document, "legal"), BO.approves(document, "finance"))
    assert judge_approvals(approved, rule, PEOPLE, ("legal",), TODAY) == []
    for need, missing in ((("legal", "legal"), "legal"), (("minister",), "minister")):
        assert f"Missing: {missing}." in [refused.detail for refused in judge_approvals(approved, rule, PEOPLE, need, TODAY)]


def test_a_document_for_which_nobody_must_approve_is_refused(document: Document):
    free = load_rule(ONCE_ONLY.replace("need: {legal: 1, finance: 1}", "need: {}"), CATALOGUE)
    assert codes(judge_approvals(Document(free.hash, "Cleo", "", 1, ("5" * 64,)), free, PEOPLE, (), TODAY)) == [Refusal.NOBODY_MUST_APPROVE]


def test_an_author_may_approve_where_the_document_says_so(document: Document):
    allowed = load_rule(ONCE_ONLY.replace('author_may_approve: "no"', 'author_may_approve: "yes"'), CATALOGUE)
    assert judge_approval(document, allowed, CLEO.approves(document, "legal"), PEOPLE, TODAY) == []


def test_somebody_with_a_key_submits_only_by_signing():
    signature = CLEO.sign(authorship_bytes("us-eip1", "a" * 64, "Cleo"))
    assert judge_author("Cleo", PEOPLE, "us-eip1", "a" * 64, CLEO.key, signature) == []
    assert codes(judge_author("Cleo", PEOPLE, "us-eip1", "a" * 64, "", "")) == [Refusal.SIGNATURE_FOREIGN]
    assert codes(judge_author("Cleo", PEOPLE, "us-eip1", "b" * 64, CLEO.key, signature)) == [Refusal.SIGNATURE_WRONG]
    assert codes(judge_author("Eve", PEOPLE, "us-eip1", "a" * 64, "", "")) == [Refusal.UNKNOWN_PERSON]
    assert judge_author("Dan", {"Dan": Approver("Dan")}, "us-eip1", "a" * 64, "", "") == []


@settings(max_examples=50)
@given(st.binary(max_size=40), st.integers(0, 511))
def test_a_signature_fits_its_bytes_and_no_others(content: bytes, bit: int):
    signature = ANNA.sign(content)
    assert fits(ANNA.key, signature, content)
    assert not fits(BO.key, signature, content)
    assert not fits(ANNA.key, signature, content + b".")
    raw = bytearray(base64.b64decode(signature))
    raw[bit // 8] ^= 1 << bit % 8
    assert not fits(ANNA.key, base64.b64encode(bytes(raw)).decode(), content)


def test_every_refusal_has_a_sentence():
    assert all(refusal.sentence.endswith(".") for refusal in Refusal)
