"""A person lets a held order go: only for reasons that are a person's to weigh, only in a role that may, signed, and only past that one guard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from story import LAW, Story, Tale, account, income, person, resident, tale
from town import Payout, quiet_afterwards

from connectors.keys import make_key
from pipeline.hold_releases import BY_HAND, SENTENCES, Declined, HoldRelease, judge
from pipeline.holds import EXPLAINED, HoldReason
from pipeline.orders import State
from pipeline.signatures import Approver

__all__ = ["quiet_afterwards", "tale"]


def reviewed(tmp_path: Path) -> Path:
    """The first Economic Impact Payment, of which a case worker looks at everything above 1,000 dollars."""
    path = tmp_path / "reviewed.yaml"
    path.write_text(LAW.read_text(encoding="utf-8").replace("review_above: 20_000", "review_above: 1_000"), encoding="utf-8")
    return path


def standing(story: Story) -> dict[str, tuple[State, str]]:
    return {order.subject: (order.state, order.reason) for order in story.orders()}


@pytest.fixture
def payout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tale: Tale, tmp_path: Path) -> tuple[Payout, Story]:
    """Three people whose orders are above the limit, one of them without an account; Ann may release, Ben is in another role."""
    story = tale(rules=(reviewed(tmp_path),), shards=2, servers=2)
    story.hears(person("us-1"), person("us-2"), [resident("us-3"), income("us-3", 30_000)])
    keys = {name: make_key(tmp_path / f"{name}.pem").public for name in ("Ann", "Ben")}
    people = f'{{ name = "Ann", roles = ["case_worker"], key = "{keys["Ann"]}" }}, {{ name = "Ben", roles = ["legal"], key = "{keys["Ben"]}" }}'
    (story.installation.settings.home / "payout.toml").write_text(f"[approvals]\npeople = [{people}]\n", encoding="utf-8")
    return Payout(monkeypatch, capsys, story), story


def ids(payout: Payout, reason: str) -> dict[str, str]:
    return {order["subject"]: order["order"] for order in json.loads(payout("holds", "show", reason, "--json").out)["orders"]}


@pytest.mark.usefixtures("quiet_afterwards")
def test_an_order_above_the_limit_leaves_when_a_case_worker_lets_it_go_and_no_other_does(payout: tuple[Payout, Story], tmp_path: Path):
    payout, story = payout
    held = ids(payout, "above_review_limit")
    assert set(held) == {"us-1", "us-2"}
    answer = payout("holds", "release", held["us-1"], "--why", "seen and right", "--role", "case_worker", "--as", "Ann", "--key", str(tmp_path / "Ann.pem"))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{held['us-1']} of us-1, 1,200.00 USD, is let go from above_review_limit by Ann as case_worker: seen and right\n"
    assert standing(story)["us-1"] == (State.HELD, "above_review_limit"), "the lane has not looked yet"
    story.follow()
    assert standing(story) == {
        "us-1": (State.RELEASED, ""), "us-2": (State.HELD, "above_review_limit"), "us-3": (State.HELD, "no_account"),
    }  # fmt: skip
    story.restart()
    story.hears(account("us-3"))
    assert standing(story)["us-3"] == (State.HELD, "above_review_limit")
    story.audit()


@pytest.mark.usefixtures("quiet_afterwards")
def test_all_orders_of_a_command_are_let_go_or_none_and_every_refusal_is_told(payout: tuple[Payout, Story], tmp_path: Path):
    payout, story = payout
    held, waiting = ids(payout, "above_review_limit"), ids(payout, "no_account")["us-3"]
    ann = ("--why", "seen", "--role", "case_worker", "--as", "Ann", "--key", str(tmp_path / "Ann.pem"))
    refused = payout("holds", "release", held["us-1"], waiting, *ann)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == f"payout: {waiting}: refused: not_by_hand: {Declined.NOT_BY_HAND.sentence}\n"
    said = json.loads(payout("holds", "release", held["us-1"], waiting, *ann, "--json").out)
    assert (said["ok"], said["released"], [refusal["code"] for refusal in said["refusals"]]) == (False, [], ["not_by_hand"])
    ben = payout("holds", "release", held["us-1"], "--why", "seen", "--role", "case_worker", "--as", "Ben", "--key", str(tmp_path / "Ben.pem"))
    assert (ben.code, "refused: role_not_held" in ben.err) == (1, True)
    foreign = payout("holds", "release", held["us-1"], "--why", "seen", "--role", "case_worker", "--as", "Ann", "--key", str(tmp_path / "Ben.pem"))
    assert (foreign.code, "refused: signature_foreign" in foreign.err) == (1, True)
    for wrong in (("ZZ", *ann), (held["us-1"], "--why", " ", *ann[2:]), (held["us-1"], *ann[:-2])):
        assert payout("holds", "release", *wrong).code == 2
    story.follow()
    assert State.RELEASED not in {state for state, _ in standing(story).values()}
    assert payout("holds", "release", *held.values(), *ann, "--json").code == 0
    story.follow()
    assert [standing(story)[subject][0] for subject in ("us-1", "us-2")] == [State.RELEASED] * 2
    assert "refused: not_held" in payout("holds", "release", held["us-1"], *ann).err


@pytest.mark.usefixtures("quiet_afterwards")
def test_people_who_share_an_account_are_paid_one_by_one_as_they_are_let_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tale: Tale, tmp_path: Path
):
    story = tale(shards=2)
    names = ("us-a", "us-b", "us-c", "us-d")
    story.hears(*(account(name, number="99887766554433") for name in names))
    story.hears(*([resident(name), income(name, 30_000)] for name in names))
    payout, key = Payout(monkeypatch, capsys, story), make_key(tmp_path / "ann.pem").public
    people = f'[approvals]\nrelease = ["reviewer"]\npeople = [{{ name = "Ann", roles = ["reviewer"], key = "{key}" }}]\n'
    (story.installation.settings.home / "payout.toml").write_text(people, encoding="utf-8")
    order = ids(payout, "account_shared")["us-b"]
    assert payout("holds", "release", order, "--why", "a family", "--role", "reviewer", "--as", "Ann", "--key", str(tmp_path / "ann.pem")).code == 0
    story.follow()
    assert [standing(story)[name][0] for name in names] == [State.HELD, State.RELEASED, State.HELD, State.HELD]
    with pytest.raises(Exception, match="hold_release is append-only"), story.connection() as connection:
        connection.execute("DELETE FROM hold_release")


def test_only_reasons_that_a_case_worker_lifts_are_a_persons_to_weigh_and_death_is_not():
    assert {EXPLAINED[reason].lifter for reason in BY_HAND} == {"case_worker"}
    assert HoldReason.PAYEE_DECEASED not in BY_HAND
    assert set(SENTENCES) == set(Declined)


def test_a_signature_over_another_reason_or_order_is_refused(tmp_path: Path):
    key = make_key(tmp_path / "ann.pem")
    people = {"Ann": Approver("Ann", ("case_worker",), key.public)}
    made = HoldRelease("us-eip1", "us-1", "once", 1, HoldReason.ABOVE_REVIEW_LIMIT, "seen", "case_worker", "Ann", key.public)
    signature = key.sign(made.signed())
    fields = {name: getattr(made, name) for name in made.__struct_fields__} | {"signature": signature}
    assert judge(HoldRelease(**fields), "held", people, ["case_worker"]) == []
    for other in ({"subject": "us-2"}, {"sequence": 2}, {"reason": HoldReason.ACCOUNT_SHARED}, {"why": "other"}):
        assert judge(HoldRelease(**(fields | other)), "held", people, ["case_worker"]) == [Declined.SIGNATURE_WRONG]
    assert judge(HoldRelease(**fields), "released", people, ["clerk"]) == [Declined.NOT_HELD, Declined.ROLE_MAY_NOT]
    assert judge(HoldRelease(**(fields | {"person": "Zoe"})), "held", people, ["case_worker"]) == [Declined.UNKNOWN_PERSON]
