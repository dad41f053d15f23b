"""The facts are a join: nothing about arrival shows in them."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.facts import Disposition, History, Known, Question, Reader, day, decode_history, disputed_ids, encode_history, is_only, join

LAST = day(date(2020, 4, 1))


def said(
    identity: str,
    sequence: int,
    *,
    agi: int | None = None,
    valid: tuple[int, int] = (0, 99_999),
    status: str = "final",
    withdraws: str = "",
    died: int | None = None,
) -> Known:
    values: dict[str, int] = {} if agi is None else {"tax.agi": agi}
    if died is not None:
        values["tax.death"] = died
    return Known(sequence, identity, "tax", "assessment", 1_000 * sequence, *valid, status, values, withdraws)


events = st.builds(
    said,
    st.sampled_from(["a", "b", "c", "d"]),
    st.integers(0, 3),
    agi=st.one_of(st.none(), st.integers(0, 3)),
    valid=st.sampled_from([(0, 99_999), (0, LAST), (LAST, 99_999)]),
    status=st.sampled_from(["final", "preliminary"]),
    withdraws=st.sampled_from(["", "", "", "a", "b"]),
    died=st.one_of(st.none(), st.just(LAST)),
)
logs = st.lists(events, max_size=12)

READER = Reader(
    [
        Question("tax.agi", "tax", LAST, frozenset({"final"})),
        Question("tax.agi", "tax", LAST),
        Question("tax.alive", "tax", LAST + 1, until="tax.death"),
        Question("tax.agi", "tax", None),
    ]
)


def folded(log: list[Known], cuts: list[int]) -> History:
    history: History = ()
    edges = [0, *sorted(cut % (len(log) + 1) for cut in cuts), len(log)]
    for start, end in pairwise(edges):
        history, _ = join(history, log[start:end])
    return history


@given(logs, st.randoms(use_true_random=False), st.lists(st.integers(0, 99), max_size=4), st.lists(st.integers(0, 99), max_size=5))
def test_any_permutation_duplication_and_batching_folds_to_the_same_bytes(log: list[Known], chance, cuts: list[int], again: list[int]) -> None:
    shuffled = log + [log[index % len(log)] for index in again if log]
    chance.shuffle(shuffled)
    assert encode_history(folded(log, [])) == encode_history(folded(shuffled, cuts))


@given(logs, logs)
def test_joining_is_commutative_and_idempotent(one: list[Known], other: list[Known]) -> None:
    left, right = folded(one, []), folded(other, [])
    both, _ = join(left, right)
    assert both == join(right, left)[0]
    assert join(both, left)[0] == both


@given(logs, events)
def test_a_history_is_told_by_its_bytes_to_be_of_one_event_alone_only_where_it_is(log: list[Known], event: Known) -> None:
    history = folded(log, [])
    assert is_only(event, encode_history(history)) == (history == (event,))
    assert is_only(event, encode_history((event,)))


@given(logs, events)
def test_an_event_that_comes_alone_ends_as_it_would_among_others(log: list[Known], event: Known) -> None:
    history = folded(log, [])
    alone, (disposition,) = join(history, [event])
    _, dispositions = join((), [*history, event])
    assert disposition == dispositions[-1]
    assert (alone is history) == (disposition == Disposition.DUPLICATE)


@given(logs)
def test_every_event_gets_one_disposition_and_only_new_content_is_added(log: list[Known]) -> None:
    history, dispositions = join((), log)
    assert len(dispositions) == len(log)
    assert len(history) == sum(disposition is not Disposition.DUPLICATE for disposition in dispositions)
    assert len({encode_history((known,)) for known in log}) == len(history)


@given(logs)
def test_a_history_survives_being_written_and_read(log: list[Known]) -> None:
    history, _ = join((), log)
    assert decode_history(encode_history(history)) == history


@given(logs, st.randoms(use_true_random=False))
def test_answers_do_not_depend_on_arrival(log: list[Known], chance) -> None:
    shuffled = list(log)
    chance.shuffle(shuffled)
    assert READER.read(join((), log)[0]) == READER.read(join((), shuffled)[0])


def answer(*log: Known) -> object:
    return READER.read(join((), log)[0])[0][1]


def test_the_highest_sequence_tells_the_value_whatever_comes_last() -> None:
    assert answer(said("a", 2, agi=200), said("b", 1, agi=100)) == 200


def test_of_equal_sequences_the_higher_id_tells() -> None:
    assert answer(said("b", 1, agi=100), said("a", 1, agi=200)) == 100


def test_a_withdrawn_event_never_held() -> None:
    assert answer(said("a", 1, agi=100), said("b", 2, agi=200), said("c", 3, withdraws="b")) == 100


def test_a_correction_may_come_before_what_it_withdraws() -> None:
    assert answer(said("c", 3, withdraws="b"), said("b", 2, agi=200)) is None


def test_a_reused_id_is_a_conflict_and_its_fact_unknown() -> None:
    history, dispositions = join((), [said("a", 1, agi=100), said("a", 1, agi=101)])
    assert dispositions == [Disposition.APPLIED, Disposition.CONFLICT]
    assert disputed_ids(history) == {("tax", "a")}
    assert READER.read(history)[0][1] is None


def test_a_later_event_ends_a_dispute() -> None:
    assert answer(said("a", 1, agi=100), said("a", 1, agi=101), said("b", 2, agi=300)) == 300


def test_withdrawing_a_disputed_id_withdraws_both_contents() -> None:
    assert answer(said("a", 2, agi=100), said("a", 2, agi=101), said("c", 3, withdraws="a"), said("0", 1, agi=7)) == 7


@pytest.mark.parametrize(("valid", "expected"), [((0, LAST), None), ((LAST, 99_999), 100), ((LAST + 1, 99_999), None), ((0, LAST + 1), 100)])
def test_an_interval_holds_from_its_first_day_up_to_its_end(valid: tuple[int, int], expected: int | None) -> None:
    assert answer(said("a", 1, agi=100, valid=valid)) == expected


def test_a_status_that_is_not_accepted_is_unknown_and_does_not_fall_back() -> None:
    answers = READER.read(join((), [said("a", 1, agi=100), said("b", 2, agi=200, status="preliminary")])[0])[0]
    assert answers[:2] == [None, 200]


def test_alive_is_unknown_of_strangers_yes_without_a_death_and_no_from_its_day() -> None:
    assert READER.read(())[0][2] is None
    assert READER.read((said("a", 1, agi=1),))[0][2] is True
    assert READER.read((said("a", 1, died=LAST + 1),))[0][2] is False
    assert READER.read((said("a", 1, died=LAST + 2),))[0][2] is True
