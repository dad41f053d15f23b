"""The demo's population: what is planted is there, counted, and the same for the same seed."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from stdnum.us import rtn

from connectors.population import ACCOUNT, CHUNK, CLEAN, CORRUPTIONS, RESIDENCY, SHARED_BY, TAX, DemoShares, Population

UNITS = Path(__file__).parent.parent / "data" / "us-cps-tax-units.parquet"
FIRST = 20_000


def lines(population: Population) -> dict[str, list[bytes]]:
    told: dict[str, list[bytes]] = defaultdict(list)
    for topic, records in population.events():
        told[topic] += [line for _, line in records]
    return told


def sound(told: list[bytes]) -> list[dict[str, Any]]:
    """The lines that are JSON, without the corrupt ones, each event once per delivery."""
    events = []
    for line in told:
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if not event["id"].endswith("x"):
            events.append(event)
    return events


def latest(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By subject, the data of the event with the highest sequence that nothing withdraws; conflicting ids say nothing."""
    withdrawn = {event["data"]["withdraws"] for event in events if event["type"] == "registry.correction.v1"}
    told: dict[str, set[str]] = defaultdict(set)
    for event in events:
        told[event["id"]].add(str(event))
    usable = [event for event in events if event["type"] != "registry.correction.v1" and event["id"] not in withdrawn and len(told[event["id"]]) == 1]
    return {event["subject"]: event["data"] for event in sorted(usable, key=lambda event: int(event["sequence"]))}


@pytest.fixture(scope="module")
def demo() -> Population:
    return Population(UNITS, 7, first=FIRST)


@pytest.fixture(scope="module")
def told(demo: Population) -> dict[str, list[bytes]]:
    return lines(demo)


def test_the_clean_population_tells_of_every_unit_once_in_each_registry_and_owes_what_the_law_says() -> None:
    clean = Population(UNITS, 7, CLEAN)
    expected = clean.expected()
    assert (expected.subjects, expected.granted, expected.granted_minor) == (280_005, 258_841, 47_351_545_903)
    assert (expected.paid, expected.paid_minor) == (258_841, 47_351_545_903)
    assert expected.events == {RESIDENCY: 280_005, ACCOUNT: 280_005, TAX: 280_005}
    subjects: dict[str, list[bytes]] = defaultdict(list)
    for topic, records in clean.events():
        assert len(records) <= CHUNK
        subjects[topic] += [key for key, _ in records]
    everybody = [b"us-%06d" % unit for unit in range(1, 280_006)]
    assert subjects == {RESIDENCY: everybody, ACCOUNT: everybody, TAX: everybody}


def test_an_assessment_says_what_the_survey_says() -> None:
    units = pl.read_parquet(UNITS).head(FIRST)
    events = sound(lines(Population(UNITS, 1, CLEAN, first=FIRST))[TAX])
    assert [event["data"] for event in events] == [
        {
            "year": 2019,
            "status": "final",
            "filing_status": unit["filing_status"],
            "people": unit["people"],
            "children_under_17": unit["children_under_17"],
            "children_under_18": unit["children_under_18"],
            "claimed_as_dependent": unit["claimed_as_dependent"],
            "agi": {"minor": unit["agi_cents"], "currency": "USD"},
        }
        for unit in units.iter_rows(named=True)
    ]


def test_in_the_clean_population_every_account_is_good_and_belongs_to_one_unit() -> None:
    accounts = [event["data"]["account"] for event in sound(lines(Population(UNITS, 1, CLEAN, first=FIRST))[ACCOUNT])]
    assert len({(account["routing"], account["number"]) for account in accounts}) == FIRST
    assert all(rtn.is_valid(routing) for routing in {account["routing"] for account in accounts})


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def digest(seed: int) -> str:
        told = lines(Population(UNITS, seed, first=FIRST))
        return hashlib.sha256(b"\n".join(line for topic in told for line in told[topic])).hexdigest()

    assert digest(7) == digest(7) != digest(8)


def test_every_line_is_one_line_and_its_key_is_its_subject(demo: Population) -> None:
    for _, records in demo.events():
        for key, line in records:
            assert b"\n" not in line
            assert b'"subject":"%s"' % key in line


def test_deliveries_are_counted(demo: Population, told: dict[str, list[bytes]]) -> None:
    expected = demo.expected()
    assert {topic: len(of) for topic, of in told.items()} == expected.events
    copies = sum(sum(n - 1 for n in Counter(of).values()) for of in told.values())
    assert copies == expected.duplicates > 0


def test_the_corrupt_lines_are_of_every_kind_and_none_could_pass_for_sound(demo: Population, told: dict[str, list[bytes]]) -> None:
    assert demo.expected().corrupt == {kind: 6 for kind, *_ in CORRUPTIONS}
    broken = [line for of in told.values() for line in of if b'x",' in line[:120]]
    unreadable = []
    problems: Counter[str] = Counter()
    for line in broken:
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            unreadable.append(line)
            continue
        data = event["data"]
        problems["type"] += event["type"] == "registry.account.assignement.v9"
        problems["field"] += "favourite_colour" in data
        problems["status"] += data.get("status") == "guessed"
        problems["currency"] += data.get("agi", {}).get("currency") == "XTS"
        problems["date"] += data.get("valid_from") == "2019-02-30"
        problems["amount"] += data.get("agi", {}).get("minor", 0) >= 9 * 10**15
    assert len(broken) == 48
    assert len(unreadable) == 12
    assert problems == {"type": 6, "field": 6, "status": 6, "currency": 6, "date": 6, "amount": 6}


def test_what_is_known_at_the_end_of_residency_is_what_was_planted(demo: Population, told: dict[str, list[bytes]]) -> None:
    expected, known = demo.expected(), latest(sound(told[RESIDENCY]))
    dead = [data for data in known.values() if "death_date" in data]
    assert len(dead) == expected.refused["dead"] == 200
    assert all(date(2020, 3, 1) <= date.fromisoformat(data["death_date"]) < date(2020, 3, 27) for data in dead)
    assert sum(not data["resident"] for data in known.values()) == expected.refused["abroad"] == 100
    assert FIRST - len(known) == expected.undetermined["residency_unknown"] == 60


def test_what_is_known_at_the_end_of_accounts_is_what_was_planted(demo: Population, told: dict[str, list[bytes]]) -> None:
    held, known = demo.expected().held, latest(sound(told[ACCOUNT]))
    status = Counter(data["status"] for data in known.values())
    assert held == {"no_account": 300, "account_invalid": 60, "account_closed": 100, "account_shared": 40, "account_pending": 20}
    assert FIRST - len(known) == held["no_account"]
    assert (status["closed"], status["pending"]) == (held["account_closed"], held["account_pending"])
    assert sum(not rtn.is_valid(data["account"]["routing"]) for data in known.values()) == held["account_invalid"]
    users = Counter((data["account"]["routing"], data["account"]["number"]) for data in known.values())
    assert Counter(users.values()) == {1: len(known) - held["account_shared"], SHARED_BY: held["account_shared"] // SHARED_BY}


def test_what_is_known_at_the_end_of_incomes_is_the_survey_or_nothing(demo: Population, told: dict[str, list[bytes]]) -> None:
    expected, known = demo.expected(), latest(sound(told[TAX]))
    truth = {f"us-{unit:06}": cents for unit, cents in pl.read_parquet(UNITS).head(FIRST).select("unit_id", "agi_cents").iter_rows()}
    final = {subject: data["agi"]["minor"] for subject, data in known.items() if data["status"] == "final" and "agi" in data}
    assert all(truth[subject] == minor for subject, minor in final.items())
    assert FIRST - len(final) == sum(expected.undetermined[case] for case in ("income_unknown", "income_preliminary", "conflicts"))
    assert sum(data["status"] == "preliminary" for data in known.values()) == expected.undetermined["income_preliminary"]


def test_ids_reused_with_other_content_are_as_many_as_asked_for(demo: Population, told: dict[str, list[bytes]]) -> None:
    contents: dict[str, set[str]] = defaultdict(set)
    for of in told.values():
        for event in sound(of):
            contents[event["id"]].add(str(event))
    assert sum(len(said) > 1 for said in contents.values()) == demo.expected().conflicts == 20


def test_late_events_come_after_everything_else(demo: Population) -> None:
    topics = [topic for topic, _ in demo.events()]
    changes = [topic for at, topic in enumerate(topics) if at == 0 or topics[at - 1] != topic]
    assert changes == [RESIDENCY, ACCOUNT, TAX, RESIDENCY, ACCOUNT, TAX]


def test_a_wrong_income_comes_before_or_after_the_right_one(told: dict[str, list[bytes]]) -> None:
    sequences: dict[str, list[int]] = defaultdict(list)
    for event in sound(told[TAX]):
        if event["type"] != "registry.correction.v1":
            sequences[event["subject"]].append(int(event["sequence"]))
    assert sum(order[0] < order[-1] for order in sequences.values()) > 50
    assert sum(order[0] > order[-1] for order in sequences.values()) > 30


def test_a_correction_comes_before_or_after_what_it_withdraws(told: dict[str, list[bytes]]) -> None:
    events = sound(told[TAX])
    first = {event["id"]: at for at, event in reversed(list(enumerate(events)))}
    corrections = [event for event in events if event["type"] == "registry.correction.v1"]
    before = [first[event["id"]] < first[event["data"]["withdraws"]] for event in corrections]
    assert set(before) == {True, False}


def test_outcomes_add_up(demo: Population) -> None:
    expected = demo.expected()
    assert expected.granted + sum(expected.refused.values()) + sum(expected.undetermined.values()) == expected.subjects
    assert expected.paid + sum(expected.held.values()) == expected.granted
    assert expected.paid_minor + sum(expected.held_minor.values()) == expected.granted_minor


def test_shares_that_ask_for_more_cases_than_there_are_people_to_pay_are_refused() -> None:
    with pytest.raises(ValueError, match="lower the shares"):
        Population(UNITS, 7, DemoShares(dead=1.0), first=100)
