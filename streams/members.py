"""Members tell their households: what a lane has to say to other lanes, the relay that publishes it, and the run over everybody already known."""

from __future__ import annotations

from connectors.store import members
from connectors.store.frames import Claim, FrameTransaction, work_transaction
from connectors.store.servers import Connection, Row
from pipeline.facts import History, decode_history
from pipeline.members import MARK, Needs, ToldAll, copy_of, decode_share, encode_share, news
from pipeline.problems import Malformed
from pipeline.registry import Event
from pipeline.sharding import by_partition, partition_of

from .relay import Writer
from .topics import MEMBERS

CHUNK = 5_000
"""How many subjects one transaction of the run looks at."""


def share_event(raw: bytes) -> Event | ToldAll | Malformed:
    """A share as the event of a household."""
    try:
        share = decode_share(raw)
    except Malformed as malformed:
        return malformed
    if isinstance(share, ToldAll):
        return share
    return Event(share.household, copy_of(share))


class Telling:
    """Collects what the people of one transaction have to tell their households, and who has told everything. It is true where a rule looks at members."""

    def __init__(self, needs: Needs | None) -> None:
        self.needs = needs
        self._shares: list[tuple[str, bytes]] = []
        self._heard: list[ToldAll] = []

    def __bool__(self) -> bool:
        return self.needs is not None

    def note(self, subject: str, before: History, after: History) -> None:
        """The history of a subject has changed."""
        if self.needs is not None:
            self._shares += [(share.household, encode_share(share)) for share in news(subject, before, after, self.needs)]

    def heard(self, told: ToldAll) -> None:
        """Another shard has told everything."""
        self._heard.append(told)

    def write(self, transaction: FrameTransaction) -> int:
        """Puts what was collected into the outbox, with everything else of the transaction; gives how many shards have told everything."""
        members.add(transaction.connection, transaction.shard, self._shares)
        for told in self._heard:
            members.add_told(transaction.connection, transaction.shard, told.needs, told.shard)
        heard = len(self._heard)
        self._shares, self._heard = [], []
        return heard

    def told_all(self, connection: Connection[Row], shard: int) -> bool:
        """Whether every shard has told the households of this one everything that is needed."""
        return self.needs is None or members.told(connection, shard, self.needs.name) >= members.shards(connection)


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
            if done:
                members.add(self._connection, self._claim.shard, self._endings(needs))
            members.set_run(self._connection, self._claim.shard, needs.name, rows[-1][0] if rows else told_to, done)
        self.pending = not done
        return len(rows)

    def _endings(self, needs: Needs) -> list[tuple[str, bytes]]:
        """The word that this shard has told everything, for each shard under a key that leads there."""
        count, message = members.shards(self._connection), encode_share(ToldAll(needs.name, self._claim.shard))
        keys: dict[int, str] = {}
        number = 0
        while len(keys) < count:
            key = f"{MARK}{number}"
            keys.setdefault(partition_of(key.encode(), count), key)
            number += 1
        return [(keys[shard], message) for shard in range(count)]


class MemberRelay:
    """Publishes what one shard's members have to tell. A message may come twice after a crash; what it says is then known already."""

    def __init__(self, connection: Connection[Row], log: Writer, shard: int, shards: int) -> None:
        self._connection, self._log, self._shard, self._shards = connection, log, shard, shards
        self._shared_seq = members.shared(connection, shard)

    def step(self, limit: int = 20_000) -> int:
        """Publishes what waits; gives the number of messages."""
        waiting = members.waiting(self._connection, self._shard, self._shared_seq, limit)
        if not waiting:
            return 0
        for shard, records in by_partition(((share.household.encode(), share.message) for share in waiting), self._shards).items():
            self._log.append(MEMBERS, shard, records)
        self._log.flush()
        members.set_shared(self._connection, self._shard, waiting[-1].seq)
        self._shared_seq = waiting[-1].seq
        return len(waiting)
