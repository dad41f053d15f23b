"""Where an order may leave: each reason that holds one, and that the registration of a usable account releases it with no other act."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from story import LAW, ROUTING, TAXCALC, Said, Tale, account, death, income, person, resident, tale, withdrawn

from pipeline.accounts import AccountPolicy
from pipeline.holds import HoldReason
from pipeline.orders import State
from pipeline.sharding import shard_of

__all__ = ["tale"]

DANISH = {"scheme": "dk", "registration": "0040", "number": "0440116243"}
IBAN = {"scheme": "iban", "iban": "DK5000400440116243"}
WRONG_ROUTING = {"scheme": "us", "routing": "021000022", "number": "12345678"}
WRONG_IBAN = {"scheme": "iban", "iban": "DK5100400440116243"}
TODAY = date(2026, 3, 2)

HELD: list[tuple[HoldReason, list[Said], dict[str, Any]]] = [
    (HoldReason.NO_ACCOUNT, [], {}),
    (HoldReason.ACCOUNT_DISPUTED, [account("anna", number="1111111", id="x"), account("anna", number="2222222", id="x")], {}),
    (HoldReason.ACCOUNT_PENDING, [account("anna", status="pending")], {}),
    (HoldReason.ACCOUNT_CLOSED, [account("anna", status="closed")], {}),
    (HoldReason.ACCOUNT_CLOSED, [account("anna"), account("anna", 2, status="closed")], {}),
    (HoldReason.ACCOUNT_BLOCKED, [account("anna", status="blocked")], {}),
    (HoldReason.ACCOUNT_NOT_VALID_ON_DAY, [account("anna", valid_from="2026-03-03")], {}),
    (HoldReason.ACCOUNT_NOT_VALID_ON_DAY, [account("anna", valid_to="2026-03-02")], {}),
    (HoldReason.ACCOUNT_COOLING_OFF, [account("anna", valid_from="2026-02-27")], {"cooling_off_bank_days": 5}),
    (HoldReason.ACCOUNT_SCHEME_NOT_ALLOWED, [account("anna")], {"schemes": ("iban",)}),
    (HoldReason.ACCOUNT_INVALID, [account("anna", scheme=WRONG_ROUTING)], {}),
    (HoldReason.ACCOUNT_INVALID, [account("anna", scheme=WRONG_IBAN)], {}),
    (HoldReason.ACCOUNT_INVALID, [account("anna", number="12AB")], {}),
    (HoldReason.ACCOUNT_COUNTRY_NOT_ALLOWED, [account("anna", scheme=IBAN)], {"countries": ("US",)}),
    (HoldReason.ACCOUNT_CURRENCY_NOT_ALLOWED, [account("anna", scheme=DANISH)], {}),
    (HoldReason.HOLDER_MISMATCH, [account("anna", holder="no_match")], {}),
    (HoldReason.HOLDER_MISMATCH, [account("anna", holder="close_match")], {}),
    (HoldReason.ACCOUNT_SHARED, [account(who, number="99999999") for who in ("anna", "b", "c", "d")], {}),
]


@pytest.mark.parametrize(("reason", "accounts", "policy"), HELD, ids=[f"{number}-{reason}" for number, (reason, _, _) in enumerate(HELD)])
def test_an_order_is_held_with_the_reason_and_released_by_a_usable_account(
    reason: HoldReason, accounts: list[Said], policy: dict[str, Any], tale: Tale
) -> None:
    story = tale(policy=AccountPolicy(**policy), today=lambda: TODAY)
    story.hears(accounts, resident("anna"), income("anna", 30_000))
    assert [(order.state, order.reason, order.account, order.release_seq) for order in story.orders("anna")] == [(State.HELD, reason, "", 0)]
    usable = account("anna", 5, scheme={"scheme": "iban", "iban": "GB82WEST12345698765432"} if "schemes" in policy else None, number="7654321")
    story.hears(usable)
    (order,) = story.orders("anna")
    assert (order.state, order.reason, order.amount_minor) == (State.RELEASED, "", 120_000)
    assert order.release_seq == 1
    story.hears(usable, account("anna", 6, number="7654322"))
    assert story.orders("anna") == [order]
    story.audit()


def test_every_reason_that_can_arise_is_shown_here() -> None:
    elsewhere = {HoldReason.PAYEE_UNKNOWN, HoldReason.PAYEE_DECEASED, HoldReason.ENTITLEMENT_UNDETERMINED, HoldReason.ABOVE_REVIEW_LIMIT}
    to_come = {HoldReason.BENEFIT_SUSPENDED, HoldReason.BUDGET_EXHAUSTED}
    assert {reason for reason, _, _ in HELD} | elsewhere | to_come == set(HoldReason)


def test_a_rule_that_does_not_ask_for_a_death_still_pays_nobody_who_is_dead(tale: Tale) -> None:
    story = tale(rules=(TAXCALC,))
    story.hears(account("anna"), death("anna", 1))
    story.hears(income("anna", 30_000))
    assert [(order.state, order.reason) for order in story.orders()] == [(State.HELD, HoldReason.PAYEE_DECEASED)]
    story.hears(account("anna", 2, number="7654321"))
    assert [(order.state, order.reason) for order in story.orders()] == [(State.HELD, HoldReason.PAYEE_DECEASED)]
    story.hears(withdrawn(death("anna", 1)))
    assert [(order.state, order.account) for order in story.orders()] == [(State.RELEASED, f"us:{ROUTING}:7654321")]
    story.audit()


def test_the_dead_are_told_before_what_is_unknown(tale: Tale) -> None:
    story = tale(rules=(TAXCALC,))
    story.hears(income("anna", 30_000))
    story.hears(withdrawn(income("anna", 30_000)), death("anna", 1), account("anna"))
    assert [(order.state, order.reason) for order in story.orders()] == [(State.HELD, HoldReason.PAYEE_DECEASED)]


def test_an_amount_above_the_review_limit_waits_for_a_case_worker_whatever_the_account(tale: Tale) -> None:
    story = tale()
    story.hears(person("many", children=38), person("few", children=37))
    assert [(order.subject, order.amount_minor, order.state, order.reason) for order in story.orders()] == [
        ("few", 1_970_000, State.RELEASED, ""),
        ("many", 2_020_000, State.HELD, HoldReason.ABOVE_REVIEW_LIMIT),
    ]
    story.hears(account("many", 2, number="7654321"))
    assert [order.state for order in story.orders("many")] == [State.HELD]


def test_a_hold_follows_what_is_wrong_now(tale: Tale) -> None:
    story = tale()
    reasons = []
    for said in (
        [resident("anna"), income("anna", 30_000)],
        account("anna", status="pending"),
        account("anna", 2, status="blocked"),
        account("anna", 3, number="12"),
    ):
        story.hears(said)
        reasons += [order.reason for order in story.orders()]
    assert reasons == ["no_account", "account_pending", "account_blocked", "account_invalid"]
    story.audit()


def test_the_account_is_that_of_the_day_of_release_and_not_of_the_decision(tale: Tale) -> None:
    story = tale()
    story.hears(resident("anna"), account("anna", 1, number="1111111", holder="no_match"), income("anna", 30_000))
    story.hears(account("anna", 2, number="2222222"))
    assert [order.account for order in story.orders()] == [f"us:{ROUTING}:2222222"]


def test_an_account_of_the_benefit_goes_before_the_ordinary_one(tale: Tale) -> None:
    story = tale(rules=(LAW, TAXCALC))
    story.hears(account("anna", 1, number="1111111"), account("anna", 2, number="2222222", benefit="us-eip1"), resident("anna"), income("anna", 30_000))
    assert {order.benefit: order.account for order in story.orders()} == {
        "us-eip1": f"us:{ROUTING}:2222222",
        "us-eip1-taxcalc": f"us:{ROUTING}:1111111",
    }


def test_an_account_of_another_benefit_releases_nothing(tale: Tale) -> None:
    story = tale()
    story.hears(account("anna", 1, benefit="dk-one-time-2000"), resident("anna"), income("anna", 30_000))
    assert [(order.state, order.reason) for order in story.orders()] == [(State.HELD, HoldReason.NO_ACCOUNT)]


def test_an_unusable_account_of_the_benefit_gives_way_to_the_ordinary_one(tale: Tale) -> None:
    story = tale()
    story.hears(account("anna", 2, number="2222222", benefit="us-eip1", status="closed"), resident("anna"), income("anna", 30_000))
    assert [order.reason for order in story.orders()] == [HoldReason.ACCOUNT_CLOSED]
    story.hears(account("anna", 1, number="1111111"))
    assert [order.account for order in story.orders()] == [f"us:{ROUTING}:1111111"]


def test_whoever_replaces_an_account_is_never_paid_to_the_earlier_one(tale: Tale) -> None:
    story = tale()
    story.hears(account("anna", 1, number="1111111"), account("anna", 2, number="2222222", status="closed"), resident("anna"), income("anna", 30_000))
    assert [(order.state, order.reason) for order in story.orders()] == [(State.HELD, HoldReason.ACCOUNT_CLOSED)]
    story.hears(account("anna", 0, number="3333333"))
    assert [order.state for order in story.orders()] == [State.HELD]


def test_orders_held_for_a_shared_account_leave_when_it_is_no_longer_shared(tale: Tale) -> None:
    story = tale(shards=3)
    people = ("anna", "bert", "cleo", "dora")
    story.hears(account(who, number="99999999") for who in people)
    story.hears(resident(who) for who in people)
    story.hears(income(who, 30_000) for who in people)
    assert {(order.state, order.reason) for order in story.orders()} == {(State.HELD, HoldReason.ACCOUNT_SHARED)}
    story.hears(account("dora", 2, number="7654321"))
    assert [order.subject for order in story.orders() if order.state == State.RELEASED] == ["dora"]
    story.restart()
    assert {order.state for order in story.orders()} == {State.RELEASED}
    assert sorted(order.account for order in story.orders()) == [f"us:{ROUTING}:7654321", *[f"us:{ROUTING}:99999999"] * 3]
    story.restart()
    assert story.ask("SELECT count(*) FROM order_history WHERE step = 'release'") == [(4,)]
    story.audit()


def test_an_account_is_shared_whichever_shards_and_servers_its_people_live_on(tale: Tale) -> None:
    story = tale(shards=4, servers=2)
    people = [*(name for name in "abcdefgh" if shard_of(name, 4) % 2)][:2] + [*(name for name in "abcdefgh" if not shard_of(name, 4) % 2)][:2]
    story.hears(account(who, number="99999999") for who in people)
    story.hears(resident(who) for who in people)
    story.hears(income(who, 30_000) for who in people)
    assert [(order.state, order.reason) for order in story.orders()] == [(State.HELD, HoldReason.ACCOUNT_SHARED)] * 4
    story.audit()


def test_an_order_held_until_its_account_begins_leaves_on_that_day(tale: Tale) -> None:
    day = [date(2026, 3, 2)]
    story = tale(today=lambda: day[0])
    story.hears(account("anna", valid_from="2026-03-04"), resident("anna"), income("anna", 30_000))
    story.restart()
    assert [order.reason for order in story.orders()] == [HoldReason.ACCOUNT_NOT_VALID_ON_DAY]
    day[0] = date(2026, 3, 4)
    story.restart()
    assert [order.state for order in story.orders()] == [State.RELEASED]
    story.audit()


def test_a_released_order_is_submitted_to_the_bank_once_however_often_everything_runs(tale: Tale) -> None:
    story = tale()
    story.hears(resident("anna"), income("anna", 30_000), person("bert"))
    story.pay()
    story.tell(account("anna"))
    story.pay()
    story.restart()
    story.pay()
    assert {(order.subject, order.state) for order in story.orders()} == {("anna", State.SENT), ("bert", State.SENT)}
    assert len(list((story.installation.bank_directory / "out").glob("*.xml"))) == 2
    assert story.ask("SELECT sum(orders), sum(amount_minor) FROM submission") == [(2, 240_000)]
    story.audit()
