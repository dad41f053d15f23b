"""Workers of a history: real lanes over some shards, which claim, take frames, lose connections, die, and go on as zombies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date

from connectors.segment_log import Frame
from connectors.store.frames import Replaced
from connectors.store.servers import Connection, Row
from loadtests.crashes import NotAsItMustBe
from pipeline.observing import Silent
from pipeline.standing import Standing
from streams.installation import Installation
from streams.lanes import Lanes
from streams.worker_shard import Fetched, OutOfOrder

from .sessions import cut
from .world import INSIDE, Activity, World

FRAMES = (1, 2, 3, 5, 8, 50)


class Record:
    """A record as a Kafka client gives it."""

    def __init__(self, offset: int, key: bytes, value: bytes) -> None:
        self.offset = offset
        self.key: bytes | None = key
        self.value: bytes | None = value


class Embedded:
    """A lane's reader of the log, which gives frames of any size."""

    def __init__(self, world: World, topic: str, shard: int) -> None:
        self._world, self._place = world, (topic, shard)

    def read(self, offset: int, max_records: int) -> Frame:
        """The next records."""
        return self._world.log.read(*self._place, offset, size(self._world, max_records))


class Consumed:
    """A lane's reader of what a consumer fetched: some of it twice, and now and then not what comes next."""

    def __init__(self, world: World, topic: str, shard: int) -> None:
        self._world, self._place = world, (topic, shard)
        self._fetched = Fetched()
        self._next = 0

    def restart(self, offset: int) -> None:
        """The consumer goes to the position that the claim gave."""
        self._fetched.restart(offset)
        self._next = offset

    def read(self, offset: int, max_records: int) -> Frame:
        """What is at hand, after a fetch."""
        self._fetch()
        return self._fetched.read(offset, size(self._world, max_records))

    def _fetch(self) -> None:
        chance, end, begin = self._world.chance, self._world.log.end_offset(*self._place), self._next
        if begin < end and not self._world.healing and chance.random() < 0.2:
            begin = min(end, max(0, begin + chance.choice((-4, -2, -1, 1, 2, 4))))
        frame = self._world.log.read(*self._place, begin, size(self._world, 1_000))
        records = [Record(begin + index, key, value) for index, (key, value) in enumerate(zip(frame.keys, frame.values, strict=True))]
        try:
            self._fetched.put(records, end)
            self._next = max(self._next, frame.next_offset)
        except OutOfOrder as gap:
            self._world.faults["records fetched that do not follow"] += 1
            self._next = gap.offset


def size(world: World, most: int) -> int:
    """How many records come at once: few, so that much can happen between them, until everything heals."""
    return most if world.healing else min(most, world.chance.choice(FRAMES))


class SimulatedLanes(Lanes):
    """Lanes that look at rules and calendar when the history says so, and whose connections can be cut."""

    due = False
    """Whether the next step begins with a look."""

    claims: Callable[[], None] = staticmethod(lambda: None)
    """Hears of every claim, also of one after the store was away."""

    def claim(self) -> None:
        """Takes the shards over."""
        self.claims()
        super().claim()

    def step(self) -> int:
        """A step, whatever the clock of the machine says."""
        self._looked = -math.inf if self.due else math.inf
        self.due = False
        return super().step()

    def connections(self) -> Iterable[Connection[Row]]:
        """Every connection."""
        own = [connection for lane in self._lanes.values() for connection in (lane.connection, *lane.claim.elsewhere)]
        return {id(connection): connection for connection in [*own, *([self._rule_log] if self._rule_log else [])]}.values()


Stands = Callable[[date], list[Standing]]


class Worker:
    """One process of lanes."""

    def __init__(self, world: World, name: str, standing: Stands, *, kafka: bool) -> None:
        self._world, self.name, self._standing, self._kafka = world, name, standing, kafka
        self.shards: tuple[int, ...] = ()
        self.lanes: SimulatedLanes | None = None

    def cut(self) -> None:
        """Its connections are gone."""
        for connection in self.lanes.connections() if self.lanes is not None else ():
            cut(connection)

    def dies(self) -> None:
        """The process is gone."""
        if self.lanes is not None:
            self.cut()
            self.lanes.close()
        self.lanes, self.shards = None, ()

    def claims(self, shards: Iterable[int], others: Iterable[Worker], activities: Iterable[Activity]) -> None:
        """Takes shards over. Who stands inside a transaction there and does not move is shut out first."""
        self.dies()
        self.shards = tuple(sorted(shards))
        for other in others:
            at = next((activity.at for activity in activities if activity.actor is other), "")
            if at in INSIDE and set(other.shards) & set(self.shards):
                self._world.say(f"{other.name} is evicted")
                self._world.faults["evicted inside its transaction"] += 1
                other.cut()
        installation = self._world.site.installation
        readers = {(topic, shard): self._reader(topic, shard) for topic in installation.topics for shard in self.shards}
        self.lanes = SimulatedLanes(installation, self._standing, self.shards, Silent(), self._world.today, readers)
        self.lanes.claims = lambda: self._world.owners.update(dict.fromkeys(self.shards, self.name))
        try:
            self.lanes.patient_claim()
        except Replaced as replaced:
            self._refused(replaced)
            return
        for place, offset in self.lanes.positions.items():
            reader = readers[place]
            if isinstance(reader, Consumed):
                reader.restart(offset)
        self._world.say(f"{self.name} has shards {','.join(map(str, self.shards))} at {self.where()}")

    def _reader(self, topic: str, shard: int) -> Embedded | Consumed:
        return Consumed(self._world, topic, shard) if self._kafka else Embedded(self._world, topic, shard)

    def takes(self, *, look: bool = False) -> int:
        """A step of its lanes, after a look at rules and calendar or without; gives how much it was."""
        if self.lanes is None:
            return 0
        self.lanes.due = look
        try:
            return self.lanes.patient_step()
        except Replaced as replaced:
            self._refused(replaced)
            return 0

    def _refused(self, replaced: Replaced) -> None:
        self._world.faults["a zombie was refused"] += 1
        self._world.say(f"{self.name} is replaced: {replaced}")
        if all(self._world.owners[shard] == self.name for shard in self.shards):
            raise NotAsItMustBe(f"{self.name} was refused though nobody else has claimed its shards: {replaced}") from replaced
        self.dies()

    def where(self) -> str:
        """Its positions, those that are not the beginning."""
        positions: Mapping[tuple[str, int], int] = self.lanes.positions if self.lanes is not None else {}
        return " ".join(f"{topic.rpartition('.')[2]}/{shard}:{offset}" for (topic, shard), offset in sorted(positions.items()) if offset) or "the beginning"


def stands(installation: Installation, entries: Callable[[], int]) -> Stands:
    """The rules that stand, read once for each length of the log and day: in a history nothing else changes them."""
    known: dict[tuple[int, date], list[Standing]] = {}

    def standing(today: date) -> list[Standing]:
        key = entries(), today
        if key not in known:
            known[key] = installation.standing(today)
        return known[key]

    return standing
