"""A history: a seeded scheduler lets one actor after the other take a step, then everything heals, and what came of it is looked at."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from types import TracebackType

import tenacity.nap

from connectors.failpoints import heard_by
from loadtests.crashes import NotAsItMustBe

from .checks import compared
from .ground import SHAPES, Ground
from .others import Bank, Desk, Office, Registry, Relaying
from .registry import People
from .workers import Worker, stands
from .world import POINTS, Activity, Actor, Fault, Killed, World

STEPS = (12, 40)
ROUNDS = 300
"""How many rounds of everybody a healed history may take until nothing is left to do."""

FAULT_SHARE = {"publishes": 0.7, "submits": 0.9, "handles": 0.9, "receives": 0.9, "looks and takes": 0.9}
OTHER_FAULT_SHARE = 0.4
"""How many steps have a fault, if they come to where it is to happen: those that seldom find something to do have more."""

EARLY = (2, 4, 12)
"""A fault comes at a point that is named, or at one of the first so many of a step."""


@dataclass(frozen=True)
class Outcome:
    """What came of a history of so many steps, of which others may have been taken while one waited: its trace, the faults, and what is not as it must be."""

    seed: int
    length: int
    shortened: bool
    steps: int
    trace: tuple[str, ...]
    faults: Counter[str]
    problems: tuple[str, ...]


class History:
    """Everything that happens by one seed."""

    def __init__(self, ground: Ground, seed: int, length: int | None = None) -> None:
        self.ground, self.seed = ground, seed
        self.chance = Random(seed)
        shape = self.chance.choice(SHAPES)
        drawn = self.chance.randint(*STEPS)
        self.length = drawn if length is None else min(length, drawn)
        self.shortened = self.length < drawn
        self.steps = 0
        self.world = World(ground.site(shape), self.chance)
        self.world.others = self._others
        people = People(self.chance, self.chance.randint(5, 14))
        self.registry = Registry(self.world, people.said)
        standing, kafka = stands(self.world.site.installation, lambda: self.office.entries), self.chance.random() < 0.5
        self.workers = [Worker(self.world, f"worker {letter}", standing, kafka=kafka) for letter in "abc"[: self.chance.randint(1, 3)]]
        self.relays = [Relaying(self.world, f"relay {number}") for number in (1, 2)]
        self.desk, self.bank, self.office = Desk(self.world), Bank(self.world, seed), Office(self.world, ground.documents)
        self._recent: dict[str, int] = {}
        self.warm = self.chance.random() < 0.6
        self.world.say(f"seed {seed}: {shape.shards} shards on {shape.servers} servers, {len(people.said)} records, {len(self.workers)} workers")

    # One step.

    def _choices(self) -> Iterator[tuple[float, Actor, str, Callable[[], object]]]:
        """(weight, who, what, how) of everything that can happen next."""
        chance, shards = self.chance, range(self.world.site.installation.store.shards)
        if not self.registry.done:
            yield 8, self.registry, "sends", lambda: self.registry.sends(chance.randint(1, 12))
        for worker in self.workers:
            taken = [shard for shard in shards if chance.random() < 0.7] or [chance.choice(shards)]
            yield 3 if worker.lanes is None else 0.7, worker, "claims", lambda worker=worker, taken=taken: self._claimed(worker, taken)  # type: ignore[misc]
            if worker.lanes is not None:
                yield 8, worker, "takes", lambda worker=worker: self._taken(worker, False)  # type: ignore[misc]
                yield self._after("decided", 16), worker, "looks and takes", lambda worker=worker: self._taken(worker, True)  # type: ignore[misc]
        for relay in self.relays:
            yield self._after("took", 8), relay, "publishes", lambda relay=relay: self._follows("took", "published", relay.publishes)  # type: ignore[misc]
        yield self._after("published", 30), self.desk, "submits", lambda: self._follows("published", "submitted", self.desk.submits)
        yield self._after("submitted", 30), self.bank, "handles", lambda: self._follows("submitted", "handled", self.bank.handles)
        yield self._after("handled", 30), self.desk, "receives", lambda: self._follows("handled", "received", self.desk.receives)
        yield 2.5 if "handled" in self._recent else 0, self.bank, "says again", self.bank.repeats
        yield 0.8 if self.office.active else 10, self.office, "decides", self._decided
        yield 0.8, Passing(), "passes", self._day

    def _after(self, what: str, weight: float) -> float:
        """What follows from something that was done is likely next, and else seldom."""
        return weight if self._recent.get(what) else 0.5

    def _follows(self, before: str, what: str, how: Callable[[], int]) -> int:
        self._did(before, 0)
        return self._did(what, how())

    def _did(self, what: str, count: int) -> int:
        self._recent[what] = count or self._recent.get(what, 0) // 2
        return count

    def _claimed(self, worker: Worker, shards: list[int]) -> str:
        worker.claims(shards, [other for other in self.workers if other is not worker], self.world.activities)
        return ""

    def _decided(self) -> str:
        self._did("decided", 2)
        return self.office.decides()

    def _taken(self, worker: Worker, look: bool) -> str:
        if look:
            self._did("decided", 0)
        return f"{self._did('took', worker.takes(look=look))}, is at {worker.where()}"

    def _day(self) -> str:
        self.world.now += timedelta(hours=self.chance.choice((1, 8, 24)))
        return f"to {self.world.now:%d %H:%M:%S}"

    def step(self) -> None:
        """One actor takes a step."""
        busy = {activity.actor.name for activity in self.world.activities}
        choices = [choice for choice in self._choices() if choice[1].name not in busy]
        _, actor, what, how = self.chance.choices(choices, weights=[weight for weight, _, _, _ in choices])[0]
        self.acts(actor, what, how, self._activity(actor, what))

    def _activity(self, actor: Actor, what: str) -> Activity:
        chance = self.chance
        if chance.random() >= FAULT_SHARE.get(what, OTHER_FAULT_SHARE) or what not in POINTS:
            return Activity(actor)
        fault = chance.choice([fault for fault in Fault if what != "handles" or fault is not Fault.CUT])
        if chance.random() < 0.5:
            return Activity(actor, fault, chance.choice(POINTS[what]))
        return Activity(actor, fault, countdown=chance.randint(1, chance.choice(EARLY)))

    def acts(self, actor: Actor, what: str, how: Callable[[], object], activity: Activity) -> object:
        """An actor takes this step, and perhaps does not survive it."""
        self.world.say(f"{actor.name} {what}")
        self.world.activities.append(activity)
        self.steps += 1
        done: object = None
        try:
            done = how()
            if done not in ("", None, 0):
                self.world.say(f"= {done}")
        except Killed:
            dies = getattr(actor, "dies", None)
            if dies is not None:
                dies()
        finally:
            self.world.activities.pop()
        return done

    def _others(self, steps: int) -> None:
        for _ in range(steps):
            if len(self.world.activities) > 4:
                return
            self.step()

    # The whole.

    def run(self) -> Outcome:
        """Takes the steps, heals, and looks."""
        problems: list[str] = []
        with heard_by(self.world.passes), _waiting(self.world):
            try:
                with _Noted(problems):
                    if self.warm:
                        self._warm_up()
                    for _ in range(self.length):
                        self.step()
                    self._heal()
                    problems += compared(self.ground, self.world)
            finally:
                self._end()
        return Outcome(self.seed, self.length, self.shortened, self.steps, tuple(self.world.trace), self.world.faults, tuple(problems))

    def _warm_up(self) -> None:
        """Half of everything is sent and taken before anything goes wrong, so that there is something to pay and to answer."""
        self.world.say("half of everything is sent and taken")
        self.world.healing = True
        self.registry.sends(self.registry.left // 2)
        self.office.decides()
        self.office.decides()
        first = self.workers[0]
        first.claims(range(self.world.site.installation.store.shards), (), ())
        while self._did("took", first.takes(look=True)):
            pass
        self._did("published", self.relays[0].publishes())
        self.world.healing = False

    def _heal(self) -> None:
        """Nothing goes wrong any more; one worker has everything, and everybody works until nothing is left to do."""
        world = self.world
        world.say("everything heals")
        world.healing = True
        while not self.registry.done:
            self.registry.sends(1000)
        while not self.office.active:
            self.office.decides()
        for worker in self.workers:
            worker.dies()
        self.bank.dies()
        last = self.workers[0]
        last.claims(range(world.site.installation.store.shards), (), ())
        for turn in range(ROUNDS):
            took = last.takes(look=turn == 0)
            done = took + sum(relay.publishes() for relay in self.relays) + self.desk.submits() + self.bank.handles() + self.desk.receives()
            if not done:
                break
        else:
            raise NotAsItMustBe(f"there was no rest after {ROUNDS} rounds")
        world.say(f"rests at {last.where()}")

    def _end(self) -> None:
        for worker in self.workers:
            worker.dies()
        for other in (*self.relays, self.desk):
            other.ends()
        self.bank.dies()


class _Noted:
    """Notes how a history broke off, whatever that was: with a defect in the code it may be anything."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        at = traceback.extract_tb(trace)[-1]
        self._problems.append(f"{type(error).__name__} in {Path(at.filename).name}, {at.name}: {error}")
        return True


class Passing:
    """Time."""

    name = "time"

    def cut(self) -> None:
        """Nothing is connected to it."""


class _Naps:
    """Where retries wait: no time of the machine passes, others go on."""

    def __init__(self, world: World) -> None:
        self._world = world

    def sleep(self, seconds: float) -> None:
        """Waits."""
        self._world.slept()


@contextmanager
def _waiting(world: World) -> Iterator[None]:
    clock = tenacity.nap.time  # type: ignore[attr-defined]
    tenacity.nap.time = _Naps(world)  # type: ignore[attr-defined, assignment]
    try:
        yield
    finally:
        tenacity.nap.time = clock  # type: ignore[attr-defined]
