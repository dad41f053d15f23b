"""Replays the input log into an empty store of another shape, to prove that the outcome does not depend on arrival or division."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from connectors.embedded_postgres import EmbeddedPostgres
from connectors.event_feed import append_by_key
from connectors.log_batch import Record
from connectors.segment_log import LogWriter, create_topic
from connectors.store import proof
from connectors.store.servers import Store, connect
from pipeline.observing import Silent
from pipeline.sharding import astray, partition_of

from .audit import Digest, digest_of
from .installation import Installation
from .kafka_settings import Kafka
from .lanes import Lanes
from .log_access import Reading, reading
from .members import MemberRelay
from .topics import all_topics, registry_topics


class BeginningGone(RuntimeError):
    """The log no longer has its first records, so what follows from all of them cannot be seen again."""


def check_beginning(installation: Installation) -> None:
    """BeginningGone where the log has dropped records of a registry that were taken."""
    told, gone = registry_topics(installation.registries), []
    with reading(installation) as log:
        for (topic, shard), position in sorted(installation.positions().items()):
            start = log.start_offset(topic, shard) if topic in told and position else 0
            if start:
                gone.append(f"{topic} shard {shard} begins at {start:,} of {position:,} taken")
    if gone:
        raise BeginningGone(
            f"the log cannot be replayed, its beginning was dropped: {', '.join(gone[:5])}{f' and {len(gone) - 5} more' if len(gone) > 5 else ''}."
            " Audit without --replay; to be able to replay, keep records for longer (kafka.retention_hours) or copy them elsewhere before they go"
        )


def replayed(installation: Installation, *, shards: int | None = None, seed: int = 1, chunk: int = 3_333) -> Digest:
    """The digest after replaying every registry record with other shards, in shuffled chunks across them, in other frames.

    The log must have its beginning (`check_beginning`).
    """
    other = shards or (installation.store.shards % 7) + 3
    with tempfile.TemporaryDirectory(prefix="payout-replay-") as directory:
        home = Path(directory)
        settings = installation.settings.model_copy(update={"home": home, "store_urls": (), "shards": other, "frame_records": chunk, "kafka": Kafka()})
        with EmbeddedPostgres(home / "store") as server:
            replica = Installation(settings, Store.provision([server.url], other), installation.registries)
            for topic in all_topics(installation.registries):
                create_topic(replica.log_directory, topic, other)
            with LogWriter(replica.log_directory, fsync="close") as writer, reading(installation) as log:
                for topic, shard, shards_then, records in _shuffled(installation, log, random.Random(seed), chunk):
                    strays = astray((key for key, _ in records), shard, shards_then)
                    append_by_key(writer, topic, other, [record for index, record in enumerate(records) if index not in strays])
                    _append_astray(writer, topic, other, [records[index] for index in sorted(strays)])
            lanes = Lanes(replica, lambda today: installation.standing_rules(replica.store, today), range(other), Silent())
            try:
                lanes.claim()
                with LogWriter(replica.log_directory, fsync="close") as writer, connect(server.url, "payout replay") as connection:
                    relays = [MemberRelay(connection, writer, shard, other) for shard in range(other)]
                    while lanes.step() or sum(relay.step() for relay in relays):
                        pass
            finally:
                lanes.close()
            return digest_of(replica)


def _append_astray(writer: LogWriter, topic: str, shards: int, records: list[Record]) -> None:
    """What lay in a partition that its key does not lead to, and so was refused, lies in such a one again."""
    for key, value in records:
        writer.append(topic, (partition_of(key, shards) + 1) % shards, [(key, value)])


def _shuffled(installation: Installation, log: Reading, chance: random.Random, chunk: int) -> Iterator[tuple[str, int, int, list[Record]]]:
    """Every registry record up to the committed positions, with the number of shards for which it was put, in chunks whose order is shuffled."""
    told = registry_topics(installation.registries)
    divided = {place: ends for connection in installation.store.servers("payout replay") for place, ends in proof.divisions(connection).items()}
    pieces: list[tuple[str, int, int, int, int]] = []
    for (topic, shard), position in installation.positions().items():
        begin = 0
        for end, shards in [*divided.get((topic, shard), ()), (position, installation.store.shards)]:
            if topic in told:
                pieces += [(topic, shard, shards, first, min(chunk, end - first)) for first in range(begin, end, chunk)]
            begin = end
    chance.shuffle(pieces)
    for topic, shard, shards, first, count in pieces:
        records: list[Record] = []
        while len(records) < count:
            frame = log.read(topic, shard, first + len(records), count - len(records))
            if not frame.values:
                raise BeginningGone(f"{topic} shard {shard} ends at {first + len(records):,}, before the position {first + count:,}: records are missing")
            records += zip(frame.keys, frame.values, strict=True)
        chance.shuffle(records)
        yield topic, shard, shards, records
