"""The world of a history: its chance, its clock, its trace, and what happens to whoever passes a point at which something may go wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Protocol

from connectors.failpoints import ACTIVATION, SANDBOX_BANK
from connectors.kafka_cluster import KafkaAway
from connectors.log_batch import Record
from connectors.store.servers import StoreAway
from streams.topics import MEMBERS

from .ground import BEGIN, Site
from .log import MemoryLog

LOG_BEGINS, LOG_ENDS = "log_append_begins", "log_append_ends"
"""Points of the world itself: the log is about to take records, and has taken them."""

TELLING_BEGINS, TELLING_ENDS = "members_append_begins", "members_append_ends"
"""The same where members tell their households."""

ANSWERED = frozenset(
    {"claimed", "after_commit", "activation_begun", "activation_after_commit", "relay_marked", "bank_prepared", "bank_submitted", "bank_answers_taken"}
)
"""Points right after the store has committed something: a connection that is lost there takes the answer along."""

INSIDE = frozenset({"after_fold", "before_commit", "activation_before_commit"})
"""Points inside a lane's transaction, which keeps the row of its shard locked."""

LOG, TELLING = (LOG_BEGINS, LOG_ENDS), (TELLING_BEGINS, TELLING_ENDS)
TAKING = ("after_fold", "before_commit", "after_commit")
POINTS = {
    "sends": LOG,
    "claims": ("claimed",),
    "takes": TAKING,
    "looks and takes": ACTIVATION,
    "publishes": ("relay_before_publish", *LOG, "relay_after_publish", "relay_marked", *TELLING),
    "submits": ("bank_prepared", "bank_file_unnamed", "bank_file_written", *LOG, "bank_file_told", "bank_submitted"),
    "handles": SANDBOX_BANK,
    "receives": (*LOG, "bank_answers_published", "bank_answers_taken"),
}
"""What may be passed in a step."""

BESIDE_STORE = frozenset(SANDBOX_BANK)
"""Points at which nobody has a connection that could be lost."""


class Fault(StrEnum):
    """What may happen at a point."""

    KILL = "killed"
    CUT = "cut off"
    PAUSE = "paused"


OTHER_KINDS = (
    "a file of the bank came twice",
    "a zombie was refused",
    "an answer came damaged",
    "an answer came for another attempt",
    "an answer came twice",
    "evicted inside its transaction",
    "records fetched that do not follow",
    "the bank contradicted itself",
)
KINDS = tuple(
    sorted(
        {f"{fault} at {point}" for points in POINTS.values() for point in points for fault in Fault if not (fault is Fault.CUT and point in BESIDE_STORE)}
        | {*OTHER_KINDS}
    )
)
"""Every kind of fault that a history may have."""


class Killed(BaseException):
    """The process of an actor ended here."""


class Actor(Protocol):
    """Whoever takes steps."""

    name: str

    def cut(self) -> None:
        """Its connections are gone; it has not heard of that."""


@dataclass
class Activity:
    """A step that is being taken, and what is to happen in it: at a named point, or at the how-manieth one."""

    actor: Actor
    fault: Fault | None = None
    point: str = ""
    countdown: int = 0
    at: str = ""

    def strikes(self, point: str) -> Fault | None:
        """The fault that happens now that a point is passed."""
        self.countdown -= 1
        if self.fault is None or (self.fault is Fault.CUT and point in BESIDE_STORE) or (point != self.point if self.point else self.countdown > 0):
            return None
        fault, self.fault = self.fault, None
        return fault


@dataclass
class World:
    """Everything of one history that its actors share. All chance is `chance`, all time is `now`."""

    site: Site
    chance: Random
    now: datetime = BEGIN
    trace: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    activities: list[Activity] = field(default_factory=list)
    others: Callable[[int], None] = lambda steps: None
    """Lets others take so many steps while somebody waits."""
    healing: bool = False
    owners: dict[int, str] = field(default_factory=dict)
    """Who was the last to claim each shard, or tried to."""
    log: MemoryLog = field(default_factory=MemoryLog)

    def today(self) -> date:
        """The day."""
        return self.now.date()

    def say(self, text: str) -> None:
        """A line of the trace, further in the deeper it happens inside other steps."""
        self.trace.append(f"{'  ' * len(self.activities)}{text}")

    def passes(self, point: str) -> None:
        """Somebody passes a point: what was planned for it happens."""
        activity = self.activities[-1] if self.activities else None
        fault = activity.strikes(point) if activity is not None and not self.healing else None
        if activity is None or fault is None:
            return
        self.faults[f"{fault.value} at {point}"] += 1
        self.say(f"{activity.actor.name} is {fault.value} at {point}")
        if fault is Fault.KILL:
            activity.actor.cut()
            raise Killed
        if fault is Fault.PAUSE:
            activity.at = point
            self.others(self.chance.randint(1, 8))
            activity.at = ""
            self.say(f"{activity.actor.name} goes on")
            return
        self._cut(activity.actor, point)

    def _cut(self, actor: Actor, point: str) -> None:
        if point in (*LOG, *TELLING):
            raise KafkaAway(f"no answer of the log at {point}")
        actor.cut()
        if point in ANSWERED:
            raise StoreAway(f"no answer of the store at {point}")

    def slept(self) -> None:
        """Somebody waits before trying again: time passes, and others go on."""
        self.now += timedelta(seconds=1)
        self.others(self.chance.randint(0, 4))

    # The log, as whoever writes to it over a network sees it.

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Appends records; with the answer, or without."""
        begins, ends = TELLING if topic == MEMBERS else LOG
        self.passes(begins)
        first = self.log.append(topic, partition, records)
        self.passes(ends)
        return first

    def flush(self) -> None:
        """Everything appended is in the log."""
