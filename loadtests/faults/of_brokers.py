"""Faults of brokers: killed, stopped, frozen, most of them away, full, empty, and with topics and offsets that are not what they were."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]
from kafka.admin import KafkaAdminClient, NewPartitions  # type: ignore[import-untyped]
from kafka.structs import OffsetAndMetadata  # type: ignore[import-untyped]

from connectors.store.topic_ids import adopt

from .case import Case
from .disk import disk
from .fault import fault
from .ground import NODES, SHARDS, NotAsItMustBe

BROKERS = range(1, NODES + 1)


def _gone(case: Case, number: int, signal_number: int) -> int:
    """Ends a broker; 1 once it is gone."""
    case.ground.node_signal(number, signal_number)
    case.until(lambda: case.ground.node(number) == 0, f"broker {number} is gone")
    return 1


@fault(
    "brokers are killed, one after the other", "F10, F11", how="SIGKILL to each of three brokers in turn, leaders and the controller among them; "
    "each is started again",
    counted="brokers killed", sees="errors of the Kafka client for some seconds; leaders move, nothing acknowledged is lost (two of three copies)",
    after=0.1, lasts_s=15,
)  # fmt: skip
def brokers_killed(case: Case) -> int:
    """Each is back before the next one goes."""
    killed = 0
    for share, number in zip((0.1, 0.3, 0.5), BROKERS, strict=True):
        case.until_taken(share)
        killed += _gone(case, number, signal.SIGKILL)
        case.for_s(4)
        case.ground.brokers.up(NODES)
    return killed


@fault(
    "brokers are restarted, one after the other", "F14", how="SIGTERM to each of three brokers in turn, as in an upgrade; each is started again",
    counted="brokers stopped", sees="little: leaders are handed over before a broker ends", after=0.1, lasts_s=15,
)  # fmt: skip
def brokers_restarted(case: Case) -> int:
    """A rolling restart."""
    stopped = 0
    for share, number in zip((0.1, 0.3, 0.5), BROKERS, strict=True):
        case.until_taken(share)
        stopped += _gone(case, number, signal.SIGTERM)
        case.ground.brokers.up(NODES)
    return stopped


@fault(
    "a broker is frozen", "F12, F25", how="SIGSTOP to one broker for fifteen seconds, longer than the others wait for it; then SIGCONT",
    counted="brokers frozen", sees="requests to it time out; its leaders move after six seconds (here), and it catches up when it comes back", lasts_s=14,
)  # fmt: skip
def broker_frozen(case: Case) -> int:
    """It is there and answers nothing."""
    pid = case.ground.node_signal(1, signal.SIGSTOP)
    case.for_s(15)
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    case.ground.node_signal(1, signal.SIGCONT)
    return int(state == "T")


@fault(
    "two of three brokers are away", "F13", how="SIGKILL to two of three brokers together; fifteen seconds later both are started again",
    counted="brokers killed", sees="nothing can be put, published or claimed: the one broker left has no majority; `KafkaAway` at the producers, "
    "then everything goes on",
)  # fmt: skip
def most_away(case: Case) -> int:
    """Below the copies that an acknowledgement needs."""
    killed = sum(_gone(case, number, signal.SIGKILL) for number in (2, 3))
    case.for_s(15)
    case.ground.brokers.up(NODES)
    return killed


@fault(
    "all brokers are killed at once", "F15", how="SIGKILL to all three together; ten seconds later all are started again", counted="brokers killed",
    sees="as above; what had been acknowledged is there",
)  # fmt: skip
def all_away(case: Case) -> int:
    """A power cut of the cluster."""
    for number in BROKERS:
        case.ground.node_signal(number, signal.SIGKILL)
    case.until(lambda: not any(map(case.ground.node, BROKERS)), "all are gone")
    case.for_s(10)
    case.ground.brokers.up(NODES)
    return len(BROKERS)


@fault(
    "a broker's disk is full", "F16", how="the directory of one broker is on a disk of its own that is filled to its last byte under load (tmpfs; without the "
    "right to mount one: it may write to no file); the broker ends, the disk is emptied, and it is started again",
    counted="brokers that ended by it", sees="`No space left on device` in the broker's log; the other two go on", after=None,
)  # fmt: skip
def broker_disk_full(case: Case) -> int:
    """Two copies of three are enough."""
    ground, number = case.ground, 3
    data = ground.brokers.directory / f"node{number}" / "data"
    _gone(case, number, signal.SIGTERM)
    aside = data.with_name("data.aside")
    data.rename(aside)
    try:
        with disk(data, mount=ground.mount) as full:
            shutil.copytree(aside, data, dirs_exist_ok=True)
            ground.brokers.up(NODES)
            case.under_way(0.2, 10)
            full.fill([ground.node(number)])
            case.until(lambda: ground.node(number) == 0, "the broker whose disk is full has ended")
            full.empty()
            ground.brokers.up(NODES)
            case.settle()
            _gone(case, number, signal.SIGTERM)
            shutil.rmtree(aside)
            shutil.copytree(data, aside)
    finally:
        shutil.rmtree(data)
        aside.rename(data)
    ground.brokers.up(NODES)
    return 1


@fault(
    "a broker has lost its disk", "F17", how="SIGKILL to one broker, whose directory is then deleted but for the file that says who it is; it is started again",
    counted="files deleted", sees="the broker fetches everything again from the other two; under-replicated partitions until then", lasts_s=12,
)  # fmt: skip
def broker_disk_lost(case: Case) -> int:
    """It comes back with nothing."""
    _gone(case, 2, signal.SIGKILL)
    lost = [path for path in (case.ground.brokers.directory / "node2" / "data").rglob("*") if path.is_file() and path.name != "meta.properties"]
    for path in lost:
        path.unlink()
    case.ground.brokers.up(NODES)
    return len(lost)


@fault(
    "the group's offsets are wrong", "F18, F19", how="with no worker running, the group's offsets are set to the end of every partition, and then "
    "to its beginning; workers run in between",
    counted="offsets set", sees="lag tools are misled; workers go by the positions in the store", after=None,
)  # fmt: skip
def offsets_wrong(case: Case) -> int:
    """To the latest by mistake, then to the earliest."""
    set_wrong = 0
    for part, latest in zip(case.parts(2), (True, False), strict=True):
        case.feed_now(part)
        set_wrong += _set_offsets(case, latest=latest)
        case.start(2)
        case.rest()
    return set_wrong


def _set_offsets(case: Case, *, latest: bool) -> int:
    places = [TopicPartition(topic, shard) for topic in case.ground.topics if topic.startswith("registry.") for shard in range(SHARDS)]
    consumer = KafkaConsumer(**case.ground.cluster.client("faults"), group_id=case.settings.kafka.group, enable_auto_commit=False)
    try:
        consumer.assign(places)
        offsets = consumer.end_offsets(places) if latest else dict.fromkeys(places, 0)
        consumer.commit({place: OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()})
        return sum(consumer.committed(place) == offset for place, offset in offsets.items())
    finally:
        consumer.close()


def _refused(case: Case, said: str) -> int:
    """A worker that is started ends and says why, and nothing is taken meanwhile; how often that was said."""
    positions = case.installation.positions()
    again = case.workers.add()
    case.workers.let_go(*case.workers.all)
    case.until(lambda: again.code is not None, "a worker that is started ends")
    if again.code != 3 or not again.said(said):
        raise NotAsItMustBe(f"the worker ended with {again.code} and did not say {said!r}\n{case.workers.told()}")
    if case.installation.positions() != positions:
        raise NotAsItMustBe(f"positions moved, though {said!r}\n{case.workers.told()}")
    return case.workers.said(said)


def _mended(case: Case, times: int = 1) -> None:
    """The topic is there again with the records that it had, and the store is told that it is the one."""
    case.make_anew("registry.tax", times)
    adopt(case.installation.store, case.topic_ids())
    case.start(2)


@fault(
    "a topic is deleted and made anew under running workers", "F21", how="with the workers idle, `registry.tax` is deleted, made anew, and filled "
    "with twice as much as it held; a worker is started; then `payout kafka adopt`",
    counted="times that a worker said so", sees="every worker that is started ends with exit code 3 and `registry.tax was made anew`, until "
    "`payout kafka adopt` says that the records are at the offsets that they had", after=None,
)  # fmt: skip
def made_anew(case: Case) -> int:
    """Nothing of what the new topic holds is taken before somebody says that it is the same."""
    case.start(2)
    case.feed_now()
    case.settle()
    case.workers.let_go(*case.workers.all)
    before = case.installation.positions()
    case.make_anew("registry.tax", times=2)
    case.for_s(10)
    if case.installation.positions() != before:
        raise NotAsItMustBe(f"positions moved in a topic that is not the one that was read\n{case.workers.told()}")
    said = _refused(case, "registry.tax was made anew")
    case.workers.stop()
    adopt(case.installation.store, case.topic_ids())
    case.start(2)
    return said


def _with_admin(case: Case, work: Callable[[KafkaAdminClient], object]) -> None:
    admin = KafkaAdminClient(**case.ground.cluster.client("faults"))
    try:
        work(admin)
    finally:
        admin.close()


@fault(
    "records are deleted before they were taken", "F20", how="with no worker running, all records of `registry.tax` are deleted, as retention does, half of "
    "them not taken yet; then the topic is made anew with all of them, and `payout kafka adopt`",
    counted="times that a worker said so", sees="the worker ends with exit code 3 and `Kafka does not have the records that come next`", after=None,
)  # fmt: skip
def records_gone(case: Case) -> int:
    """No worker skips what it cannot have."""
    first, second = case.parts(2)
    case.start(2)
    case.feed_now(first)
    case.rest()
    case.feed_now(second)
    places = {TopicPartition("registry.tax", shard): -1 for shard in range(SHARDS)}  # -1: up to the end
    _with_admin(case, lambda admin: admin.delete_records(places))
    said = _refused(case, "Kafka does not have the records that come next")
    _mended(case)
    return said


@fault(
    "partitions are added", "F22", how=f"`registry.tax` gets {SHARDS} more partitions under load; a worker is started; then the topic is made anew as it was, "
    "and `payout kafka adopt`",
    counted="times that a worker said so", sees="a worker that is started ends with exit code 3 and `the number of partitions`; those that run go on with "
    "the partitions that are shards", after=None,
)  # fmt: skip
def partitions_added(case: Case) -> int:
    """A shard is one partition, so that more of them are of no use to it."""
    case.under_way(0.2, 8)
    _with_admin(case, lambda admin: admin.create_partitions({"registry.tax": NewPartitions(2 * SHARDS)}))
    case.settle()
    case.workers.let_go(*case.workers.all)
    said = _refused(case, "the number of partitions")
    case.workers.stop()
    _mended(case)
    return said
