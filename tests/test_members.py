"""What members contribute to a household: copies of what was said of them, a function of what is known and of nothing else."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.registries import load_registries
from pipeline.accounts import ASSIGNMENT
from pipeline.facts import FIRST_DAY, LAST_DAY, Disposition, History, Known, day, join
from pipeline.households import MemberReader
from pipeline.members import Heads, Needs, ToldAll, by_member, contributed, copy_of, decode_share, encode_share, needs_of, news, own
from pipeline.problems import Malformed
from pipeline.rules import ONCE, load_rule

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = load_registries(ROOT / "registries").catalogue
JAPAN = load_rule((ROOT / "benefits/jp-fixed-sum-2020/2020-04-30.yaml").read_text(), CATALOGUE)
BASE = day(date(2020, 4, 27))
NEEDS = needs_of([JAPAN], CATALOGUE)


def lives(id: str, household: str | None, sequence: int = 1, since: int = FIRST_DAY, until: int = LAST_DAY, **facts) -> Known:
    values = {"residency.resident": True, **({} if household is None else {"residency.household": household})}
    return Known(sequence, id, "residency", "registry.residency.person.v1", sequence, since, until, "final",
                 {**values, **{f"residency.{name}": value for name, value in facts.items()}})  # fmt: skip


def assigned(id: str, number: str = "1", sequence: int = 1) -> Known:
    values = {"account.scheme": "dk", "account.registration": "0040", "account.number": number, "account.status": "active"}
    return Known(sequence, id, "accounts", ASSIGNMENT, sequence, FIRST_DAY, LAST_DAY, "final", values)


def earns(id: str) -> Known:
    return Known(1, id, "us-irs", "registry.tax.assessment.v1", 1, 0, 10_000, "final", {"tax.agi": 5})


def taken_back(event: Known, id: str, sequence: int = 9) -> Known:
    return Known(sequence, id, event.registry, "registry.correction.v1", sequence, FIRST_DAY, LAST_DAY, "final", {}, event.id)


def ids(shares) -> dict[str, list[str]]:
    return {home: sorted(share.event.id for share in shares if share.household == home) for home in dict.fromkeys(share.household for share in shares)}


def test_a_rule_that_counts_residents_and_pays_heads_needs_the_residency_and_the_accounts_of_heads():
    assert Needs(("residency.household",), ("residency",), True) == NEEDS
    assert needs_of([load_rule((ROOT / "benefits/us-eip1/2020-03-27.yaml").read_text(), CATALOGUE)], CATALOGUE) is None


def test_a_member_contributes_what_the_rule_asks_for_and_nothing_else():
    assert ids(news("a", (), (assigned("a1"), lives("r1", "h"), earns("t1")), NEEDS)) == {"h": ["r1"]}


def test_the_head_of_a_household_contributes_their_account_to_that_household_only():
    before, after = lives("r1", "old", until=100), lives("r2", "new", 2, since=100, role="head")
    assert ids(news("a", (), (assigned("a1"), before, after), NEEDS)) == {"old": ["r1", "r2"], "new": ["a1", "r1", "r2"]}


def test_who_lives_nowhere_contributes_nothing():
    assert news("a", (), (lives("r1", None),), NEEDS) == []


def test_who_moves_tells_the_new_household_everything_and_the_old_one_what_is_new():
    here, there = lives("r1", "h"), lives("r2", "g", 2, since=100)
    before, _ = join((), [here])
    after, _ = join(before, [there])
    assert ids(news("a", before, after, NEEDS)) == {"h": ["r2"], "g": ["r1", "r2"]}


def test_a_share_comes_out_of_its_message_as_it_went_in():
    (share,) = news("a", (), (lives("r1", "h", birth_date=-5, role="head"),), NEEDS)
    assert decode_share(encode_share(share)) == share


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"\xff", b'{"is":"event","household":"h","member":"a"}', b'{"is":"event","household":"h","member":"a","event":[1,2]}', b"[" * 9_000]
)
def test_what_is_no_share_is_malformed(raw):
    with pytest.raises(Malformed, match="Only lanes write to this topic"):
        decode_share(raw)


def test_the_word_that_everybody_has_told_comes_out_as_it_went_in():
    assert decode_share(encode_share(ToldAll(NEEDS.name, 3))) == ToldAll(NEEDS.name, 3)


def test_a_copy_of_a_copy_is_malformed():
    (share,) = news("a", (), (lives("r1", "h"),), NEEDS)
    again = type(share)("h", "a", copy_of(share))
    with pytest.raises(Malformed, match="a member's own event"):
        decode_share(encode_share(again))


# Any order, any repetition, any interleaving.

events = st.one_of(
    st.builds(lives, st.sampled_from(["r1", "r2", "r3"]), st.sampled_from(["h", "g", None]), st.integers(1, 3), st.sampled_from([FIRST_DAY, BASE, BASE + 1]),
              st.sampled_from([BASE + 1, BASE + 9, LAST_DAY]), resident=st.sampled_from([True, True, False]), role=st.sampled_from(["head", "child"])),
    st.builds(assigned, st.sampled_from(["a1", "a2"]), st.sampled_from(["1", "2"]), st.integers(1, 2)),
    st.builds(taken_back, st.sampled_from([lives("r1", "h"), lives("r2", "h"), assigned("a1")]), st.sampled_from(["c1", "c2"])),
)  # fmt: skip


def told(log: list[tuple[str, Known]], chance: random.Random) -> dict[str, History]:
    """The households' histories after their members' lanes took these events in this order and the shares came in any order, some of them twice."""
    people: dict[str, History] = {}
    sent = []
    for person, event in log:
        before = people.get(person, ())
        people[person], dispositions = join(before, [event])
        if dispositions != [Disposition.DUPLICATE]:
            sent += news(person, before, people[person], NEEDS)
    sent += chance.sample(sent, len(sent) // 2)
    chance.shuffle(sent)
    households: dict[str, History] = {}
    for share in sent:
        households[share.household], _ = join(households.get(share.household, ()), [copy_of(share)])
    return households


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), events), max_size=12), st.integers(0, 2**32))
def test_what_a_household_knows_and_is_owed_does_not_depend_on_the_order_of_its_members_events(log, seed):
    chance = random.Random(seed)
    first = told(log, chance)
    again = log * 2
    chance.shuffle(again)
    assert told(again, chance) == first
    reader = MemberReader(JAPAN, ONCE, CATALOGUE)
    for household, history in first.items():
        people = {person: join((), [event for who, event in log if who == person])[0] for person, _ in log}
        assert by_member(history) == {
            person: tuple(contributed(known, NEEDS)[household]) for person, known in sorted(people.items()) if household in contributed(known, NEEDS)
        }
        assert reader.read(household, history, BASE) == reader.read(household, told(log, chance)[household], BASE)


@settings(max_examples=100, deadline=None)
@given(st.lists(events, max_size=8), st.integers(0, 2**32))
def test_nobody_is_counted_in_two_households_on_a_day(log, seed):
    households = told([("a", event) for event in log], random.Random(seed))
    reader = MemberReader(JAPAN, ONCE, CATALOGUE)
    counted = [len(members) for members in (reader.read(household, history, BASE) for household, history in households.items()) if members is not None]
    assert sum(counted) <= 1


def count(*log: tuple[str, Known]) -> dict[str, int | None]:
    reader = MemberReader(JAPAN, ONCE, CATALOGUE)
    read = {household: reader.read(household, history, BASE) for household, history in told(list(log), random.Random(1)).items()}
    return {household: None if members is None else len(members) for household, members in read.items()}


def test_who_moves_on_a_day_is_counted_before_it_in_the_old_and_from_it_on_in_the_new_household():
    assert count(("a", lives("r1", "h", until=BASE)), ("a", lives("r2", "g", 2, since=BASE))) == {"h": 0, "g": 1}
    assert count(("a", lives("r1", "h", until=BASE + 1)), ("a", lives("r2", "g", 2, since=BASE + 1))) == {"h": 1, "g": 0}


def test_who_comes_after_the_day_is_not_yet_a_member_and_leaves_nothing_unknown():
    assert count(("a", lives("r1", "h")), ("b", lives("r2", "h", since=BASE + 1))) == {"h": 1}


def test_who_is_said_to_live_in_two_places_by_one_event_id_leaves_both_households_unknown():
    assert count(("a", lives("r1", "h")), ("a", lives("r1", "g"))) == {"h": None, "g": None}
    withdrawn = taken_back(lives("r1", "h"), "c1")
    assert count(("a", lives("r1", "h")), ("a", lives("r1", "g")), ("a", withdrawn), ("a", lives("r3", "g", 3))) == {"h": 0, "g": 1}


def test_the_head_is_who_lives_there_as_head_on_the_day():
    heads = Heads("residency.household", CATALOGUE)
    log = [
        ("a", lives("r1", "h", until=BASE, role="head")),
        ("a", lives("r3", "g", 2, since=BASE, role="child")),
        ("b", lives("r2", "h", since=BASE, role="head")),
    ]
    members = by_member(told(log, random.Random(1))["h"])
    assert (heads.of("h", members, BASE - 1), heads.of("h", members, BASE)) == (["a"], ["b"])


def test_a_households_own_history_is_what_was_said_of_itself():
    size = Known(1, "s1", "kr-households", "registry.kr_household.size.v1", 1, FIRST_DAY, LAST_DAY, "final", {"kr_household.size": 3})
    history, _ = join(told([("a", lives("r1", "h"))], random.Random(1))["h"], [size])
    assert own(history) == (size,)
    assert own((size,)) == (size,)
