"""Members tell their households: what a lane has to say to other lanes, the relay that publishes it, and the run over everybody already known."""

from __future__ import annotations

from connectors.segment_log import LogWriter
from connectors.store import members
from connectors.store.frames import Claim, FrameTransaction, work_transaction
from connectors.store.servers import Connection, Row
from pipeline.facts import History, decode_history
from pipeline.members import Needs, copy_of, decode_share, encode_share, news
from pipeline.problems import Malformed
from pipeline.registry import Event
from pipeline.sharding import partition_of

from .topics import MEMBERS

CHUNK = 5_000
"""How many subjects one transaction of the run looks at."""


def share_event(raw: bytes) -> Event | Malformed:
    """A share as the event of a household."""
    try:
        share = decode_share(raw)
    except Malformed as malformed:
        return malformed
    return Event(share.household, copy_of(share))


class Telling:
    """Collects what the people of one transaction have to tell their households. It is true where any rule in force looks at members."""

    def __init__(self, needs: Needs | None) -> None:
        self.needs = needs
        self._shares: list[tuple[str, bytes]] = []

    def __bool__(self) -> bool:
        return self.needs is not None

    def note(self, subject: str, before: History, after: History) -> None:
        """The history of a subject has changed."""
        if self.needs is not None:
            self._shares += [(share.household, encode_share(share)) for share in news(subject, before, after, self.needs)]

    def write(self, transaction: FrameTransaction) -> None:
        """Puts what was collected into the outbox, with everything else of the transaction."""
        members.add(transaction.connection, transaction.shard, self._shares)
        self._shares = []


class MemberRun:
    """Everybody already known tells their households what rules need that did not need it before, in chunks; it goes on where it was stopped."""

    def __init__(self, connection: Connection[Row], claim: Claim, needs: Needs | None, chunk: int = CHUNK) -> None:
        self._connection, self._claim, self._telling, self._chunk = connection, claim, Telling(needs), chunk
        self.pending = needs is not None and not members.run(connection, claim.shard, needs.name)[1]

    def step(self) -> int:
        """The next chunk; gives how many subjects it looked at."""
        needs = self._telling.needs
        if not self.pending or needs is None:
            return 0
        with work_transaction(self._connection, self._claim, "members") as transaction:
            told_to, _ = members.run(self._connection, self._claim.shard, needs.name)
            rows = transaction.histories_after(told_to, self._chunk)
            for subject, history in rows:
                self._telling.note(subject, (), decode_history(history))
            self._telling.write(transaction)
            done = len(rows) < self._chunk
            members.set_run(self._connection, self._claim.shard, needs.name, rows[-1][0] if rows else told_to, done)
        self.pending = not done
        return len(rows)


class MemberRelay:
    """Publishes what one shard's members have to tell. A message may come twice after a crash; what it says is then known already."""

    def __init__(self, connection: Connection[Row], log: LogWriter, shard: int, shards: int) -> None:
        self._connection, self._log, self._shard, self._shards = connection, log, shard, shards
        self._shared_seq = members.shared(connection, shard)

    def step(self, limit: int = 20_000) -> int:
        """Publishes what waits; gives the number of messages."""
        waiting = members.waiting(self._connection, self._shard, self._shared_seq, limit)
        if not waiting:
            return 0
        by_shard: dict[int, list[tuple[bytes, bytes]]] = {}
        for share in waiting:
            key = share.household.encode()
            by_shard.setdefault(partition_of(key, self._shards), []).append((key, share.message))
        for shard, records in by_shard.items():
            self._log.append(MEMBERS, shard, records)
        self._log.flush()
        members.set_shared(self._connection, self._shard, waiting[-1].seq)
        self._shared_seq = waiting[-1].seq
        return len(waiting)
