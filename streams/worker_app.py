"""The Faust app: group membership, fetching and supervision are Faust's; each shard's records go to its lane in runs.

Faust's own bookkeeping of offsets is not used. On assignment the shards are claimed in the store, and the consumer goes to the
positions that stand there; what the group has committed is advice for those who watch its lag.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import faust
import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from connectors.kafka_cluster import KafkaAway
from connectors.store.servers import StoreAway
from pipeline.observing import Observer, Silent
from pipeline.problems import Malformed, Problem

from . import garbage
from .installation import Installation, opened
from .recovery import refuse_behind
from .settings import Settings, load_settings
from .topics import ACTIVATIONS, lane_topics
from .worker_holding import Holding, RecordsGone
from .worker_topics import Sameness, TopicsDiffer, check_topics
from .worker_watch import Lookout, Place

log = structlog.get_logger("worker")

FETCH_WAIT_MS = 100
FETCH_BYTES = 2 * 1024 * 1024
GETMANY_S = 0.1
AGENTS_S = 0.02
ADVICE_S = 5.0
LOOK_S = 2.0
TOPICS_S = 5.0
"""How often it is looked whether a topic was made anew under its name; also whenever shards are claimed."""


class LaneThread(driver.AIOKafkaConsumerThread):
    """The consumer's thread: it waits less for a fetch, and assigns co-partitioned topics together."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        from aiokafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]

        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._partition_assignment_strategy = [RangePartitionAssignor]
        return consumer


class LaneConsumer(driver.Consumer):
    """Claims and seeks in one place, and hands runs of records to lanes in another."""

    def _new_consumer_thread(self) -> LaneThread:
        return LaneThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def holding(self) -> Holding | None:
        return cast(PayoutApp, self.app).lanes.holding

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Claims the shards of the assigned partitions, and goes to their positions."""
        lanes = cast(PayoutApp, self.app).lanes
        holding = await lanes.ready()
        generation = self.app.consumer_generation_id
        assigned = self.assignment()
        positions, same = await asyncio.gather(holding.take({tp.partition for tp in assigned}), lanes.same_topics())
        if not same or generation != self.app.consumer_generation_id:
            await holding.drop()
            return {}
        offsets = {tp: positions[tp.topic, tp.partition] for tp in assigned if (tp.topic, tp.partition) in positions}
        # What agents hear is new when it is heard: a claim has looked at everything else.
        agents = {tp for tp in assigned if tp.topic not in holding.installation.topics}
        offsets |= await self.highwaters(*agents) if agents else {}
        if offsets:
            await self._thread.seek_wait(offsets)
        holding.begin()
        log.info("shards claimed", shards=sorted({tp.partition for tp in assigned}), generation=generation)
        return offsets

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetches for lanes that have room, until the fetcher is stopped."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not await self._fetch_once():
                    await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise

    async def _fetch_once(self) -> bool:
        """Fetches for the lanes that have room, and for agents; whether there is any to fetch for."""
        from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError  # type: ignore[import-untyped]

        holding = self.holding
        if holding is None or not self.flow_active:
            return False
        active = self._get_active_partitions()
        hungry = holding.hungry((tp.topic, tp.partition) for tp in active)
        agents = {tp for tp in active if tp.topic not in holding.installation.topics}
        if not (hungry or agents):
            return False
        try:
            records = await self._getmany({TP(*place) for place in hungry} | agents, GETMANY_S if hungry else AGENTS_S)
        except NoOffsetForPartitionError:
            return False  # between assignment and seek there is no position yet
        except OffsetOutOfRangeError as error:
            gone = ", ".join(f"{tp.topic} shard {tp.partition} offset {offset}" for tp, offset in error.args[0].items())
            raise RecordsGone(f"Kafka does not have the records that come next: {gone}; restore them, or a store that is further") from error
        if records:
            await self._hand_over(holding, hungry, records)
        return True

    async def _hand_over(self, holding: Holding, hungry: Mapping[Place, Any], records: Mapping[Any, Any]) -> None:
        back: dict[TP, int] = {}
        for tp, part in records.items():
            place = (tp.topic, tp.partition)
            if part and place in hungry:
                offset = holding.feed(place, hungry[place], part, self._end_of_log(tp))
                if offset is not None:
                    back[TP(*place)] = offset
            elif part and place[0] not in holding.installation.topics:
                for record in part:  # Faust's own way, from here to the agent
                    await self.wait_first(self.callback(self._to_message(TP(*place), record)), self.suspend_flow.wait())
        if back:
            await self._thread.seek_wait(back)

    def _end_of_log(self, tp: Any) -> int | None:
        consumer = self._thread._ensure_consumer()
        return consumer.highwater(tp) if tp in consumer.assignment() else None

    def unread(self, holding: Holding) -> dict[Place, Any]:
        """The partitions that ought to be read, each with the moment when Kafka last answered for it; None where it is not claimed yet."""
        consumer = self._thread._ensure_consumer()
        assigned = {(tp.topic, tp.partition): tp for tp in consumer.assignment()}
        return {place: consumer.last_poll_timestamp(assigned[place]) for place in holding.hungry(assigned)} | dict.fromkeys(holding.unclaimed(assigned))

    async def wait_empty(self) -> None:
        """Before partitions go, and at the end: what is in flight ends, the rest is given up."""
        if self.holding is not None:
            await self.holding.drop()
        await super().wait_empty()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Gives the shards up."""
        await super().on_partitions_revoked(revoked)
        if self.holding is not None:
            await self.holding.drop()

    async def advise(self, positions: Mapping[Place, int]) -> None:
        """Tells the group how far the store is; whether it hears that does not matter."""
        from aiokafka import TopicPartition  # type: ignore[import-untyped]
        from aiokafka.errors import KafkaError

        assigned = self.assignment()
        offsets = {TopicPartition(*place): offset for place, offset in positions.items() if TP(*place) in assigned}
        if not offsets:
            return
        try:
            await asyncio.wait_for(self._thread.call_thread(self._thread._ensure_consumer().commit, offsets), ADVICE_S)
        except (KafkaError, TimeoutError) as error:
            log.debug("the group was not told the positions", error=repr(error))


class LaneTransport(driver.Transport):
    """Kafka by aiokafka, with the consumer that knows lanes."""

    Consumer = LaneConsumer


class LaneService(Service):
    """Opens the installation, and looks after the lanes beside the consumer."""

    def __init__(self, app: PayoutApp, **options: Any) -> None:
        self.app, self.holding, self._sameness = app, None, None
        self._asking = ThreadPoolExecutor(1, "topics")
        self._opened: asyncio.Event | None = None
        super().__init__(**options)

    holding: Holding | None
    _sameness: Sameness | None

    async def on_start(self) -> None:
        """Opens the store; a worker makes neither it nor topics."""
        installation = self.app.installation
        assert installation is not None, "the installation is opened before the app starts"
        self.holding, self._sameness = Holding(installation, self.app.observer, self._failed), Sameness(installation)
        self._event().set()

    async def ready(self) -> Holding:
        """What is held, once this service has started."""
        await self._event().wait()
        assert self.holding is not None, "the event says so"
        return self.holding

    async def on_stop(self) -> None:
        """Gives everything up."""
        if self.holding is not None:
            await self.holding.close()
        if self._sameness is not None:
            self._asking.submit(self._sameness.close)
        self._asking.shutdown(wait=False)

    async def same_topics(self) -> bool:
        """Waits until Kafka says whether the topics are still those that were taken; where they are not, the worker ends."""
        assert self._sameness is not None, "the service has started"
        while not self.should_stop:
            try:
                await asyncio.get_running_loop().run_in_executor(self._asking, self._sameness.check)
            except TopicsDiffer as error:
                self._failed(error)
                return False
            except (KafkaAway, StoreAway) as error:
                log.debug("whether topics were made anew is not known", error=str(error))
                await self.sleep(1.0)
            else:
                return True
        return False

    def _event(self) -> asyncio.Event:
        if self._opened is None:
            self._opened = asyncio.Event()
        return self._opened

    def _failed(self, error: BaseException) -> None:
        log.error("the worker ends", error=f"{type(error).__name__}: {error}")
        self.app.failure = error
        self.add_future(self.app.crash(error))

    @Service.task
    async def _publish(self) -> None:
        await (await self.ready()).publish()

    @Service.task
    async def _look_after(self) -> None:
        holding = await self.ready()
        consumer, lookout = cast(LaneConsumer, self.app.consumer), Lookout(holding.installation, self.app.observer, self._failed)
        while not self.should_stop:
            await self.sleep(LOOK_S)
            await lookout.look(None if self.app.rebalancing and not holding.claiming else consumer.unread(holding))
            if holding.look_after() and not self.app.rebalancing:
                log.warning("a lost shard is still assigned here, all are claimed again")
                await self.app.consumer.perform_seek()

    @Service.task
    async def _look_at_topics(self) -> None:
        await self.ready()
        while not self.should_stop:
            await self.sleep(TOPICS_S)
            await self.same_topics()

    @Service.task
    async def _advise(self) -> None:
        holding = await self.ready()
        while not self.should_stop:
            await self.sleep(ADVICE_S)
            if not self.app.rebalancing:
                await cast(LaneConsumer, self.app.consumer).advise(holding.positions())


class PayoutApp(faust.App):
    """The app: what it works with is handed in before it starts, or opened by the settings of the environment."""

    installation: Installation | None = None
    observer: Observer = Silent()
    failure: BaseException | None = None
    lanes: LaneService

    def _new_transport(self) -> LaneTransport:
        return LaneTransport(self.conf.broker_consumer, self)

    def on_init_dependencies(self) -> Iterable[Any]:
        """The lanes start before the consumer asks for them, and stop after it."""
        return [self.lanes, *super().on_init_dependencies()]


def payout_app(settings: Settings, topics: Iterable[str]) -> PayoutApp:
    """The app of an installation, which takes these topics."""
    kafka = settings.kafka
    if not kafka.servers:
        raise Malformed([Problem("kafka.servers", "no address of Kafka is set", "Set it, or PAYOUT_KAFKA__SERVERS; `payout kafka up` starts a broker here.")])
    app = PayoutApp(
        kafka.group, broker=[f"kafka://{server}" for server in kafka.servers], broker_credentials=_credentials(settings), store="memory://",
        table_standby_replicas=0, topic_disable_leader=True, topic_allow_declare=False, consumer_auto_offset_reset="none",
        consumer_group_instance_id=kafka.instance, consumer_max_fetch_size=FETCH_BYTES, broker_max_poll_records=None,
        broker_session_timeout=kafka.session_s, broker_heartbeat_interval=1.0, broker_rebalance_timeout=20.0,
        broker_request_timeout=max(30.0, kafka.session_s + 10.0), stream_wait_empty=True, stream_recovery_delay=0.0,
        web_enabled=False, worker_redirect_stdouts=False, datadir=settings.home / "faust",
    )  # fmt: skip
    for topic in topics:
        app.topics.add(app.topic(topic, acks=False, key_serializer="raw", value_serializer="raw"))
    app.lanes = LaneService(app)

    @app.agent(app.topic(ACTIVATIONS, acks=False, key_serializer="raw", value_serializer="raw"), name="activations")
    async def heed(stream: Any) -> None:
        async for event in stream.events():
            (await app.lanes.ready()).look(event.message.partition)

    return app


def _credentials(settings: Settings) -> Any:
    kafka = settings.kafka
    cluster = kafka.cluster()
    context = cluster.tls()
    if (tokens := cluster.tokens) is not None:
        from connectors.kafka_tokens import AsyncTokens

        return faust.OAuthCredentials(oauth_cb=AsyncTokens(tokens), ssl_context=context)
    if kafka.security.startswith("sasl"):
        return faust.SASLCredentials(username=cluster.username, password=cluster.password, mechanism=kafka.sasl_mechanism, ssl_context=context)
    return faust.SSLCredentials(context=context) if context is not None else None


def run(installation: Installation, observer: Observer) -> None:
    """Runs a worker until it is told to stop; raises what ended it otherwise."""
    app = payout_app(installation.settings, lane_topics(installation.registries))
    app.installation, app.observer = installation, observer
    garbage.seldom()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        worker = faust.Worker(app, quiet=True, override_logging=False, redirect_stdouts=False, stdout=nowhere, stderr=nowhere)
        _execute(app, worker)


def _execute(app: PayoutApp, worker: Any) -> None:
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        failure = app.failure or app._crash_reason
        if failure is not None:
            raise failure from None
        if ended.code:
            raise


def __getattr__(name: str) -> PayoutApp:
    """`app`, for `faust -A streams.worker_app worker --without-web`: by the settings of the environment, its installation opened."""
    if name != "app":
        raise AttributeError(name)
    open_until_exit = ExitStack()
    atexit.register(open_until_exit.close)
    installation = open_until_exit.enter_context(opened(load_settings(), provision=False))
    check_topics(installation)
    refuse_behind(installation, glance=True)
    app = payout_app(installation.settings, lane_topics(installation.registries))
    app.installation = installation
    globals()["app"] = app
    return app
