"""Facts read for many subjects at once are the facts read for each alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from pipeline.accounts import ASSIGNMENT, AccountPolicy, Usual, check, resolve
from pipeline.facts import History, Known, Question, Reader, day, join
from pipeline.facts_together import FEW, by_shape, read_all

LAST = day(date(2020, 4, 1))
QUESTIONS = [
    Question("tax.agi", "tax", LAST, frozenset({"final"})),
    Question("tax.people", "tax", LAST, frozenset({"final"})),
    Question("tax.alive", "tax", LAST + 1, until="tax.death"),
    Question("tax.agi", "tax", None),
    Question("home.town", "home", LAST),
    Question("tax.people", "tax", None, timeless=True),
    Question("home.since", "home", None),
]
READERS = [Reader(QUESTIONS), Reader(QUESTIONS), Reader([*QUESTIONS, Question("tax.agi", "tax", LAST, oldest_ms=1_500)])]


@st.composite
def events(draw: st.DrawFn) -> Known:
    registry = draw(st.sampled_from(["tax", "tax", "home"]))
    values: dict[str, int | bool | str] = {}
    for name in ("agi", "people", "town", "since", "death"):
        if draw(st.integers(0, 4)):
            values[f"{registry}.{name}"] = LAST if name == "death" else draw(st.integers(0, 3))
    if draw(st.booleans()):
        values.pop(f"{registry}.death", None)
    valid = draw(st.sampled_from([(0, 99_999), (0, 99_999), (0, LAST), (LAST, 99_999)]))
    withdraws = draw(st.sampled_from(["", "", "", "", "", "a"]))
    sequence = draw(st.integers(0, 2))
    status = draw(st.sampled_from(["final", "final", "preliminary"]))
    return Known(sequence, draw(st.sampled_from("abcdef")), registry, "said", 1_000 * sequence, *valid, status, {} if withdraws else values, withdraws)


@st.composite
def towns(draw: st.DrawFn) -> list[History]:
    """Many subjects who look alike, among them some who do not."""
    usual = [join((), draw(st.lists(events(), min_size=1, max_size=3)))[0] for _ in range(draw(st.integers(1, 2)))]
    odd = [join((), log)[0] for log in draw(st.lists(st.lists(events(), max_size=4), max_size=4))]
    return list(draw(st.permutations([*usual * draw(st.sampled_from([FEW, FEW + 3, 1])), *odd])))


def alone(reader: Reader, history: History, event_day: int) -> tuple[list[object], list[str | None]]:
    values, told = reader.read(history, event_day)
    return list(values), [event and event.id for event in told]


def told_of(answer: tuple[Sequence[object], Sequence[str], Sequence[int]]) -> tuple[list[object], list[str | None]]:
    values, ids, told_by = answer
    return list(values), [None if place < 0 else ids[place] for place in told_by]


@given(towns(), st.sampled_from(READERS), st.data())
def test_what_is_answered_of_a_subject_does_not_depend_on_the_company(town: list[History], reader: Reader, data: st.DataObject) -> None:
    event_days = data.draw(st.lists(st.sampled_from([LAST - 1, LAST]), min_size=len(town), max_size=len(town)))
    together = read_all(reader, by_shape(town), town, event_days)
    assert [told_of(answer) for answer in together] == [alone(reader, history, on) for history, on in zip(town, event_days, strict=True)]
    assert all(len(ids) == len(set(ids)) for _, ids, _ in together)


@given(
    st.sampled_from(["us", "iban"]), st.sampled_from(["active", "closed"]), st.sampled_from(["match", "no_match", None]),
    st.sampled_from(["", "us-eip1", "other"]),
    st.sampled_from(["021000021", "021000022", "02100 0021"]), st.sampled_from([(0, 99_999), (LAST, 99_999), (0, LAST)]), st.sampled_from(["USD", "EUR"]),
    st.sampled_from([AccountPolicy(), AccountPolicy(countries=("US",)), AccountPolicy(cooling_off_bank_days=3), AccountPolicy(schemes=("iban",))]),
)  # fmt: skip
def test_the_short_way_to_an_account_leads_only_where_the_long_one_does(
    scheme: str, status: str, holder: str | None, benefit: str, routing: str, valid: tuple[int, int], currency: str, policy: AccountPolicy
) -> None:
    fields = {"routing": routing, "number": "12345678", "iban": "DK5000400440116243"}
    values: dict[str, int | bool | str] = {f"account.{name}": value for name, value in fields.items() if (name == "iban") == (scheme == "iban")}
    values |= {"account.scheme": scheme, "account.status": status, "account.benefit": benefit} | ({"account.holder": holder} if holder else {})
    assignment = Known(1, "a", "accounts", ASSIGNMENT, 1_000, *valid, "final", values)
    found = Usual(policy, "us-eip1", currency, LAST).account(assignment)
    resolved = resolve([assignment], "us-eip1", LAST)
    reason = check(resolved, policy, currency, LAST, 1)
    assert found is None or (reason is None and resolved is not None and found == resolved.account)
    if reason is None and policy == AccountPolicy():
        assert found is not None, "the short way must not be closed to those it is made for"
