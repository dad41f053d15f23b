"""Budgets are enforced: never more than the limit is released whatever happens, what does not fit waits, and a person with a role decides how it goes on."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from office import NOW, Office, codes, entry, unclaimed
from story import LAW, Said, Story, Tale, account, income, person, tale
from town import Payout, quiet_afterwards

from connectors.failpoints import heard_by
from connectors.keys import make_key
from connectors.registries import load_registries
from connectors.store import budgets
from connectors.store.servers import Store
from pipeline.holds import HoldReason
from pipeline.orders import State
from pipeline.rules import Rule, load_rule
from pipeline.rules.approval import Refusal
from streams.reshard import reshard
from streams.settings import SHIPPED

__all__ = ["quiet_afterwards", "tale"]

TODAY = {"today": lambda: NOW.date()}


def with_budget(dollars: int, adult: int = 1_200) -> str:
    """The first Economic Impact Payment, 1,200 dollars for one adult, with a budget of so many dollars."""
    text = unclaimed(LAW).replace("amount: 300_000_000_000", f"amount: {dollars:_}")
    assert f"amount: {dollars:_}" in text
    if adult != 1_200:
        text = text.replace("[1_200, 2_400, 1_200, 1_200]", f"[{adult:_}, 2_400, 1_200, 1_200]")
        text = re.sub(r"expect: \{decision: (\w+)[^}]*\}", r"expect: {decision: \1}", text)
    return text


def rule(dollars: int, adult: int = 1_200) -> Rule:
    return load_rule(with_budget(dollars, adult), load_registries(SHIPPED / "registries").catalogue)


@pytest.fixture
def office(tale: Tale, tmp_path: Path) -> Office:
    return Office(tale(rules=(), shards=4, **TODAY), tmp_path / "keys")


def document(tmp_path: Path, dollars: int) -> Path:
    path = tmp_path / f"budget-{dollars}.yaml"
    path.write_text(with_budget(dollars), encoding="utf-8")
    return path


def released_minor(story: Story) -> int:
    return sum(order.amount_minor for order in story.orders() if order.state not in (State.HELD, State.CANCELLED))


def held(story: Story) -> list[str]:
    return [order.reason for order in story.orders() if order.state == State.HELD]


def people(first: int, count: int) -> list[list[Said]]:
    return [person(f"us-{number:03}") for number in range(first, first + count)]


def test_of_a_budget_for_three_three_leave_and_the_others_are_held_for_it(tale: Tale, tmp_path: Path):
    story = tale(rules=(document(tmp_path, 3_600),), shards=4)
    story.hears(*people(0, 10))
    assert released_minor(story) == 360_000
    assert held(story) == ["budget_exhausted"] * 7
    story.audit()


def test_an_order_that_would_pass_the_budget_stops_it_also_for_smaller_ones(tale: Tale, tmp_path: Path):
    story = tale(rules=(document(tmp_path, 3_000),), shards=1)
    story.hears(person("us-1"))
    story.hears(person("us-2", filing="married_joint"))
    story.hears(person("us-3"))
    assert [(order.subject, order.state, order.reason) for order in story.orders()] == [
        ("us-1", State.RELEASED, ""), ("us-2", State.HELD, HoldReason.BUDGET_EXHAUSTED), ("us-3", State.HELD, HoldReason.BUDGET_EXHAUSTED),
    ]  # fmt: skip
    story.audit()


def test_what_has_no_account_takes_nothing_of_the_budget(tale: Tale, tmp_path: Path):
    story = tale(rules=(document(tmp_path, 1_200),), shards=1)
    story.hears([record for record in person("us-1") if "account" not in record.topic], person("us-2"))
    assert [(order.subject, order.state, order.reason) for order in story.orders()] == [("us-1", State.HELD, "no_account"), ("us-2", State.RELEASED, "")]
    story.hears(account("us-1"))
    assert [order.reason for order in story.orders("us-1")] == [HoldReason.BUDGET_EXHAUSTED]


def test_lanes_that_claim_again_count_what_has_left(tale: Tale, tmp_path: Path):
    story = tale(rules=(document(tmp_path, 3_600),), shards=4)
    for number in range(6):
        story.hears(person(f"us-{number}"))
        story.restart()
    assert (released_minor(story), len(held(story))) == (360_000, 3)
    story.audit()


def test_the_budget_is_one_over_all_servers(tale: Tale, tmp_path: Path):
    story = tale(rules=(document(tmp_path, 6_000),), shards=4, servers=2)
    story.hears(*people(0, 12))
    assert (released_minor(story), len(held(story))) == (600_000, 7)
    story.audit()


@pytest.mark.parametrize("servers", [1, 2])
def test_more_shards_share_the_budget_that_was_there_and_it_stays_stopped(tale: Tale, tmp_path: Path, servers: int):
    story = tale(rules=(document(tmp_path, 9_600),), shards=2, servers=servers)
    story.tell(*people(0, 6))
    story.pay()
    story.close()
    reshard(story.installation.settings, story.installation.registries, story.urls, 4)
    settings = story.installation.settings.model_copy(update={"shards": 4})
    story.installation = type(story.installation)(settings, Store.open(story.urls), story.installation.registries)
    story.tell(*people(6, 6))
    story.pay()
    assert (released_minor(story), len(held(story))) == (960_000, 4)
    story.audit()
    reshard(settings, story.installation.registries, story.urls, 8)
    settings = settings.model_copy(update={"shards": 8})
    story.installation = type(story.installation)(settings, Store.open(story.urls), story.installation.registries)
    story.hears(*people(12, 3))
    (standing,) = budgets.kept(story.installation.store)
    assert (released_minor(story), len(held(story)), standing.taken_minor, standing.stopped_at is None) == (960_000, 7, 960_000, False)
    story.audit()


def test_what_was_released_before_there_was_a_budget_counts(tale: Tale, tmp_path: Path):
    story = tale(shards=4)
    story.hears(*people(0, 3))
    assert released_minor(story) == 360_000
    story.restart(rules=[document(tmp_path, 4_800)])
    story.hears(*people(3, 4))
    assert (released_minor(story), held(story)) == (480_000, ["budget_exhausted"] * 3)
    story.restart(rules=[document(tmp_path, 2_400)])
    story.hears(*people(7, 2))
    assert released_minor(story) == 480_000, "a smaller budget takes nothing back"
    story.restart(rules=[document(tmp_path, 7_200)])
    assert (released_minor(story), len(held(story))) == (720_000, 3)
    story.audit()


@given(
    limit=st.integers(0, 14), frames=st.lists(st.lists(st.sampled_from(range(12)), min_size=1, max_size=6, unique=True), min_size=1, max_size=5),
    restarts=st.sets(st.integers(0, 4)), shards=st.sampled_from((1, 3)),
)  # fmt: skip
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_never_more_than_the_limit_is_released_and_all_of_it_where_more_is_owed(
    tale: Tale, tmp_path: Path, limit: int, frames: list[list[int]], restarts: set[int], shards: int
):
    story = tale(rules=(document(tmp_path, 1_200 * limit),), shards=shards)
    known: set[int] = set()
    for index, subjects in enumerate(frames):
        story.hears(*(person(f"us-{number}") for number in subjects if number not in known))
        known |= set(subjects)
        if index in restarts:
            story.restart()
    assert released_minor(story) == 120_000 * min(limit, len(known))
    story.close()


class Cut(Exception):
    """The process is killed here: what it had not committed is gone, and its connections close."""


POINTS = ("budget_reserved", "after_fold", "before_commit", "after_commit", "activation_begun", "activation_before_commit", "activation_after_commit")


def works_with_cuts(story: Story, cuts: Iterator[int], points: Counter[str]) -> None:
    """Works until everything is done; the lanes are cut after so many points, and new ones claim the shards."""
    while True:
        left = next(cuts, None)

        def passed(point: str) -> None:
            nonlocal left
            if left is not None and point in POINTS:
                left -= 1
                if left < 0:
                    points[point] += 1
                    raise Cut(point)

        try:
            with heard_by(passed):
                story.work()
        except Cut:
            story.close()
        else:
            return


def test_whenever_a_lane_is_cut_the_limit_holds_and_all_of_it_is_released(tale: Tale, tmp_path: Path):
    points: Counter[str] = Counter()

    @given(
        limit=st.integers(1, 9), households=st.lists(st.integers(1, 2), min_size=4, max_size=10), cuts=st.lists(st.integers(0, 6), min_size=3, max_size=6),
        shards=st.sampled_from((1, 3)), servers=st.sampled_from((1, 2)),
    )  # fmt: skip
    @settings(max_examples=7, deadline=None, derandomize=True)
    def law(limit: int, households: list[int], cuts: list[int], shards: int, servers: int) -> None:
        story = tale(rules=(document(tmp_path, 1_200 * limit),), shards=max(shards, servers), servers=servers, frame_records=4)
        for number, adults in enumerate(households):
            story.tell(person(f"us-{number}", filing="single" if adults == 1 else "married_joint"))
        works_with_cuts(story, iter(cuts), points)
        released, waiting = released_minor(story), [order.amount_minor for order in story.orders() if order.state == State.HELD]
        assert released <= 120_000 * limit
        assert not waiting or released + max(waiting) > 120_000 * limit, "it stops at an order that does not fit, whenever it is cut"
        story.audit()
        story.close()

    law()
    assert points["budget_reserved"]
    assert sum(points.values()) >= 10, points


def test_what_was_reserved_before_a_cut_leaves_after_it_though_the_budget_stopped_meanwhile(tale: Tale, tmp_path: Path):
    story = tale(rules=(document(tmp_path, 3_600),), shards=1)
    story.tell(*people(0, 5))
    points: Counter[str] = Counter()
    works_with_cuts(story, iter([1]), points)  # claims reserve nothing yet; the first point of the frame is its fold, then its reservation
    assert (released_minor(story), len(held(story))) == (360_000, 2)
    story.audit()


def test_a_frame_asks_for_its_reservation_once_and_a_frame_without_orders_never(tale: Tale, tmp_path: Path):
    asked: Counter[str] = Counter()
    story = tale(rules=(document(tmp_path, 36_000),), shards=1)
    with heard_by(lambda point: asked.update([point])):
        story.hears(*people(0, 20))
        assert asked["budget_reserved"] == 1
        story.hears(*(income(f"us-{number:03}", 30_001, 2) for number in range(20)))
    assert asked["budget_reserved"] == 1


def test_an_order_that_was_held_first_leaves_first_when_a_person_raises_the_budget(office: Office):
    story = office.story
    office.active(rule(3_600))
    story.follow()
    story.hears(*people(0, 3))
    story.hears(person("us-x1"))
    story.hears(person("us-x2"))
    assert (released_minor(story), held(story)) == (360_000, ["budget_exhausted"] * 2)
    said = entry(office.by("Bo").set_budget("us-eip1", 480_000, "one more", "finance", office.keys["Bo"]))
    assert said.person == "Bo"
    story.follow()
    assert (released_minor(story), held(story)) == (480_000, ["budget_exhausted"])
    entry(office.by("Anna").set_budget("us-eip1", 4_800_000, "supplementary appropriation", "finance", office.keys["Anna"]))
    story.follow()
    assert (released_minor(story), held(story)) == (600_000, [])
    story.hears(*people(10, 4))
    assert (released_minor(story), held(story)) == (1_080_000, [])
    story.audit()


def test_only_who_may_approve_in_a_role_sets_a_budget_and_with_their_own_key(office: Office):
    office.active(rule(3_600))
    keys = office.keys
    before = len(office.log)
    assert codes(office.by("Cleo").set_budget("us-eip1", 1, "more", "finance", keys["Bo"])) == [
        Refusal.ROLE_NOT_HELD, Refusal.AUTHOR_APPROVES, Refusal.SIGNATURE_FOREIGN,
    ]  # fmt: skip
    assert codes(office.by("Bo").set_budget("us-eip1", 1, "more", "legal", keys["Bo"])) == [Refusal.ROLE_NOT_HELD]
    assert codes(office.by("Bo").set_budget("us-eip1", 1, "more", "cook", keys["Bo"])) == [Refusal.ROLE_NOT_ASKED]
    assert codes(office.by("Bo").set_budget("us-eip1", 1, "more", "finance", keys["Mallory"])) == [Refusal.SIGNATURE_FOREIGN]
    assert codes(office.by("Zoe").set_budget("us-eip1", 1, "more", "finance", keys["Bo"])) == [Refusal.UNKNOWN_PERSON]
    assert codes(office.by("Bo").set_budget("us-eip1", 1, "more", "finance", keys["Bo"], "2026")) == [Refusal.NO_BUDGET]
    assert codes(office.by("Bo").set_budget("dk-child-benefit", 1, "more", "finance", keys["Bo"])) == [Refusal.NOT_ACTIVE]
    assert len(office.log) == before


def test_a_new_document_says_its_own_budget_and_counts_what_left_under_the_older_one(office: Office):
    story = office.story
    office.active(rule(3_600))
    story.follow()
    story.hears(*people(0, 5))
    entry(office.by("Bo").set_budget("us-eip1", 480_000, "one more", "finance", office.keys["Bo"]))
    story.follow()
    assert (released_minor(story), len(held(story))) == (480_000, 1)
    office.active(rule(6_000, 1_300))  # five times 100 more, and the one that waits
    story.follow()
    assert released_minor(story) <= 600_000
    assert len(held(story)) >= 1
    (standing,) = budgets.kept(story.installation.store)
    assert (standing.limit_minor, standing.currency, standing.stopped_at is None) == (600_000, "USD", False)
    story.audit()


def test_a_document_that_costs_more_than_its_budget_by_its_simulation_or_nobody_knows_what_cannot_be_activated(office: Office):
    dear = office.submitted(rule(3_600))
    entry(office.by("Cleo").simulated(dear.hash, "4" * 64))
    entry(office.by("Anna").approve(dear.hash, "legal", office.keys["Anna"]))
    entry(office.by("Bo").approve(dear.hash, "finance", office.keys["Bo"]))
    assert codes(office.by("Cleo").activate(dear.hash)) == [Refusal.COST_UNKNOWN]
    entry(office.by("Cleo").simulated(dear.hash, "5" * 64, cost_minor=360_001))
    entry(office.by("Anna").approve(dear.hash, "legal", office.keys["Anna"]))
    entry(office.by("Bo").approve(dear.hash, "finance", office.keys["Bo"]))
    refused = office.by("Cleo").activate(dear.hash)
    assert codes(refused) == [Refusal.UNAFFORDABLE]
    assert isinstance(refused, list)
    assert refused[0].detail == "It costs 3,600.01 USD, the budget is 3,600.00 USD."
    entry(office.by("Cleo").simulated(dear.hash, "6" * 64, cost_minor=360_000))
    entry(office.by("Anna").approve(dear.hash, "legal", office.keys["Anna"]))
    entry(office.by("Bo").approve(dear.hash, "finance", office.keys["Bo"]))
    entry(office.by("Cleo").activate(dear.hash))


def test_a_log_that_says_nothing_of_costs_keeps_its_links(office: Office):
    from connectors.store.rule_log import damage
    from pipeline.rules.life import Simulated, encode_entry

    office.active(rule(3_600))
    assert json.loads(encode_entry(Simulated("b", "r", "s"))) == {"what": "simulated", "benefit": "b", "rule": "r", "simulation": "s", "against": ""}
    entry(office.by("Bo").set_budget("us-eip1", 480_000, "one more", "finance", office.keys["Bo"]))
    assert damage(office.story.installation.store) == []


def test_the_child_benefits_budget_is_that_of_the_year_of_its_quarters(tale: Tale, tmp_path: Path):
    from pipeline.budgets import budget_year
    from pipeline.rules import ONCE, parse_period

    path = SHIPPED / "benefits" / "dk-child-benefit" / "2022-01-01.yaml"
    child = load_rule(path.read_text(encoding="utf-8"), load_registries(SHIPPED / "registries").catalogue)
    assert budget_year(child, parse_period("2023-Q4")) == "2023"
    assert budget_year(rule(1), ONCE) == ""


def test_of_two_days_the_later_is_a_day_of_the_same_budget(tale: Tale, tmp_path: Path):
    days = [date(2026, 11, 25)]
    story = tale(rules=(document(tmp_path, 2_400),), shards=2, today=lambda: days[0])
    story.hears(*people(0, 3))
    days[0] = date(2026, 11, 26)
    story.follow()
    assert (released_minor(story), held(story)) == (240_000, ["budget_exhausted"])


@pytest.mark.usefixtures("quiet_afterwards")
def test_the_commands_record_a_simulation_show_a_budget_and_set_it(
    office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    story, law = office.story, rule(3_600)
    payout = Payout(monkeypatch, capsys, story)
    keys = {name: make_key(tmp_path / f"{name}.pem") for name in ("Dora", "Emil")}
    people = "".join(f'{{ name = "{name}", roles = ["{role}"], key = "{keys[name].public}" }}, ' for name, role in (("Dora", "legal"), ("Emil", "finance")))
    (story.installation.settings.home / "payout.toml").write_text(f'[approvals]\npeople = [{people}{{ name = "Fie" }}]\n', encoding="utf-8")
    path, facts = document(tmp_path, 3_600), tmp_path / "facts.csv"
    header = "subject,income,filing_status,children_under_17,claimed_as_dependent,alive,resident\n"
    facts.write_text(header + "".join(f"us-{number},30000.00,single,0,no,yes,yes\n" for number in range(4)), encoding="utf-8")
    simulate = ("rules", "simulate", str(path), "--against", "nothing", "--facts", str(facts), "--output", str(tmp_path), "--record", "--as", "Fie")
    early = payout(*simulate)
    assert (early.code, "refused: not_submitted" in early.err, "4 people" in early.out) == (1, True, True)
    assert payout("rules", "submit", str(path), "--as", "Fie").code == 0
    recorded = payout(*simulate)
    assert "simulated us-eip1" in recorded.out.splitlines()[-1]
    for name, role in (("Dora", "legal"), ("Emil", "finance")):
        assert payout("rules", "approve", law.hash[:12], "--role", role, "--as", name, "--key", str(tmp_path / f"{name}.pem")).code == 0
    dear = payout("rules", "activate", law.hash)
    assert (dear.code, "unaffordable" in dear.err, "It costs 4,800.00 USD, the budget is 3,600.00 USD." in dear.err) == (1, True, True)
    facts.write_text(header + "us-0,30000.00,single,0,no,yes,yes\n", encoding="utf-8")
    said = json.loads(payout(*simulate, "--json").out)
    assert (said["recorded"]["ok"], said["recorded"]["entry"]["cost_minor"]) == (True, 120_000)
    for name, role in (("Dora", "legal"), ("Emil", "finance")):
        assert payout("rules", "approve", law.hash[:12], "--role", role, "--as", name, "--key", str(tmp_path / f"{name}.pem")).code == 0
    assert payout("rules", "activate", law.hash).code == 0
    assert "no budget stands" in payout("rules", "budget").err
    story.hears(*(person(f"us-{number:03}") for number in range(5)))
    (shown,) = json.loads(payout("rules", "budget", "--json").out)["budgets"]
    assert (shown["limit_minor"], shown["taken_minor"], shown["left_minor"], shown["held_orders"], shown["held_minor"]) == (360_000, 360_000, 0, 2, 240_000)
    assert shown["stopped_at"]
    assert "2,400.00 USD" in payout("status").out
    signed = ("--as", "Emil", "--role", "finance", "--key", str(tmp_path / "Emil.pem"))
    assert "--why: is missing" in payout("rules", "budget", "us-eip1", "6_000", *signed).err
    assert "AMOUNT: " in payout("rules", "budget", "us-eip1", "6000.001", "--why", "two more", *signed).err
    answer = payout("rules", "budget", "us-eip1", "6_000", "--why", "two more", *signed)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("budget set us-eip1 by Emil: 6,000.00 USD, as finance, two more")
    story.follow()
    assert (released_minor(story), held(story)) == (600_000, [])
    assert payout("rules", "log", "--verify").code == 0
