"""Recovery of a store that was restored from a backup: before it takes input again it learns from the log what it had ordered and sent.

The log is taken again from the positions in the store, and leads to the same facts and to what is owed. Which orders led there depends on
arrival, so orders that have left are not found again by deciding again; they are taken back from `payment.orders`, on which each one stands
before it leaves. A store that is behind its log does no work until that is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec

from connectors.store import proof, recovery
from connectors.store.connecting import Use, away
from connectors.store.frames import claim, work_transaction
from connectors.store.rule_log import read_log
from connectors.store.rulebook import benefit_periods
from connectors.store.schema import StoreError, at_work
from connectors.store.servers import Connection, Row, connect
from pipeline.decisions import ActiveRule
from pipeline.receipts import ReleasedOrder, decode_released
from pipeline.rules import load_rule, parse_period

from .installation import Installation
from .log_access import Reading, reading
from .recovered_orders import TakenBack
from .recovered_submissions import PutOut, Sent, put_out, sent_after, submissions_of
from .topics import ORDERS, RECEIPTS
from .worker_topics import check_topics

READ = 20_000
"""Records read at once: as many as the relay publishes again after a crash, so that the last of them tell how far the log goes."""

CHUNK = 5_000
"""Orders taken back in one transaction."""

GLANCE = 1_000
"""As many are enough for a worker that starts: money leaves through the bank desk, which looks at all."""


class StoreBehind(StoreError):
    """The log knows of orders or submissions that the store does not: it was restored from a backup and must be recovered first."""


class Untraced(msgspec.Struct, frozen=True):
    """An order of which nothing tells whether it left; it is not sent until somebody has asked the bank."""

    end_to_end_id: str
    amount_minor: int
    currency: str


class Recovered(msgspec.Struct, frozen=True):
    """What was taken back, and the last that the restored log of rules knows: what was decided about rules since must be told again."""

    orders: int
    amounts_minor: dict[str, int]
    submissions: int
    untraced: list[Untraced]
    rule_log_entries: int
    rule_log_last_at_ms: int


def behind(installation: Installation, *, glance: bool = False) -> list[str]:
    """What the log knows and the store does not, one sentence each; empty for a store that is where its log is.

    A glance looks at the last orders on the log only, and not at what the bank was sent.
    """
    said = []
    store = installation.store
    with away(), reading(installation) as log:
        for server, url in enumerate(store.urls):
            with connect(url, "payout recovery") as connection:
                positions = proof.positions(connection)
                for shard in store.shards_of(server):
                    said += _unknown_orders(connection, shard, _tail(log, shard, GLANCE if glance else READ))
                    if not glance:
                        said += _unknown_submissions(connection, shard, sent_after(log, shard, positions.get((RECEIPTS, shard), 0)))
    return said


def _unknown_orders(connection: Connection[Row], shard: int, published: Sequence[ReleasedOrder]) -> list[str]:
    tail = max(published, key=lambda order: order.release_seq, default=None)
    if tail is None:
        return []
    under: dict[int, str] = {}
    for order in published:
        if under.setdefault(order.release_seq, order.order) != order.order:
            return [f"shard {shard}: {ORDERS} holds two orders under the number {order.release_seq:,}"]
    last = recovery.last_released(connection, shard)
    if tail.release_seq > last:
        return [f"shard {shard} has released orders up to number {last:,}, {ORDERS} holds {tail.release_seq:,}"]
    if recovery.in_use(connection, shard, tail.release_seq) and recovery.order_under(connection, shard, tail.release_seq) != bytes.fromhex(tail.order):
        return [f"shard {shard}: order {tail.release_seq:,} of {ORDERS} is {tail.order}, another one than in the store"]
    return []


def _unknown_submissions(connection: Connection[Row], shard: int, sent: Sent) -> list[str]:
    said = []
    messages = sent.ids()
    unknown = len(messages - recovery.known_messages(connection, sorted(messages)))
    if unknown:
        said.append(f"shard {shard}: {RECEIPTS} tells of {unknown:,} messages to the bank that the store does not know")
    left = recovery.left_without_submission(connection, shard)
    if left:
        said.append(f"shard {shard}: {left:,} orders have left in messages to the bank that the store does not know")
    return said


def refuse_behind(installation: Installation, *, glance: bool = False) -> None:
    """StoreBehind where the store must be recovered before it works."""
    said = behind(installation, glance=glance)
    if said:
        more = f" and {len(said) - 3} more" if len(said) > 3 else ""
        raise StoreBehind(f"the store is older than its log: {'; '.join(said[:3])}{more}. It was restored from a backup: run `payout store recover` first")


def recover(
    installation: Installation,
    *,
    today: datetime,
    sent: Sequence[Path] = (),
    keep_paying: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recovered:
    """Takes back what the log and the files at the bank's door tell; again, it changes nothing. Nobody may work with the store meanwhile."""
    if installation.settings.kafka.servers:
        check_topics(installation)
    _nobody_works(installation)
    rules = _rules(installation, today)
    files = put_out([installation.bank_directory / "out", *sent])
    with away(), reading(installation) as log:
        missing = {shard: orders for shard in range(installation.store.shards) if (orders := _missing(installation, log, shard))}
        if missing and not keep_paying:
            _nothing_pays(installation, today)
        _known_rules(missing, rules)
        total = sum(map(len, missing.values()))
        done = 0
        amounts: dict[str, int] = {}
        for shard, orders in missing.items():
            for chunk in _take_back(installation, shard, orders, rules):
                for order in chunk:
                    amounts[order.amount.currency] = amounts.get(order.amount.currency, 0) + order.amount.minor
                done += len(chunk)
                progress(done, total)
        submissions, untraced = _submissions(installation, log, files, today)
    entries = read_log(installation.store)
    return Recovered(total, amounts, submissions, untraced, len(entries), entries[-1].at_ms if entries else 0)


def _nobody_works(installation: Installation) -> None:
    for connection in installation.store.servers("payout recovery"):
        names = at_work(connection)
        if names:
            raise StoreError(f"{', '.join(names)} work with the store; stop every worker and bank desk, then recover")


def _nothing_pays(installation: Installation, today: datetime) -> None:
    paying = sorted({standing.rule.benefit for standing in installation.standing(today.date()) if not standing.suspended})
    if paying:
        raise StoreError(
            f"{', '.join(paying)} would pay while the log is taken again, and what the log says later would come too late: suspend each of them with"
            " `payout rules suspend`, recover, let the workers take the log, and resume. --keep-paying recovers all the same"
        )


def _rules(installation: Installation, today: datetime) -> dict[tuple[str, str], ActiveRule]:
    """For each benefit and period a rule by which its orders can be kept: the one that stands, else the newest that ever decided it."""
    catalogue = installation.registries.catalogue
    found: dict[tuple[str, str], ActiveRule] = {}
    for standing in installation.standing(today.date()):
        found[standing.rule.benefit, standing.period.label] = standing.newest
    with connect(installation.store.urls[0], "payout recovery") as connection:
        newest = {rule.benefit: (number, rule) for number, rule in ((n, load_rule(text, catalogue)) for n, text in sorted(proof.documents(connection).items()))}
        for (benefit, period), period_id in benefit_periods(connection).items():
            if (benefit, period) not in found and benefit in newest:
                number, rule = newest[benefit]
                found[benefit, period] = ActiveRule(rule, parse_period(period), catalogue, rule_id=number, benefit_period_id=period_id)
    return found


def _known_rules(missing: Mapping[int, Sequence[ReleasedOrder]], rules: Mapping[tuple[str, str], ActiveRule]) -> None:
    unknown = sorted({(order.benefit, order.period) for orders in missing.values() for order in orders} - rules.keys())
    if unknown:
        raise StoreError(
            f"orders were released for {', '.join(f'{benefit} {period}' for benefit, period in unknown)}, of which the restored store has no rule:"
            " submit, approve and activate it again (payout rules), and then recover"
        )


def _missing(installation: Installation, log: Reading, shard: int) -> list[ReleasedOrder]:
    """The orders that the log says were released after the last one that the store knows, in the order of their numbers."""
    with connect(installation.store.url_of(shard), "payout recovery") as connection:
        last = recovery.last_released(connection, shard)
        published = list(_backwards(log, shard, last))
        own = recovery.orders_under(connection, shard, [order.release_seq for order in published if order.release_seq <= last])
    found: dict[int, ReleasedOrder] = {}
    under = dict(own)
    for order in published:
        if under.setdefault(order.release_seq, bytes.fromhex(order.order)) != bytes.fromhex(order.order):
            whose = "and the store hold" if order.release_seq in own else "holds"
            raise StoreError(
                f"shard {shard}: {ORDERS} {whose} two orders under the number {order.release_seq}: a store that was restored has worked before it was"
                " recovered. Restore the backup again, and recover before anything else"
            )
        if order.release_seq > last:
            found[order.release_seq] = order
    if not found:
        return []
    gap = next((number for number in range(last + 1, max(found) + 1) if number not in found), None)
    if gap is not None:
        raise StoreError(f"shard {shard}: order {gap} is no longer in {ORDERS}, and the store ends at {last}: restore a younger backup")
    return [found[number] for number in range(last + 1, max(found) + 1)]


def _backwards(log: Reading, shard: int, last: int) -> Iterator[ReleasedOrder]:
    """The orders on the topic, block by block from its end, as far as the number `last`, or the first one where that is 0."""
    end = log.end_offset(ORDERS, shard)
    while orders := _tail(log, shard, READ, end):
        yield from orders
        if all(order.release_seq <= last for order in orders) or any(order.release_seq == max(last, 1) for order in orders):
            return
        end -= len(orders)


def _tail(log: Reading, shard: int, count: int, end: int | None = None) -> list[ReleasedOrder]:
    """The last orders on the topic, or the last before an offset."""
    end = log.end_offset(ORDERS, shard) if end is None else end
    first, values = max(log.start_offset(ORDERS, shard), end - count), list[bytes]()
    while first + len(values) < end:
        values += log.read(ORDERS, shard, first + len(values), end - first - len(values)).values
    return list(map(decode_released, values))


def _take_back(
    installation: Installation, shard: int, orders: Sequence[ReleasedOrder], rules: Mapping[tuple[str, str], ActiveRule]
) -> Iterator[list[ReleasedOrder]]:
    with connect(installation.store.url_of(shard), "payout recovery", Use.LANE) as connection:
        held = claim(connection, shard, "recovery", ())
        left = iter(orders)
        while chunk := list(islice(left, CHUNK)):
            with work_transaction(connection, held, "recovery") as transaction:
                TakenBack(transaction, rules).take(chunk)
            yield chunk


def _submissions(installation: Installation, log: Reading, files: Sequence[PutOut], now: datetime) -> tuple[int, list[Untraced]]:
    """Writes down again what went to the bank, and gives how many messages that were and the orders of which nothing is told."""
    store = installation.store
    waiting: list[recovery.Released] = []
    sent: dict[int, Sent] = {}
    known: set[str] = set()
    for server, url in enumerate(store.urls):
        with connect(url, "payout recovery") as connection:
            positions = proof.positions(connection)
            known |= recovery.known_messages(connection, [file.message_id for file in files])
            for shard in store.shards_of(server):
                waiting += recovery.not_submitted(connection, shard)
                sent[shard] = sent_after(log, shard, positions.get((RECEIPTS, shard), 0))
    taken = submissions_of(waiting, sent, [file for file in files if file.message_id not in known], now)
    for server, url in enumerate(store.urls):
        with connect(url, "payout recovery") as connection:
            recovery.add_submissions(connection, [entry for entry in taken.submissions if entry[0].shard in store.shards_of(server)])
    return len(taken.submissions), [Untraced(order.end_to_end_id, order.amount_minor, order.currency) for order in taken.untraced]
