"""Households and businesses on the real store: registry events in, orders out, with members on other shards than their households."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from story import RESIDENCY, Data, Said, Story, Tale, account, said, tale

from connectors.segment_log import LogReader, LogWriter
from connectors.store.servers import connect
from pipeline.entitlements import Decision
from pipeline.members import Share, decode_share
from pipeline.orders import Kind, State
from streams.audit import Digest
from streams.members import MemberRelay
from streams.settings import SHIPPED
from streams.topics import MEMBERS

__all__ = ["tale"]

JAPAN = SHIPPED / "benefits/jp-fixed-sum-2020/2020-04-30.yaml"
KOREA = SHIPPED / "benefits/kr-relief-2020/2020-04-30.yaml"
DENMARK = SHIPPED / "benefits/dk-wage-compensation/2020-03-27.yaml"
IBAN = {"scheme": "iban", "iban": "DE89370400440532013000"}


def lives(subject: str, household: str, role: str = "child", sequence: int = 1, since: str = "2010-01-01", until: str = "", **more: Any) -> Said:
    """What the residency registry says of where somebody lives."""
    data: Data = {"valid_from": since, "birth_date": "1970-05-17", "resident": True, "household": household, "role": role, **more}
    if until:
        data["valid_to"] = until
    return said(RESIDENCY, "urn:registry:residency", "registry.residency.person.v1", f"home-{subject}-{sequence}", subject, sequence, data)


def owns(subject: str, sequence: int = 1, status: str = "active") -> Said:
    """An account that can take any currency."""
    return account(subject, sequence, scheme=IBAN, status=status)


def family(name: str, size: int) -> list[Said]:
    """A household of `size` with a head who has an account."""
    head = f"{name}-0"
    return [owns(head), *(lives(f"{name}-{number}", name, "child" if number else "head") for number in range(size))]


def chose(household: str, channel: str, sequence: int = 1) -> Said:
    """In which way a Korean household has its relief."""
    source, kind = "urn:registry:households:kr", "registry.kr_household.choice.v1"
    return said("registry.kr_household", source, kind, f"choice-{household}-{sequence}", household, sequence, {"channel": channel})


def company(subject: str, sequence: int, since: str, until: str, status: str = "final", **facts: Any) -> Said:
    """What a business is, or declared, for some days."""
    data: Data = {"valid_from": since, "valid_to": until, "status": status, **facts}
    return said("registry.business", "urn:registry:business:dk", "registry.business.company.v1", f"{subject}-{sequence}", subject, sequence, data)


def kroner(amount: int) -> Data:
    return {"minor": amount * 100, "currency": "DKK"}


def owed(story: Story) -> dict[str, int]:
    return dict(story.ask("SELECT subject, owed_minor FROM entitlement ORDER BY subject"))


def ordered(story: Story) -> dict[str, int]:
    """What stands ordered for each subject: members may arrive one by one, and then the orders are differences."""
    sums: dict[str, int] = {}
    for order in story.orders():
        sums[order.subject] = sums.get(order.subject, 0) + (order.amount_minor if order.state != State.CANCELLED else 0)
    return sums


def told(story: Story, *records: Said | Iterable[Said]) -> None:
    """Tells, and lets lanes and the relays of members go on until nothing is left to do."""
    story.tell(*records)
    store = story.installation.store
    with LogWriter(story.installation.log_directory, fsync="close") as writer, ExitStack() as stack:
        connections = {url: stack.enter_context(connect(url, "test")) for url in store.urls}
        relays = [MemberRelay(connections[store.url_of(shard)], writer, shard, store.shards) for shard in range(store.shards)]
        story.work()
        while sum(relay.step() for relay in relays):
            story.work()


# Japan: each resident, paid to the head.


def test_a_household_of_four_on_many_shards_has_400000_yen_to_its_heads_account(tale: Tale) -> None:
    story = tale(shards=5, rules=(JAPAN,))
    told(story, family("jp-tanaka", 4), family("jp-sato", 1))
    assert owed(story) == {"jp-sato": 100_000, "jp-tanaka": 400_000}  # no person is decided by a rule for households
    assert ordered(story) == owed(story)
    assert {(order.state, order.account) for order in story.orders()} == {(State.RELEASED, "iban:DE89370400440532013000")}
    story.pay()
    assert {order.state for order in story.orders()} == {State.SENT}
    story.audit()


def test_a_birth_after_the_base_date_changes_nothing_and_one_before_it_that_is_told_late_is_paid_as_a_difference(tale: Tale) -> None:
    story = tale(shards=3, rules=(JAPAN,))
    told(story, family("jp-ito", 2))
    told(story, lives("jp-ito-late", "jp-ito", since="2020-04-28"))
    assert owed(story) == {"jp-ito": 200_000}
    told(story, lives("jp-ito-early", "jp-ito", since="2020-04-20"))
    assert ordered(story) == {"jp-ito": 300_000}
    assert story.orders()[-1][2:5] == (len(story.orders()), Kind.DIFFERENCE, 100_000)
    story.audit()


def test_who_moved_before_the_base_date_is_counted_in_the_new_household_only(tale: Tale) -> None:
    story = tale(shards=4, rules=(JAPAN,))
    told(story, family("jp-mori", 3), family("jp-abe", 1))
    assert owed(story) == {"jp-mori": 300_000, "jp-abe": 100_000}
    told(story, lives("jp-mori-2", "jp-abe", "child", 2, since="2020-04-27"))
    assert owed(story) == {"jp-mori": 200_000, "jp-abe": 200_000}
    assert story.level("jp-mori").claim_minor == 100_000  # it was ordered, and is owed to another household now: visible, and never paid twice unseen
    assert ("overpaid", "jp-mori", "jp-fixed-sum-2020 once") in story.findings()
    told(story, lives("jp-mori-2", "jp-abe", "child", 3, since="2020-04-28"), lives("jp-mori-2", "jp-mori", "child", 4, until="2020-04-28"))
    assert owed(story) == {"jp-mori": 300_000, "jp-abe": 100_000}
    assert (story.level("jp-mori").claim_minor, story.level("jp-abe").claim_minor) == (0, 100_000)
    story.audit()


def test_a_household_that_everybody_had_left_is_refused_and_what_it_had_becomes_a_claim(tale: Tale) -> None:
    story = tale(shards=2, rules=(JAPAN,))
    told(story, family("jp-oda", 1))
    told(story, lives("jp-oda-0", "jp-ono", "head", 2, since="2020-01-01"))
    assert (story.level("jp-oda").decision, story.level("jp-oda").claim_minor) == (Decision.REFUSED, 100_000)
    assert story.level("jp-ono").owed_minor == 100_000
    story.audit()


def test_one_member_of_disputed_residence_holds_the_sum_of_the_household(tale: Tale) -> None:
    story = tale(shards=3, rules=(JAPAN,))
    told(story, family("jp-eto", 2), lives("jp-eto-1", "jp-ida", sequence=1))
    assert {story.level("jp-eto").decision, story.level("jp-ida").decision} == {Decision.UNDETERMINED}
    assert story.orders() == []
    story.audit()


def test_money_waits_for_a_head_and_for_the_heads_account(tale: Tale) -> None:
    story = tale(shards=3, rules=(JAPAN,))
    told(story, lives("jp-ueda-1", "jp-ueda"), lives("jp-ueda-2", "jp-ueda"))
    assert ordered(story) == {"jp-ueda": 200_000}
    assert {(order.state, order.reason) for order in story.orders()} == {(State.HELD, "payee_unknown")}
    told(story, lives("jp-ueda-1", "jp-ueda", "head", 2))
    assert {order.reason for order in story.orders()} == {"no_account"}
    told(story, owns("jp-ueda-2"))
    assert {order.reason for order in story.orders()} == {"no_account"}  # the account of a child is not the head's
    told(story, owns("jp-ueda-1"))
    assert {(order.state, order.account) for order in story.orders()} == {(State.RELEASED, "iban:DE89370400440532013000")}
    story.audit()


def test_money_does_not_leave_to_a_dead_head(tale: Tale) -> None:
    story = tale(shards=3, rules=(JAPAN,))
    told(story, lives("jp-hara-1", "jp-hara", "head"), lives("jp-hara-2", "jp-hara"))
    told(story, lives("jp-hara-1", "jp-hara", "head", 2, death_date="2020-05-02"), owns("jp-hara-1"))
    assert ordered(story) == {"jp-hara": 200_000}
    assert {order.reason for order in story.orders()} == {"payee_deceased"}
    told(story, lives("jp-hara-2", "jp-hara", "head", 2), owns("jp-hara-2"), lives("jp-hara-1", "jp-hara", "other", 3, death_date="2020-05-02"))
    assert {order.state for order in story.orders()} == {State.RELEASED}
    story.audit()


# Korea: by size, with a choice of channel.


def test_a_korean_household_is_paid_by_its_size_unless_it_chose_a_card(tale: Tale) -> None:
    story = tale(shards=3, rules=(KOREA,))
    told(story, *(family(f"kr-{size}", size) for size in range(1, 6)), chose("kr-2", "credit_card"))
    assert owed(story) == {"kr-1": 400_000, "kr-2": 0, "kr-3": 800_000, "kr-4": 1_000_000, "kr-5": 1_000_000}
    told(story, chose("kr-2", "account", 2))
    assert story.level("kr-2").owed_minor == 600_000
    story.audit()


def test_the_choice_of_a_household_counts_whether_it_comes_before_its_members_or_after(tale: Tale) -> None:
    early, late = tale(shards=2, rules=(KOREA,)), tale(shards=3, rules=(KOREA,))
    told(early, chose("kr-lee", "voucher"))
    told(early, family("kr-lee", 2))
    told(late, family("kr-lee", 2))
    told(late, chose("kr-lee", "voucher"))
    assert owed(early) == owed(late) == {"kr-lee": 0}
    assert early.audit().digest == late.audit().digest


# Denmark: a business.


def business(subject: str, turnover: int) -> list[Said]:
    facts = {"active": True, "registered": "2015-01-01", "full_time_employees": 2, "owners": 1}
    return [
        account(subject, scheme=IBAN),
        company(subject, 1, "2015-01-01", "2030-01-01", **facts),
        company(subject, 2, "2019-04-01", "2019-07-01", turnover=kroner(90_000)),
        company(subject, 3, "2020-03-09", "2020-07-09", "estimated", turnover=kroner(turnover)),
    ]


def test_a_business_has_ninety_per_cent_of_the_turnover_it_lost_and_a_later_true_figure_corrects_it(tale: Tale) -> None:
    story = tale(shards=3, rules=(DENMARK,))
    told(story, business("cvr-1", 80_000), business("cvr-2", 200_000), lives("dk-person", "dk-home"))
    assert owed(story) == {"cvr-1": 3_600_000, "cvr-2": 0}
    told(story, company("cvr-1", 4, "2020-03-09", "2020-07-09", turnover=kroner(84_000)))
    assert (story.level("cvr-1").owed_minor, story.level("cvr-1").claim_minor) == (3_240_000, 360_000)
    story.audit()


# A joint tax unit that splits: 46,759 people were paid twice in 2020, once as a spouse on a joint return and once on their own.

UNITS = """
format: registry/1
name: us-units
title: Tax units of the United States
source: urn:registry:units:us
owner: tax-registry
subject: person
topic: registry.us_unit
facts: us_unit
events:
  registry.us_unit.return.v1:
    meaning: The tax unit that a person's latest return made them part of.
    valid_time: {from: valid_from}
    fields:
      valid_from: {type: date, required: yes, meaning: The day on which the return was filed.}
      unit: {type: text, required: yes, meaning: Pseudonym of the tax unit.}
"""
PAID_BY_UNIT = """
format: benefit-rule/1
benefit: us-unit-payment
title: {en: Payment to a tax unit}
in_force: {from: 2020-03-27}
law: {a: {cite: 26 U.S.C. § 6428(a)}}
decides: {for: household, period: once, parameters_at: period.start, currency: USD}
members: {of: us_unit.unit, at: payment.date}
aggregates:
  adults: {count: members, law: a}
parameters:
  each: {type: money, law: a, from: {2020-03-27: 1_200}}
eligible_when: [{id: somebody, when: adults > 0, law: a}]
amount: {steps: [{id: paid, is: adults * each, law: a}], pay: paid}
"""


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The rule for tax units, with the registry that tells of them beside those that ship."""
    registries = shutil.copytree(SHIPPED / "registries", tmp_path / "registries")
    (registries / "us-units.yaml").write_text(UNITS)
    (tmp_path / "rule.yaml").write_text(PAID_BY_UNIT)
    monkeypatch.setenv("PAYOUT_REGISTRIES", str(registries))
    return tmp_path / "rule.yaml"


def files(subject: str, unit: str, sequence: int, day: str) -> Said:
    data: Data = {"valid_from": day, "unit": unit}
    return said("registry.us_unit", "urn:registry:units:us", "registry.us_unit.return.v1", f"return-{subject}-{sequence}", subject, sequence, data)


def test_who_leaves_a_joint_return_is_owed_once_and_what_the_old_unit_had_for_them_stands_as_a_claim(tale: Tale, units: Path) -> None:
    story = tale(shards=3, rules=(units,))
    told(story, files("us-anna", "us-joint", 1, "2019-04-01"), files("us-bert", "us-joint", 1, "2019-04-01"), account("us-joint"), account("us-alone"))
    assert ordered(story) == {"us-joint": 240_000}
    told(story, files("us-bert", "us-alone", 2, "2020-02-15"))
    assert owed(story) == {"us-alone": 120_000, "us-joint": 120_000}
    assert {level.claim_minor for level in (story.level("us-joint"), story.level("us-alone"))} == {120_000, 0}
    assert story.level("us-joint").claim_minor == 120_000  # two people, 2,400 dollars owed; what was sent for bert before is a claim on the joint unit
    assert ("overpaid", "us-joint", "us-unit-payment once") in story.findings()
    story.audit()


def test_who_is_known_to_have_left_a_joint_return_before_it_is_paid_is_never_paid_twice(tale: Tale, units: Path) -> None:
    story = tale(shards=3, rules=())
    told(story, files("us-anna", "us-joint", 1, "2019-04-01"), files("us-bert", "us-joint", 1, "2019-04-01"), files("us-bert", "us-alone", 2, "2020-02-15"))
    story.restart([units])
    told(story)
    assert ordered(story) == {"us-alone": 120_000, "us-joint": 120_000}
    assert all(order.kind == Kind.ORIGINAL for order in story.orders())
    story.audit()


# Arrival, doubles, shards, restarts.


def town(chance: random.Random) -> list[Said]:
    """Some families, moves, deaths, births, corrections, choices and accounts, told by their registries."""
    log: list[Said] = []
    homes = [f"jp-home{number}" for number in range(6)]
    for number in range(16):
        person = f"jp-p{number}"
        home = chance.choice(homes)
        log.append(lives(person, home, "head" if number < 6 else "child", 1))
        log.append(owns(person))
        if chance.random() < 0.4:
            log.append(
                lives(person, chance.choice(homes), chance.choice(["head", "child"]), 2, since=chance.choice(["2020-04-01", "2020-04-27", "2020-04-28"]))
            )
        if chance.random() < 0.15:
            log.append(lives(person, home, "child", 3, death_date=chance.choice(["2020-04-20", "2020-05-20"])))
        if chance.random() < 0.1:
            log.append(lives(person, chance.choice(homes), "child", 1))  # the same id with another content
    log += [chose(home, chance.choice(["account", "voucher"])) for home in homes[:3]]
    return log


def whole(home: Path, log: list[Said], instalments: int, **shape: Any) -> Digest:
    story = Story(home, rules=(JAPAN, KOREA), **shape)
    size = -(-len(log) // instalments)
    for first in range(0, len(log), size):
        told(story, log[first : first + size])
        story.audit()
    digest = story.audit(replay=instalments == 1 and shape.get("shards") == 2).digest
    story.close()
    return digest


def test_a_shuffled_doubled_rebatched_log_on_any_shards_and_servers_gives_the_same_digests(tmp_path: Path) -> None:
    chance = random.Random(7)
    log = town(chance)
    reference = whole(tmp_path / "reference", log, 1, shards=2)
    for number, shape in enumerate([{"shards": 5, "frame_records": 3}, {"shards": 3, "servers": 2}]):
        again = log * 2 if number % 2 else list(log)
        chance.shuffle(again)
        assert whole(tmp_path / f"again{number}", again, number + 1, **shape) == reference


HOMES, PEOPLE = ("x", "y"), ("a", "b", "c")
said_of_people = st.fixed_dictionaries({
    "home": st.sampled_from(HOMES), "role": st.sampled_from(["head", "child"]), "sequence": st.integers(1, 4), "id": st.sampled_from(["r1", "r2", "r3"]),
    "since": st.sampled_from(["2010-01-01", "2020-04-27", "2020-04-28"]), "resident": st.sampled_from([True, True, False]),
    "death_date": st.sampled_from(["", "", "", "2020-04-20", "2020-06-01"]),
})  # fmt: skip
small_logs = st.lists(st.tuples(st.sampled_from(PEOPLE), st.one_of(said_of_people, said_of_people, st.just(None))), min_size=1, max_size=9)


def written(log: list[tuple[str, dict[str, Any] | None]], run: int) -> list[Said]:
    """The events of a small log about people and households of whom nobody has spoken before; None is an account."""
    told = []
    for name, entry in log:
        person = f"run{run}-{name}"
        if entry is None:
            told.append(owns(person))
            continue
        data = {"valid_from": entry["since"], "birth_date": "1970-05-17", "resident": entry["resident"], "household": f"run{run}-home-{entry['home']}"}
        data |= {"role": entry["role"], **({"death_date": entry["death_date"]} if entry["death_date"] else {})}
        identity = f"{person}-{entry['id']}"
        told.append(said(RESIDENCY, "urn:registry:residency", "registry.residency.person.v1", identity, person, entry["sequence"], data))
    return told


def test_any_small_log_of_members_in_any_order_leaves_households_with_the_same_known_and_owed(tmp_path: Path) -> None:
    one, three = Story(tmp_path / "one", shards=1, rules=(JAPAN,)), Story(tmp_path / "three", shards=3, frame_records=2, rules=(JAPAN,))
    runs = iter(range(10_000))

    @settings(max_examples=25, deadline=None)
    @given(log=small_logs, seed=st.integers(0, 2**32), doubled=st.booleans())
    def law(log: list[tuple[str, dict[str, Any] | None]], seed: int, doubled: bool) -> None:
        chance, run = random.Random(seed), next(runs)
        records = written(log, run)
        told(one, records)
        again = records * 2 if doubled else list(records)
        chance.shuffle(again)
        cut = chance.randrange(len(again) + 1)
        told(three, again[:cut])
        told(three, again[cut:])
        known = (
            "SELECT f.subject, history, decision, owed_minor FROM facts AS f LEFT JOIN entitlement USING (shard, subject) WHERE f.subject LIKE %s ORDER BY 1"
        )
        assert one.ask(known, f"run{run}-%") == three.ask(known, f"run{run}-%")

    law()
    assert one.audit().digest == three.audit().digest
    for story in (one, three):
        story.close()


def test_shares_that_are_published_twice_change_nothing(tale: Tale) -> None:
    story = tale(shards=2, rules=(JAPAN,))
    told(story, family("jp-doi", 3))
    before, digest = story.orders(), story.digest()
    assert len(sent(story)) == 4  # where each lives, and the account of the head
    told(story, [Said(MEMBERS, key, value) for key, value in records(story)])
    assert (story.orders(), story.digest()) == (before, digest)
    story.audit()


def records(story: Story) -> list[tuple[bytes, bytes]]:
    found = []
    for shard in range(story.shards):
        frame = LogReader(story.installation.log_directory, MEMBERS, shard).read(0, max_records=1_000)
        found += list(zip(frame.keys, frame.values, strict=True))
    return found


def sent(story: Story) -> list[Share]:
    return [share for _, value in records(story) if isinstance(share := decode_share(value), Share)]


def test_what_is_no_share_is_a_dead_letter_with_its_reason(tale: Tale) -> None:
    story = tale(shards=1, rules=(JAPAN,))
    told(story, Said(MEMBERS, b"jp-x", b'{"household":"jp-x"}'), family("jp-x", 1))
    (letter,) = story.dead_letters()
    assert letter.topic == MEMBERS
    assert "this is no share of a member" in letter.text
    assert owed(story) == {"jp-x": 100_000}
    story.audit()


def test_a_rule_for_households_that_comes_late_hears_of_everybody_already_known_and_pays_each_household_in_one_sum(tale: Tale) -> None:
    story = tale(shards=3, frame_records=2)  # the words of the members of one household come in several frames
    told(story, *(family(f"jp-late{number}", 3) for number in range(9)))
    assert sent(story) == []
    story.restart([JAPAN])
    told(story)
    paid = [order for order in story.orders() if order.benefit == "jp-fixed-sum-2020"]
    assert [(order.subject, order.sequence, order.amount_minor) for order in paid] == [(f"jp-late{number}", 1, 300_000) for number in range(9)]
    story.audit()


def test_persons_are_decided_by_rules_for_persons_and_households_by_rules_for_households(tale: Tale) -> None:
    story = tale(shards=2, rules=(SHIPPED / "benefits/us-eip1/2020-03-27.yaml", JAPAN))
    told(story, family("jp-two", 2))
    decided = {(subject, benefit) for subject, benefit in story.ask("SELECT subject, benefit FROM entitlement JOIN benefit_period USING (benefit_period_id)")}
    assert decided == {("jp-two", "jp-fixed-sum-2020"), ("jp-two-0", "us-eip1"), ("jp-two-1", "us-eip1")}
    story.audit()


# The audit finds what is wrong.


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        ("DELETE FROM entitlement WHERE subject = 'jp-aoki'", "complete"),
        ("UPDATE relay SET shared_seq = shared_seq + 1", "shares"),
        ("UPDATE facts SET history = (SELECT history FROM facts WHERE subject = 'jp-aoki-1') WHERE subject = 'jp-aoki-0'", "members"),
        ("UPDATE facts SET history = (SELECT history FROM facts WHERE subject = 'jp-aoki-0') WHERE subject = 'jp-aoki'", "members"),
    ],
)
def test_the_audit_names_what_is_not_as_it_must_be(damage: str, check: str, tale: Tale) -> None:
    story = tale(shards=1, rules=(JAPAN,))
    told(story, family("jp-aoki", 2))
    story.audit()
    story.close()
    with story.connection() as connection:
        connection.execute(damage.encode())
    assert check in {found.id for found in story.examine().checks if not found.ok}
