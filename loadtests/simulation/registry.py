"""What the registries of a history say: people with every kind of trouble, in an order of arrival that chance gives."""

from __future__ import annotations

import json
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

from connectors.population import ACCOUNT, RESIDENCY, TAX
from pipeline.sharding import partition_of

from .ground import BEGIN

ROUTING = "021000021"
SHARED_NUMBER = "99887766554433"
TROUBLES = ("conflict", "corrupt", "misplaced", "other key", "withdrawn", "moves abroad", "dies", "corrected", "preliminary")


class Said(NamedTuple):
    """One record as it is put into the log."""

    topic: str
    key: bytes
    value: bytes


class People:
    """Makes the records of some people."""

    def __init__(self, chance: Random, count: int) -> None:
        self._chance = chance
        self._numbers: dict[str, int] = {}
        self._homes = max(1, count // 3)
        self.said = self._arrived([self._of(f"p{number:02}") for number in range(count)])

    def _of(self, subject: str) -> list[Said]:
        chance = self._chance
        said = [self.resident(subject), self.account(subject), self.income(subject)]
        if chance.random() < 0.15:
            said.pop(chance.randrange(3))
        for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 3))):
            said.append(self._trouble(subject, chance.choice(TROUBLES), said))
        return said

    def _trouble(self, subject: str, trouble: str, said: list[Said]) -> Said:
        chance, earlier = self._chance, self._chance.choice(said)
        match trouble:
            case "conflict":
                return earlier._replace(value=earlier.value.replace(b"2020-04-01T", b"2020-04-02T"))
            case "corrupt":
                return earlier._replace(value=earlier.value[: chance.randrange(len(earlier.value))])
            case "misplaced":
                return earlier._replace(topic=chance.choice([topic for topic in (ACCOUNT, RESIDENCY, TAX) if topic != earlier.topic]))
            case "other key":
                return earlier._replace(key=b"somebody")
            case "withdrawn":
                return self.withdrawn(earlier)
            case "moves abroad":
                return self.resident(subject, resident=chance.random() < 0.3)
            case "dies":
                return self.resident(subject, death="2026-11-20")
            case "preliminary":
                return self.income(subject, status="preliminary")
            case _:
                return self.income(subject) if chance.random() < 0.6 else self.account(subject)

    def _arrived(self, people: list[list[Said]]) -> list[Said]:
        """Everybody's records in an order that is nearly that in which they were made, with some late, some early and some twice."""
        placed: list[tuple[float, int, Said]] = []
        for person in people:
            begin = self._chance.uniform(0, 10)
            for number, record in enumerate(person):
                lag = self._chance.choice((0.0, 0.0, 1.0, 3.0, 10.0))
                placed.append((begin + number + self._chance.uniform(0, 1 + lag), len(placed), record))
                if self._chance.random() < 0.1:
                    placed.append((begin + number + self._chance.uniform(0, 12), len(placed), record))
        return [record for _, _, record in sorted(placed, key=lambda entry: entry[:2])]

    def _event(self, topic: str, source: str, kind: str, subject: str, data: dict[str, Any]) -> Said:
        sequence = self._numbers[subject] = self._numbers.get(subject, 0) + 1
        message = {
            "specversion": "1.0", "id": f"{topic.rpartition('.')[2]}-{subject}-{sequence}", "source": source, "type": kind, "subject": subject,
            "time": f"2020-04-01T00:00:{sequence:02}Z", "sequence": str(sequence), "data": data,
        }  # fmt: skip
        return Said(topic, subject.encode(), json.dumps(message, separators=(",", ":")).encode())

    def resident(self, subject: str, *, resident: bool = True, death: str = "") -> Said:
        """What the residency registry says."""
        number, chance = int(subject[1:]), self._chance
        home = number % self._homes if chance.random() < 0.8 else chance.randrange(self._homes)
        data: dict[str, Any] = {"valid_from": "2010-01-01", "birth_date": "1970-05-17", "resident": resident}
        data |= {"household": f"h{home:02}", "role": "head" if number < self._homes else "child"}
        if death:
            data["death_date"] = death
        return self._event(RESIDENCY, "urn:registry:residency", "registry.residency.person.v1", subject, data)

    def account(self, subject: str) -> Said:
        """An account: of one's own, shared by many, closed, or good from one of the next days on."""
        chance = self._chance
        number = SHARED_NUMBER if chance.random() < 0.1 else str(10**9 + int(subject[1:]) * 10 + chance.randrange(3))
        begin = "2015-01-01" if chance.random() < 0.8 else (BEGIN.date() + timedelta(days=chance.randint(1, 3))).isoformat()
        status = "active" if chance.random() < 0.9 else "closed"
        data = {"account": {"scheme": "us", "routing": ROUTING, "number": number}, "status": status, "valid_from": begin, "holder": "match"}
        return self._event(ACCOUNT, "urn:registry:account", "registry.account.assignment.v1", subject, data)

    def income(self, subject: str, status: str = "final") -> Said:
        """An assessment of 2019."""
        chance = self._chance
        data: dict[str, Any] = {"year": 2019, "status": status, "filing_status": "single", "children_under_17": 0, "children_under_18": 0}
        data["claimed_as_dependent"] = False
        if chance.random() < 0.9:
            data["agi"] = {"minor": chance.choice((30_000_00, 45_000_00, 51_000_00, 55_555_55, 99_000_00)), "currency": "USD"}
        return self._event(TAX, "urn:registry:tax:us", "registry.tax.assessment.v1", subject, data)

    def withdrawn(self, earlier: Said) -> Said:
        """An event that never held; what is withdrawn may itself be damaged, then nothing is said of it."""
        try:
            message = json.loads(earlier.value)
        except ValueError:
            return earlier
        return self._event(earlier.topic, message["source"], "registry.correction.v1", message["subject"], {"withdraws": message["id"]})


def placed(records: list[Said], shards: int) -> dict[tuple[str, int], list[tuple[bytes, bytes]]]:
    """Records by topic and partition."""
    by_place: dict[tuple[str, int], list[tuple[bytes, bytes]]] = {}
    for record in records:
        by_place.setdefault((record.topic, partition_of(record.key, shards)), []).append((record.key, record.value))
    return by_place
