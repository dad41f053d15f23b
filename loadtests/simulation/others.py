"""Who is in a history beside the workers: registries, relays, the bank desk, the bank, the office that activates rules, and time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta

from msgspec.structs import replace

from connectors.failpoints import failpoint
from connectors.kafka_cluster import KafkaAway
from connectors.sandbox_bank import Behaviour, SandboxBank
from connectors.store.servers import Connection, Row, StoreAway, away
from pipeline.observing import Silent
from pipeline.orders import Step
from pipeline.problems import Malformed
from pipeline.receipts import Answer, decode_answer, encode
from pipeline.rules import Rule
from pipeline.rules.life import WHOLE, Logged
from streams.bank_desk import BankDesk
from streams.desks import desks_on
from streams.members import MemberRelay
from streams.relay import Relay
from streams.rule_life import Outcome, RuleLife
from streams.topics import RECEIPTS

from .ground import AMOUNTS
from .registry import Said, placed
from .sessions import cut
from .world import World

CONTRADICTIONS = {Step.SETTLE: (Step.REJECT,), Step.RETURN: (Step.REJECT, Step.SETTLE), Step.REJECT: (Step.SETTLE, Step.RETURN)}
"""What cannot follow the last word of the bank on an order: it changes nothing."""


AGAIN = "!"
"""Ends the id of an answer that this bank invented."""


class Connected:
    """Somebody with connections to the store and appends to the log, who begins anew where one of them fails."""

    name = ""

    def __init__(self, world: World) -> None:
        self.world = world
        self.connections: list[Connection[Row]] = []

    def opens(self) -> None:
        """Connects."""
        store = self.world.site.installation.store
        self.connections = [store.connect(url, self.name) for url in store.urls]

    def cut(self) -> None:
        """Its connections are gone."""
        for connection in self.connections:
            cut(connection)

    def dies(self) -> None:
        """The process is gone; the next step begins anew."""
        self.cut()
        self.ends()

    def ends(self) -> None:
        """The history is over."""
        for connection in self.connections:
            connection.close()
        self.connections = []

    def tried(self, work: Callable[[], int]) -> int:
        """Does something; a store or a log that is away means to begin anew later."""
        try:
            with away():
                if not self.connections:
                    self.opens()
                return work()
        except (StoreAway, KafkaAway) as lost:
            self.world.say(f"{self.name} begins anew: {type(lost).__name__}")
            self.dies()
            return 0


class Registry:
    """Sends what the registries say, and sends again what was not answered."""

    name = "registry"

    def __init__(self, world: World, said: list[Said]) -> None:
        self._world, self._waiting = world, said
        self.sent: list[Said] = []

    @property
    def done(self) -> bool:
        """Whether everything is sent."""
        return not self._waiting

    @property
    def left(self) -> int:
        """How many records are not sent yet."""
        return len(self._waiting)

    def cut(self) -> None:
        """It has no connection to the store."""

    def sends(self, count: int) -> int:
        """The next records, of which some may be in the log already."""
        chunk = self._waiting[:count]
        try:
            for (topic, shard), records in placed(chunk, self._world.site.installation.store.shards).items():
                self._world.append(topic, shard, records)
        except KafkaAway:
            self._world.say("registry heard no answer and will send again")
            return 0
        self._waiting = self._waiting[count:]
        return len(chunk)


class Relaying(Connected):
    """Relays for all shards. Several may run at once, as when a worker goes on that has lost its shards."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world)
        self.name = name
        self._relays: list[Relay | MemberRelay] = []

    def opens(self) -> None:
        """Relays that begin where the store says."""
        super().opens()
        store, log = self.world.site.installation.store, self.world
        by_shard = [(shard, self.connections[shard % len(store.urls)]) for shard in range(store.shards)]
        self._relays = [Relay(connection, log, shard) for shard, connection in by_shard]
        self._relays += [MemberRelay(connection, log, shard, store.shards) for shard, connection in by_shard]

    def publishes(self) -> int:
        """What has been released since, a few at a time."""
        return self.tried(lambda: sum(relay.step(self.world.chance.choice((1, 3, 1000))) for relay in self._relays))


class Desk(Connected):
    """The bank desks of all servers."""

    name = "bank desk"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._desks: list[BankDesk] = []

    def opens(self) -> None:
        """Puts out again what was interrupted."""
        super().opens()
        world = self.world
        self._desks = desks_on(world.site.installation, self.connections, world, Silent(), lambda: world.now)
        resumed = sum(desk.resume() for desk in self._desks)
        if resumed:
            world.say(f"bank desk puts {resumed} out again")

    def submits(self) -> int:
        """Files of what the relays have published."""
        return self.tried(lambda: sum(desk.submit() for desk in self._desks))

    def receives(self) -> int:
        """The files of the bank."""
        return self.tried(lambda: len(self._desks[0].receive()))


class Bank:
    """The sandbox bank, which rejects and returns some, is silent for a while, answers twice and contradicts itself."""

    name = "bank"

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._behaviour = world, Behaviour(seed=seed, reject_share=0.1, return_share=0.1)
        self._bank: SandboxBank | None = None

    def cut(self) -> None:
        """It has no connection to the store."""

    def dies(self) -> None:
        """The process is gone."""
        if self._bank is not None:
            self._bank.close()
        self._bank = None

    def handles(self) -> int:
        """The order files that lie there; gives how many."""
        if self._bank is None:
            self._bank = SandboxBank(self._world.site.installation.settings.home, behaviour=self._behaviour, crash=failpoint)
        before = self._bank.totals.files
        self._bank.handle_all()
        return self._bank.totals.files - before

    def repeats(self) -> str:
        """Something that it has said is said again: a file under another name, an answer once more, or its contrary."""
        chance, installation = self._world.chance, self._world.site.installation
        done = sorted((installation.bank_directory / "done").glob("*.xml"))
        if done and chance.random() < 0.5:
            path = chance.choice(done)
            shutil.copyfile(path, installation.bank_directory / "in" / f"again-{len(done)}-{path.name}")
            self._world.faults["a file of the bank came twice"] += 1
            return "sends a file again"
        shard = chance.randrange(installation.store.shards)
        values = self._world.log.read(RECEIPTS, shard).values
        if not values:
            return "has nothing to repeat"
        answers = [answer for value in values if isinstance(answer := _read(value), Answer)]
        answer = chance.choice(answers)
        kind, said = self._odd(answer, [other for other in answers if _order(other) == _order(answer)])
        self._world.log.append(RECEIPTS, shard, [(answer.subject.encode(), said)])
        self._world.faults[kind] += 1
        return kind

    def _odd(self, answer: Answer, about: list[Answer]) -> tuple[str, bytes]:
        """An answer to an order of which the bank has said `about`. A contrary comes only after the truth: which of two holds nobody here can know."""
        identity, choice = f"{answer.id}{AGAIN}", self._world.chance.randrange(4)
        contrary = CONTRADICTIONS.get(about[-1].step, ()) if not any(said.id.endswith(AGAIN) for said in about) else ()
        if choice == 0 and contrary:
            return "the bank contradicted itself", encode(replace(answer, id=identity, step=self._world.chance.choice(contrary)))
        if choice == 1:
            return "an answer came for another attempt", encode(replace(answer, id=identity, attempt=answer.attempt + 1))
        if choice == 2:
            return "an answer came damaged", encode(answer)[:-7]
        return "an answer came twice", encode(answer)


class Office:
    """Activates, suspends, resumes and rolls back; first a document for persons decides about everybody."""

    name = "office"

    def __init__(self, world: World, documents: tuple[Rule, ...]) -> None:
        self._world, self._documents = world, documents
        self.active = False
        self.entries = 0

    def cut(self) -> None:
        """Its connections live for one entry only."""

    def decides(self) -> str:
        """Whatever chance gives; the first time something is activated."""
        chance, life = self._world.chance, RuleLife(self._world.site.installation, "Cleo", self._world.now)
        what = chance.choice(("activate", "activate", "suspend", "resume", "resume", "roll back")) if self.active else "activate"
        benefit = chance.choice(self._documents).benefit
        match what:
            case "activate":
                rule = chance.choice(self._documents if self.active else self._documents[: len(AMOUNTS)])
                share = chance.choice((WHOLE, WHOLE, 2_500, 6_000)) if self.active else WHOLE
                at = (self._world.now + timedelta(days=chance.choice((0, 0, 0, 1)) if self.active else 0)).date()
                what = f"activate {self._documents.index(rule)} for {share // 100} % from {at}"
                outcome: Outcome = life.activate(rule.hash, share=share, at=at)
            case "suspend":
                outcome = life.suspend(benefit)
            case "resume":
                outcome = life.resume(benefit)
            case _:
                outcome = life.rollback(benefit)
        self.active = self.active or isinstance(outcome, Logged)
        self.entries += isinstance(outcome, Logged)
        what = what if what.startswith("activate") else f"{what} {benefit}"
        return what if isinstance(outcome, Logged) else f"{what}: refused ({', '.join(refused.code for refused in outcome)})"


def _order(answer: Answer) -> tuple[str, int, int]:
    return answer.subject, answer.sequence, answer.attempt


def _read(value: bytes) -> Answer | Malformed:
    try:
        return decode_answer(value)
    except Malformed as malformed:
        return malformed
