"""Faults of what is said: twice, thrice, out of order, corrupt, empty, huge, of another time, all of it again; and a store that goes back to a backup."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime

from streams.recovery import StoreBehind, recover, refuse_behind

from .case import Case
from .fault import fault
from .ground import SHARDS, NotAsItMustBe, Slice

MEGABYTE = 1 << 20
STRANGE: tuple[tuple[str, bytes | None, bytes | None], ...] = (
    ("registry.tax", b"us-1", None),
    ("registry.residency", None, b""),
    ("registry.residency", None, b"{}"),
    ("registry.account", b"us-2", b""),
    ("registry.tax", b"us-3", b"\x00\xff\xfe\x81" * 100),
    ("registry.tax", b"us-4", b'{"specversion":"1.0","id":"trunc'),
    ("registry.account", b"us-5", b"[" * 200_000),
    ("registry.tax", b"us-6", b'{"data":{"agi":1e400}}'),
    ("registry.tax", b"us-7", b'{"data":{"agi":NaN}}'),
    ("registry.residency", b"us-8", b'\xef\xbb\xbf{"id":"with a byte order mark"}'),
    ("registry.residency", b"us-9", b'{"id":"\\ud800"}'),
    ("registry.account", b"us-10", b'{"id":"a","id":"b"}'),
    ("registry.tax", b"\xff\xfe", b'{"id":"x"}'),
    ("registry.tax", b"us-11", b'{"id":"' + b"x" * (10 * MEGABYTE) + b'"}'),
    ("payment.receipts", b"us-12", None),
    ("payment.receipts", b"us-13", b'{"id":"' + b"y" * (10 * MEGABYTE) + b'"}'),
    ("household.members", b"us-14", None),
)
"""Records that are no events: without key or value, without sense, too deep, too large."""

DUPLICATES = "SELECT sum(duplicate) FROM frame"


def _shuffled(case: Case, copies: int, pieces: int) -> list[Slice]:
    """Every event so many times, those of each topic and shard in any order."""
    chance = random.Random(copies)
    records: dict[tuple[str, int], list[tuple[bytes, bytes]]] = {}
    for part in case.ground.slices:
        records.setdefault((part.topic, part.shard), []).extend(part.records * copies)
    slices = []
    for (topic, shard), mine in records.items():
        chance.shuffle(mine)
        slices += [Slice(topic, shard, mine[at : at + pieces]) for at in range(0, len(mine), pieces)]
    chance.shuffle(slices)
    return slices


@fault(
    "everything is said three times and in any order", "F60, F61, F62, F63", how="each event is put three times, all of a topic shuffled as a whole, so that "
    "corrections come before what they correct and the last before the first; some bear the id of another",
    counted="records that were there already", sees="`payout_events_processed_total{outcome=\"duplicate\"}` rises; nothing else", after=None,
)  # fmt: skip
def thrice(case: Case) -> int:
    """Any order and any number of copies fold to the same."""
    case.start(2)
    case.feed(_shuffled(case, 3, 200))
    case.settle()
    return case.count(DUPLICATES)


@fault(
    "an event is said a hundred times", "F60", how="of every hundredth event a hundred copies are put, among the others",
    counted="records that were there already", sees="as above",
)  # fmt: skip
def hundredfold(case: Case) -> int:
    """A producer that has gone mad."""
    before = case.count(DUPLICATES)
    for part in case.ground.slices[::20]:
        case.feed([Slice(part.topic, part.shard, part.records[:1] * 100)])
    case.settle()
    return case.count(DUPLICATES) - before


@fault(
    "records that are none", "F64, F65", how=f"{len(STRANGE)} records among the others: tombstones, without keys, random bytes, truncated, two "
    f"hundred thousand brackets, NaN, "
    "lone surrogates, two of 10 MB", counted="dead letters beside those that every case has",
    sees="`payout_events_processed_total{outcome=\"dead_letter\"}` rises, `payout dead-letters list` names each with what is wrong",
)  # fmt: skip
def strange(case: Case) -> int:
    """Each becomes a dead letter as it came, and holds nobody up."""
    case.put([(topic, index % SHARDS, key, value) for index, (topic, key, value) in enumerate(STRANGE)])
    case.dead_letters += len(STRANGE)
    case.settle()
    kept = case.count("SELECT count(*) FROM dead_letter") - case.ground.dead_letters
    large = case.count(f"SELECT count(*) FROM dead_letter WHERE length(record_value) > {10 * MEGABYTE}")
    return kept if large == 2 else 0


@fault(
    "records that bear another time", "F73", how="copies of events are put by producers whose clocks are fifty minutes ahead, and ten years behind",
    counted="records that were there already", sees="nothing: a record's time is kept by Kafka and read by nobody", after=0.3,
)  # fmt: skip
def another_time(case: Case) -> int:
    """Kafka itself refuses what is more than an hour ahead."""
    before, now_ms = case.count(DUPLICATES), int(time.time() * 1000)
    for at_ms in (now_ms + 50 * 60_000, now_ms - 10 * 365 * 86_400_000):
        case.put([(part.topic, part.shard, *part.records[0]) for part in case.ground.slices[:40]], at_ms)
    case.settle()
    return case.count(DUPLICATES) - before


@fault(
    "all input comes again", "F100", how="when all is taken, everything is put into the topics once more, from the first event to the last",
    counted="records that were there already", sees="`payout_events_processed_total{outcome=\"duplicate\"}` rises; no order is made", after=None,
)  # fmt: skip
def again(case: Case) -> int:
    """A registry that begins from the beginning."""
    orders = "SELECT count(*), sum(amount_minor) FROM payment_order"
    case.start(2)
    case.feed_now()
    case.settle()
    before = case.ask(orders), case.count(DUPLICATES)
    case.feed_now()
    case.settle()
    if case.ask(orders) != before[0]:
        raise NotAsItMustBe("the second time made orders")
    return case.count(DUPLICATES) - before[1]


@fault(
    "the store goes back to an old backup",
    "F54, F103",
    how="a copy of the database is made after a third of the events; when all is taken and "
    "published, the workers are stopped, the copy takes its place and is recovered",
    counted="records that were behind positions and are taken again",
    sees="no worker starts before `payout store recover` has taken back what was ordered since the backup; then lag jumps to what has come since, and "
    "no order is made or published again",
    after=None,
)
def restored(case: Case) -> int:
    """The positions go back with the rows, so the log brings everything again."""
    first, second, third = case.parts(3)
    case.start(2)
    case.feed_now(first)
    case.rest()
    case.hang_up()
    case.ground.execute(f"CREATE DATABASE {case.database}_backup TEMPLATE {case.database}")
    case.start(2)
    case.feed_now(second)
    case.feed_now(third)
    case.settle()
    taken = case.taken()
    case.workers.stop()
    case.ground.execute(f"DROP DATABASE {case.database} WITH (FORCE)")
    case.ground.execute(f"ALTER DATABASE {case.database}_backup RENAME TO {case.database}")
    back = taken - case.taken()
    try:
        refuse_behind(case.installation, glance=True)
    except StoreBehind:
        recover(case.installation, today=datetime.now(UTC), keep_paying=True)
    else:
        raise NotAsItMustBe("a worker would begin with a store that does not know what it has ordered")
    case.start(2)
    return back
