"""Replays the input log into an empty store of another shape, to prove that the outcome does not depend on arrival or division."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from connectors.embedded_postgres import EmbeddedPostgres
from connectors.segment_log import LogReader, LogWriter, create_topic
from connectors.store.servers import Store, connect
from pipeline.observing import Silent
from pipeline.sharding import partition_of

from .audit import Digest, digest_of
from .installation import Installation
from .lanes import Lanes
from .members import MemberRelay
from .topics import all_topics, registry_topics


def replayed(installation: Installation, *, shards: int | None = None, seed: int = 1, chunk: int = 3_333) -> Digest:
    """The digest after replaying every registry record with other shards, in shuffled chunks across them, in other frames."""
    other = shards or (installation.store.shards % 7) + 3
    with tempfile.TemporaryDirectory(prefix="payout-replay-") as directory:
        home = Path(directory)
        settings = installation.settings.model_copy(update={"home": home, "store_urls": (), "shards": other, "frame_records": chunk})
        with EmbeddedPostgres(home / "store") as server:
            replica = Installation(settings, Store.provision([server.url], other), installation.registries)
            for topic in all_topics(installation.registries):
                create_topic(replica.log_directory, topic, other)
            with LogWriter(replica.log_directory, fsync="close") as writer:
                for topic, records in _shuffled(installation, random.Random(seed), chunk):
                    by_shard: dict[int, list[tuple[bytes, bytes]]] = {}
                    for key, value in records:
                        by_shard.setdefault(partition_of(key, other), []).append((key, value))
                    for shard, mine in by_shard.items():
                        writer.append(topic, shard, mine)
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


def _shuffled(installation: Installation, chance: random.Random, chunk: int) -> Iterator[tuple[str, list[tuple[bytes, bytes]]]]:
    """Every registry record up to the committed positions, in chunks whose order is shuffled."""
    told = registry_topics(installation.registries)
    pieces: list[tuple[str, int, int, int]] = []
    for (topic, shard), end in installation.positions().items():
        if topic in told:
            pieces += [(topic, shard, first, min(chunk, end - first)) for first in range(0, end, chunk)]
    chance.shuffle(pieces)
    readers = {(topic, shard): LogReader(installation.log_directory, topic, shard) for topic, shard, _, _ in pieces}
    for topic, shard, first, count in pieces:
        records: list[tuple[bytes, bytes]] = []
        while len(records) < count:
            frame = readers[topic, shard].read(first + len(records), max_records=count - len(records))
            records += zip(frame.keys, frame.values, strict=True)
        chance.shuffle(records)
        yield topic, records
