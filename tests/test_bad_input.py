"""Bad input on its way through the pipeline: each has its clear message, nothing is lost, everything beside it is processed, the proof holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from story import LAW, TAXCALC, Said, Story, Tale, account, answer, income, person, resident, tale

from connectors.population import ACCOUNT, RESIDENCY, TAX
from connectors.sandbox_bank import Behaviour, SandboxBank
from pipeline.orders import State
from streams.topics import RECEIPTS

__all__ = ["tale"]

# What registries send.

GOOD = income("anna", 30_000).value
LONG = b'{"specversion":"1.0","id":"' + b"x" * 10_000_000 + b'"}'


def broken(old: bytes, new: bytes, *, topic: str = TAX, of: Said | None = None) -> Said:
    """A sound event with one thing wrong."""
    value = of.value if of else GOOD
    assert value.count(old) == 1
    return Said(topic, b"anna", value.replace(old, new))


def raw(value: bytes, key: bytes = b"anna") -> Said:
    """A record of the tax registry's topic."""
    return Said(TAX, key, value)


BAD: dict[str, tuple[Said, str]] = {
    "cut off": (raw(GOOD[:-30]), "not JSON at byte"),
    "unknown type": (broken(b"registry.tax.assessment.v1", b"registry.tax.assesment.v1"), "unknown event type 'registry.tax.assesment.v1', did you mean"),
    "unknown field": (broken(b'"filing_status"', b'"favourite_colour":"green","filing_status"'), "unknown field 'favourite_colour'"),
    "unknown attribute": (broken(b'"specversion"', b'"colour":"green","specversion"'), "unknown field 'colour'"),
    "unknown source": (broken(b"urn:registry:tax:us", b"urn:registry:tax:uk"), "'urn:registry:tax:uk' is not a source of this event type"),
    "wrong currency": (broken(b'"currency":"USD"', b'"currency":"DKK"'), "data.agi.currency: must be USD, is 'DKK'"),
    "amount beyond the range": (broken(b'"minor":3000000', b'"minor":1000000000001'), "1000000000001 is outside the range"),
    "amount of a hundred digits": (broken(b'"minor":3000000', b'"minor":' + b"9" * 100), "is outside the range"),
    "amount with decimals": (broken(b'"minor":3000000', b'"minor":30000.5'), "must be a whole number of minor units, is 30000.5"),
    "not a number": (broken(b'"minor":3000000', b'"minor":NaN'), "NaN is no JSON number"),
    "impossible date": (broken(b"2010-01-01", b"2019-02-30", topic=RESIDENCY, of=resident("anna")), "there is no day '2019-02-30'"),
    "impossible time": (broken(b"2020-04-01T", b"2020-04-31T"), "does not exist"),
    "an interval without a day": (broken(b'"resident"', b'"valid_to":"2010-01-01","resident"', topic=RESIDENCY, of=resident("anna")), "there is no day"),
    "missing field": (broken(b'"filing_status":"single",', b""), "data.filing_status: is missing"),
    "a key twice": (broken(b'"year":2019', b'"year":2019,"year":2018'), "the key 'year' stands twice"),
    "empty record": (raw(b""), "not JSON at byte 0"),
    "blank record": (raw(b" \n "), "not JSON at byte"),
    "binary": (raw(bytes(range(256)) * 4), "not UTF-8 at byte 128: 0x80"),
    "another message": (raw(b'["an","array"]'), "the message is a list, not an object"),
    "nested too deep": (raw(b"[" * 100_000), "nested too deep"),
    "10 MB in one line": (raw(LONG), "10,000,029 bytes"),
    "wrong key": (Said(TAX, b"bert", GOOD), "the record's key is b'bert', its subject 'anna'"),
    "no key": (Said(TAX, b"", GOOD), "the record's key is b'', its subject 'anna'"),
    "binary key": (Said(TAX, b"\xff\x00", GOOD), r"the record's key is b'\xff\x00', its subject 'anna'"),
    "another registry's topic": (Said(ACCOUNT, b"anna", GOOD), "does not belong on registry.account"),
    "NUL in a name": (broken(b'"subject":"anna"', b'"subject":"an\\u0000na"'), "holds blanks, control characters"),
    "NUL in a text": (broken(b'"resident"', b'"municipality":"\\u0000","resident"', topic=RESIDENCY, of=resident("anna")), "holds control characters"),
    "NUL as it is": (raw(b"\0" + GOOD), "not JSON at byte 0"),
    "NUL in an unknown field": (broken(b'"specversion"', b'"a\\u0000b":"c\\u0000d","specversion"'), "unknown field"),
    "half of a surrogate pair": (broken(b'"subject":"anna"', b'"subject":"\\ud800"'), "half of a surrogate pair"),
    "half of a surrogate pair in a key": (broken(b'"specversion"', b'"\\udfff":1,"specversion"'), "half of a surrogate pair"),
    "a surrogate pair as bytes": (raw(GOOD.replace(b"single", b"\xed\xa0\x80")), "not UTF-8"),
    "a withdrawal of itself": (
        raw(json.dumps({**json.loads(GOOD), "type": "registry.correction.v1", "data": {"withdraws": "tax-anna-1"}}).encode()),
        "'tax-anna-1' is this event itself",
    ),
    "several things at once": (raw(GOOD.replace(b'"USD"', b'"XTS"').replace(b'"final"', b'"sure"')), "'sure' is none of final, preliminary, estimated"),
}  # fmt: skip


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Everything bad at once, between people of whom all is well, in small frames and in one."""
    story = Story(tmp_path_factory.mktemp("spoiled"), shards=1, frame_records=7)
    story.hears(person("bert"), resident("anna"), account("anna"), [said for said, _ in BAD.values()], person("cleo"))
    return story


@pytest.mark.parametrize("what", BAD)
def test_a_record_that_breaks_its_contract_is_kept_with_its_message(what: str, spoiled: Story) -> None:
    said, message = BAD[what]
    (letter,) = [letter for letter in spoiled.dead_letters() if (letter.topic, letter.key, letter.value) == said]
    assert message in letter.text


def test_everything_beside_bad_records_is_processed(spoiled: Story) -> None:
    assert len(spoiled.dead_letters()) == len(BAD)
    assert [(order.subject, order.state) for order in spoiled.orders()] == [("bert", State.RELEASED), ("cleo", State.RELEASED)]
    spoiled.audit()


def test_all_problems_of_a_record_come_at_once(spoiled: Story) -> None:
    (letter,) = [letter for letter in spoiled.dead_letters() if letter.value == BAD["several things at once"][0].value]
    assert [problem["place"] for problem in letter.problems] == ["data.status", "data.agi.currency"]


def test_bad_records_replayed_are_refused_again_and_change_nothing(spoiled: Story) -> None:
    assert spoiled.audit(replay=True).ok


def test_an_event_id_reused_with_other_content_is_a_conflict_and_not_lost(tale: Tale) -> None:
    story = tale()
    story.hears(person("anna", 20_000), person("bert"))
    story.hears(income("anna", 90_000, id="tax-anna-1"), income("anna", 95_000, id="tax-anna-1"))
    assert story.findings() == {("event_id_conflict", "anna", "us-irs/tax-anna-1")}
    assert story.ask("SELECT sum(applied), sum(conflict), sum(dead_letter) FROM frame") == [(6, 2, 0)]
    assert [order.state for order in story.orders("bert")] == [State.RELEASED]
    story.audit(replay=True)


# What comes from the bank as messages.

ANSWERS: dict[str, tuple[dict[str, object], str]] = {
    "an order that there is not": ({"sequence": 7}, "there is no order 7 of anna for us-eip1 once"),
    "a person of whom nobody knows": ({"subject": "nobody"}, "there is no order 1 of nobody"),
    "a benefit that nobody pays": ({"benefit": "us-eip9"}, "us-eip9 once"),
    "a period that nobody pays": ({"period": "2031"}, "us-eip1 2031"),
    "another attempt": ({"attempt": 2}, "attempt 2 is not the order's attempt 1"),
    "an attempt beyond every number": ({"attempt": 10**30}, "attempt"),
    "a number beyond every number": ({"sequence": 10**30}, "sequence"),
    "a number that is too large to keep": ({"sequence": 2**40}, "sequence"),
    "a number below every number": ({"sequence": -(10**30)}, "sequence"),
    "an unknown step": ({"step": "explode"}, "explode"),
    "a step of our own": ({"step": "cancel"}, "cancel"),
    "NUL in the subject": ({"subject": "an\0na"}, "subject"),
    "NUL in the reason": ({"reason": "AC\x0004"}, "reason"),
    "NUL in the cause": ({"cause": "\0"}, "cause"),
    "NUL in the id": ({"id": "\0"}, "id"),
    "no subject": ({"subject": None}, "subject"),
}
GARBAGE = (b"", b"\xff\xfe", b"{", b"[]", b"null", b'{"id":"\\ud800"}', b"\0" * 10, b'{"id":1}')


def test_answers_that_cannot_be_are_dead_letters_and_the_order_goes_on(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("anna"), person("bert"))
    anna, bert = story.orders()
    story.hears(answer(anna, "send"))
    story.hears(
        [answer(anna, "accept", **more) for more, _ in ANSWERS.values()],
        [Said(RECEIPTS, b"anna", value) for value in GARBAGE],
        answer(bert, "send"), answer(bert, "accept"), answer(anna, "accept"), answer(anna, "settle"),
    )  # fmt: skip
    letters = story.dead_letters()
    assert len(letters) == len(ANSWERS) + len(GARBAGE)
    for letter, (_, message) in zip(letters, ANSWERS.values(), strict=False):
        assert message in letter.text
    assert [order.state for order in story.orders()] == [State.SETTLED, State.ACCEPTED]
    assert [check for check in story.examine().checks if not check.ok and check.id != "sent"] == []


def test_an_answer_that_contradicts_an_earlier_one_is_a_finding_and_moves_nothing(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("anna"))
    (order,) = story.orders()
    story.hears(answer(order, "send"), answer(order, "settle"))
    story.hears(answer(order, "reject", reason="AC04", id="no"))
    assert story.findings() == {("contradicting_answer", "anna", "no")}
    assert [letter.text for letter in story.dead_letters()] == ["step: reject does not follow settled Ask the bank which of its answers holds."]
    assert [order.state for order in story.orders()] == [State.SETTLED]


def test_an_answer_told_twice_counts_once(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("anna"))
    (order,) = story.orders()
    for _ in range(2):
        story.hears([answer(order, step) for step in ("send", "accept", "settle", "accept", "send")])
    assert story.dead_letters() == []
    assert story.ask("SELECT sum(applied), sum(duplicate) FROM frame WHERE topic = %s", RECEIPTS) == [(3, 7)]
    assert [order.state for order in story.orders()] == [State.SETTLED]


def test_answers_about_a_benefit_that_is_no_longer_in_force_still_move_its_orders(tale: Tale) -> None:
    story = tale(rules=(LAW, TAXCALC))
    story.hears(person("anna"))
    orders = story.orders()
    story.restart([LAW])
    story.hears([answer(order, step) for order in orders for step in ("send", "settle")])
    assert story.dead_letters() == []
    assert [(order.benefit, order.state) for order in story.orders()] == [("us-eip1", State.SETTLED), ("us-eip1-taxcalc", State.SETTLED)]
    assert [check.id for check in story.examine().checks if not check.ok] == ["sent"]


# What comes from the bank as files.

PEOPLE = ("anna", "bert", "cleo")


class Answered:
    """A story whose orders are at the bank, and the files that the bank wrote and nobody has read yet."""

    def __init__(self, story: Story) -> None:
        self.story = story
        story.hears(*map(person, PEOPLE))
        story.pay()
        home, bank = story.installation.settings.home, story.installation.settings.bank.bank_bic
        sandbox = SandboxBank(home, bic=bank, behaviour=Behaviour(reject_share=0, return_share=0))
        sandbox.handle_all()
        sandbox.close()
        self.inbox = story.installation.bank_directory / "in"
        self.files = {path.name: path.read_bytes() for path in sorted(self.inbox.glob("*.xml"))}
        for path in self.inbox.glob("*.xml"):
            path.unlink()
        self.status = next(data for data in self.files.values() if b"pain.002" in data[:300])
        self.booked = next(data for data in self.files.values() if b"camt.054" in data[:300])

    def comes(self, **files: bytes) -> None:
        """Files that the bank puts in are read, and their answers taken."""
        for name, data in files.items():
            (self.inbox / f"{name}.xml").write_bytes(data)
        self.story.pay()
        assert list(self.inbox.glob("*.xml")) == []

    def taken(self) -> dict[str, tuple[str, str]]:
        """(outcome, detail) of every file by its name."""
        return {str(name): (str(outcome), str(detail)) for name, outcome, detail in self.story.ask("SELECT file_name, outcome, detail FROM bank_file")}

    def states(self) -> list[State]:
        """Where the orders stand."""
        return [order.state for order in self.story.orders()]


@pytest.fixture
def answered(tale: Tale) -> Answered:
    """Three orders at the bank."""
    return Answered(tale(shards=1))


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """A file with other words in it."""
    assert old in data
    return data.replace(old, new)


def test_files_of_the_bank_that_cannot_be_are_refused_whole_and_the_good_ones_taken(answered: Answered) -> None:
    bank = answered.story.installation.settings.bank.bank_bic.encode()
    refused = {
        "another_bank": (replaced(answered.status, bank, b"OTHEDKKK"), "the file is for the bank 'OTHEDKKK'"),
        "cut_off": (answered.status[: len(answered.status) // 2], "line"),
        "empty": (b"", "the file is empty"),
        "binary": (bytes(range(256)), "line"),
        "nul": (replaced(answered.status, b"<GrpHdr>", b"<GrpHdr>\0"), "line"),
        "no_xml": (b"please find attached", "line"),
        "another_message": (b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.052.001.08"/>', "camt.052.001.08"),
        "entities": (
            b'<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + answered.status[answered.status.index(b"<Document") :],
            "document type declaration",
        ),
        "wrong_sum": (replaced(answered.status, b"<DtldNbOfTxs>3<", b"<DtldNbOfTxs>4<"), "its lines add up to 3"),
    }  # fmt: skip
    answered.comes(**{name: data for name, (data, _) in refused.items()}, good=answered.status)
    taken = answered.taken()
    assert {name: outcome for name, (outcome, _) in taken.items()} == {**{f"{name}.xml": "refused" for name in refused}, "good.xml": "read"}
    for name, (_, message) in refused.items():
        assert message in taken[f"{name}.xml"][1]
    kept = answered.story.installation.bank_directory / "refused"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {f"{name}.xml": data for name, (data, _) in refused.items()}
    assert answered.states() == [State.ACCEPTED] * 3
    answered.story.audit()


def test_the_same_file_twice_is_taken_once_under_whatever_name(answered: Answered) -> None:
    answered.comes(first=answered.status)
    answered.comes(first=answered.status, again=answered.status, booked=answered.booked)
    assert answered.taken() == {"first.xml": ("read", ""), "booked.xml": ("read", "")}
    assert answered.states() == [State.SETTLED] * 3
    assert answered.story.dead_letters() == []
    answered.story.audit()


def test_a_refused_file_sent_again_is_refused_again(answered: Answered) -> None:
    for _ in range(2):
        answered.comes(bad=answered.status[:-20])
    assert list(answered.taken()) == ["bad.xml"]
    assert answered.states() == [State.SENT] * 3


def test_an_answer_about_an_unknown_order_is_a_finding_and_the_others_are_taken(answered: Answered) -> None:
    name = answered.booked[answered.booked.index(b"<EndToEndId>") + 12 :].partition(b"<")[0]
    answered.comes(strange=replaced(answered.booked, name, b"NEVERSENT-1"))
    assert answered.story.findings() == {("answer_to_unknown_order", "", "NEVERSENT-1")}
    assert answered.taken() == {"strange.xml": ("read", "1 to be looked at")}
    assert sorted(answered.states()) == [State.SENT, State.SETTLED, State.SETTLED]
    answered.story.audit()


def message_of(data: bytes) -> bytes:
    """The id of the message that a file of the bank answers."""
    return data[data.index(b"<OrgnlMsgId>") + 12 :].partition(b"<")[0]


def test_an_answer_to_a_message_that_was_never_sent_is_a_finding(answered: Answered) -> None:
    start, end = answered.status.index(b"<TxInfAndSts>"), answered.status.rindex(b"</TxInfAndSts>") + len(b"</TxInfAndSts>")
    whole = replaced(answered.status[:start] + answered.status[end:], message_of(answered.status), b"NEVER-SENT")
    answered.comes(whole=whole)
    assert answered.story.findings() == {("answer_to_unknown_order", "", "NEVER-SENT")}
    assert answered.states() == [State.SENT] * 3


def test_a_status_that_says_nothing_yet_leaves_the_order_sent(answered: Answered) -> None:
    pending = replaced(replaced(answered.status, b"<TxSts>ACSP<", b"<TxSts>PDNG<"), b"<DtldSts>ACSP<", b"<DtldSts>PDNG<")
    if b"<GrpSts>ACCP<" in pending:
        pending = pending.replace(b"<GrpSts>ACCP<", b"<GrpSts>PDNG<")
    pending = pending.replace(b"<PmtInfSts>ACCP<", b"<PmtInfSts>PDNG<")
    answered.comes(pending=pending, booked=answered.booked)
    assert answered.taken()["pending.xml"][0] == "read"
    assert answered.states() == [State.SETTLED] * 3
    answered.story.audit()


def test_a_batch_that_the_bank_refuses_whole_is_rejected_with_its_reason(answered: Answered) -> None:
    start, end = answered.status.index(b"<TxInfAndSts>"), answered.status.rindex(b"</TxInfAndSts>") + len(b"</TxInfAndSts>")
    whole = answered.status[:start] + answered.status[end:]
    refused = whole.replace(b">ACCP<", b">RJCT<")
    answered.comes(refused=refused)
    assert answered.states() == [State.REJECTED] * 3
    answered.story.audit()


def test_an_amount_that_is_not_the_orders_is_a_finding(answered: Answered) -> None:
    first = answered.status.index(b">1200.00<")
    other = answered.status[:first] + b">1100.00<" + answered.status[first + 9 :]
    cut = other.replace(b"<DtldCtrlSum>3600.00<", b"<DtldCtrlSum>3500.00<")
    answered.comes(other=cut)
    assert [kind for kind, _, _ in answered.story.findings()] == ["answer_with_other_amount"]


def test_files_that_are_no_bank_files_are_left_alone(answered: Answered) -> None:
    (answered.inbox / "notes.txt").write_text("nothing")
    (answered.inbox / "half.xml.part").write_bytes(answered.status[:100])
    answered.comes(good=answered.status)
    assert sorted(path.name for path in answered.inbox.iterdir()) == ["half.xml.part", "notes.txt"]
    assert answered.states() == [State.ACCEPTED] * 3
    assert Path(answered.inbox.parent / "done" / "good.xml").read_bytes() == answered.status
