"""Orders follow from the level: what is owed less what has been ordered."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.entitlements import Decision, Entitlement, settle
from pipeline.ledger import BOOK_OF_STATE, Posting
from pipeline.orders import AWAITING_TREATMENT, FINAL, PASSED, TRANSITIONS, HeldOrder, State, Step, difference, end_to_end_id, fingerprint, order_id, order_text

held_orders = st.lists(st.integers(1, 500), max_size=4).map(lambda amounts: [HeldOrder(index + 1, amount) for index, amount in enumerate(amounts)])


@given(st.integers(0, 2_000), st.integers(0, 2_000), held_orders)
def test_live_orders_come_to_what_is_owed_or_the_surplus_is_a_claim(owed: int, left: int, held: list[HeldOrder]) -> None:
    change = difference(owed, left + sum(order.amount_minor for order in held), held)
    kept = sum(order.amount_minor for order in held if order.sequence not in change.cancel)
    assert change.live_minor == left + kept + change.order_minor
    assert change.live_minor == owed + change.claim_minor
    assert change.order_minor == 0 or change.claim_minor == 0


@given(st.integers(0, 2_000), st.integers(0, 2_000), held_orders)
def test_no_claim_arises_while_a_held_order_could_be_cancelled(owed: int, left: int, held: list[HeldOrder]) -> None:
    change = difference(owed, left + sum(order.amount_minor for order in held), held)
    if change.claim_minor:
        assert change.cancel == tuple(sorted((order.sequence for order in held), reverse=True))


decisions = st.lists(st.tuples(st.sampled_from(Decision), st.integers(0, 900), st.booleans()), max_size=12)


@given(decisions)
def test_whatever_is_decided_in_turn_the_level_holds_and_sequences_have_no_gap(turns: list[tuple[Decision, int, bool]]) -> None:
    entitlement: Entitlement | None = None
    orders: dict[int, tuple[int, bool]] = {}  # sequence -> (amount, still held)
    for decision, amount, leaves in turns:
        owed = amount if decision == Decision.GRANTED else 0
        held = [HeldOrder(sequence, minor) for sequence, (minor, waits) in orders.items() if waits]
        settled = settle(entitlement, "s", 1, 1, decision, owed, b"", held)
        for sequence in settled.cancel:
            del orders[sequence]
        if settled.order is not None:
            orders[settled.order.sequence] = (settled.order.amount_minor, not leaves)
        entitlement = settled.entitlement
        entitlement.held = sum(waits for _, waits in orders.values())
        assert entitlement.live_minor == sum(minor for minor, _ in orders.values())
        if decision != Decision.UNDETERMINED:
            assert entitlement.live_minor == entitlement.owed_minor + entitlement.claim_minor
        else:
            assert (settled.order, settled.cancel, entitlement.claim_minor) == (None, (), 0)
    if entitlement is not None:
        assert entitlement.orders >= len(orders)


@given(st.integers(0, 900))
def test_the_same_decision_twice_orders_once(amount: int) -> None:
    first = settle(None, "s", 1, 1, Decision.GRANTED, amount, b"")
    again = settle(first.entitlement, "s", 1, 2, Decision.GRANTED, amount, b"other rule")
    assert again.order is None
    assert again.cancel == ()


def test_nothing_negative_can_be_owed() -> None:
    with pytest.raises(ValueError, match="nothing negative"):
        settle(None, "s", 1, 1, Decision.GRANTED, -1, b"")


def test_every_state_is_reachable_and_has_a_way_out_or_is_final() -> None:
    reached = {State.HELD, State.RELEASED} | set(TRANSITIONS.values())
    leaving = {before for before, _ in TRANSITIONS}
    assert reached == set(State)
    assert leaving | FINAL | AWAITING_TREATMENT == set(State)
    assert not leaving & FINAL


def test_every_state_stands_in_a_book() -> None:
    assert set(BOOK_OF_STATE) == set(State)


def test_an_answer_that_tells_nothing_new_is_never_also_a_move() -> None:
    for step, states in PASSED.items():
        assert all((state, step) not in TRANSITIONS for state in states), step


@pytest.mark.parametrize(
    "said",
    [
        (Step.SEND, Step.ACCEPT, Step.SETTLE, Step.RETURN),
        (Step.SEND, Step.ACCEPT, Step.SETTLE),
        (Step.SEND, Step.ACCEPT, Step.REJECT),
        (Step.SEND, Step.REJECT),
    ],
)
def test_whatever_overtakes_what_the_answers_of_the_bank_end_alike(said: tuple[Step, ...]) -> None:
    ends = set()
    for arrival in permutations(said):
        state = State.RELEASED
        for step in arrival:
            assert (state, step) in TRANSITIONS or state in PASSED[step], f"{arrival}: {step} finds the order {state.name}"
            state = TRANSITIONS.get((state, step), state)
        ends.add(state)
    assert ends == {TRANSITIONS[{Step.RETURN: State.SETTLED, Step.SETTLE: State.ACCEPTED, Step.REJECT: State.SENT}[said[-1]], said[-1]]}


@given(st.lists(st.sampled_from(Step), max_size=12))
def test_the_books_follow_an_order_through_any_lawful_life(steps: list[Step]) -> None:
    posting, state = Posting(), State.HELD
    posting.orders(700, 1)
    for step in steps:
        after = TRANSITIONS.get((state, step))
        if after is not None:
            posting.step(step, state, after, 700)
            state = after
    balances: dict[str, int] = {}
    for transfer in posting.transfers():
        balances[transfer.debit] = balances.get(transfer.debit, 0) + transfer.amount_minor
        balances[transfer.credit] = balances.get(transfer.credit, 0) - transfer.amount_minor
    assert sum(balances.values()) == 0
    expected = {} if state is State.CANCELLED else {"appropriation": -700, BOOK_OF_STATE[state]: 700}
    assert {book: amount for book, amount in balances.items() if amount} == expected


def test_the_id_of_an_order_is_that_of_its_entitlement_and_number_alone() -> None:
    assert order_text(order_id("us-eip1", "us-000017", "once", 1)) == "12d96f363bca931c575a3246a2b6c1"
    assert order_id("us-eip1", "us-000017", "once", 1) != order_id("us-eip1", "us-000017", "once", 2)
    assert fingerprint(1, 100, "USD") != fingerprint(1, 101, "USD")


@given(st.text(max_size=64), st.text(max_size=64), st.text(max_size=10), st.integers(1, 2**31 - 1), st.integers(1, 9_999))
def test_an_end_to_end_id_fits_iso_20022(benefit: str, subject: str, period: str, sequence: int, attempt: int) -> None:
    identity = end_to_end_id(order_id(benefit, subject, period, sequence), attempt)
    assert len(identity) <= 35
    assert identity.replace("-", "").isalnum()
