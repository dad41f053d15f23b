"""Snapshots: what a store knows of everybody, frozen in columns under the hash of its content, without account numbers.

A folder holds `manifest.json` and `people/`, Parquet files in the order of the subjects: each history without what hidden registries said, and
why money could not leave on the day. Beside them, under `facts/`, stand the tables of facts that rules have read of these people; they follow
from the rest, may be deleted, and are no part of the hash.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import date, datetime
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

import msgspec
import polars as pl
from psycopg import Connection, IsolationLevel

from connectors.store import proof
from connectors.store.connecting import Use
from connectors.store.servers import Row, Store, away, connect
from pipeline.accounts import AccountPolicy
from pipeline.facts import day, decode_history, encode_history
from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries
from pipeline.whatif.freezing import PAYEES_SCHEMA, Payees, payees_row, without_private

FORMAT = "snapshot/1"
PART_ROWS = 100_000
MANIFEST = "manifest.json"
PEOPLE_SCHEMA = {"subject": pl.String(), "history": pl.Binary(), **PAYEES_SCHEMA}


class InForce(msgspec.Struct, frozen=True):
    """A rule that decided everybody, or the most, when the snapshot was taken."""

    benefit: str
    period: str
    hash: str
    document: str


class Manifest(msgspec.Struct, frozen=True):
    """What a snapshot is. The hash covers the people, the day and the policy; positions, rules and the instant say where it came from."""

    format: str
    hash: str
    subjects: int
    day: date
    policy: AccountPolicy
    taken_at: datetime
    positions: dict[str, int]
    rules: tuple[InForce, ...]


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot on disk."""

    directory: Path
    manifest: Manifest

    @property
    def parts(self) -> list[Path]:
        """The files of people, in order."""
        return sorted((self.directory / "people").glob("*.parquet"))


def open_snapshot(directory: Path) -> Snapshot:
    """The snapshot of a folder; Malformed where it is none."""
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise Malformed([Problem(str(directory), f"is no snapshot: {error.strerror}", "Make one with `payout rules snapshot`.")]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed([Problem(str(directory / MANIFEST), f"cannot be read: {error}", "Make a new one with `payout rules snapshot`.")]) from None
    if manifest.format != FORMAT:
        raise Malformed([Problem(str(directory), f"has the format {manifest.format!r}, this program reads {FORMAT!r}", "Make a new one.")])
    return Snapshot(directory, manifest)


def freeze(
    store: Store, registries: Registries, policy: AccountPolicy, directory: Path, on: date, taken_at: datetime,
    rules: Sequence[InForce] = (), progress: Callable[[int, int], None] = lambda done, total: None,
) -> Snapshot:  # fmt: skip
    """Freezes what the store knows into a folder inside `directory`, each server read in one transaction; where the same is there already, that stands."""
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "people").mkdir(parents=True, mode=0o700)
    with away(), ExitStack() as stack:
        connections = [stack.enter_context(_reading(url)) for url in store.urls]
        positions = {f"{topic} {shard}": offset for one in connections for (topic, shard), offset in sorted(proof.positions(one).items())}
        total = sum(_count(one) for one in connections)
        payees = Payees(policy, day(on), _crowded(connections, policy.max_subjects_per_account), registries.catalogue)
        digest = hashlib.sha256(msgspec.json.encode((FORMAT, on, policy), order="deterministic"))
        subjects = 0
        for number, rows in enumerate(_parts(merge(*(_histories(one) for one in connections), key=itemgetter(0)))):
            table = _frozen(rows, payees, {registry.name for registry in registries.registries if registry.hidden})
            for row in table.iter_rows():
                digest.update(msgspec.msgpack.encode(row))
            table.write_parquet(partial / "people" / f"{number:05}.parquet")
            subjects += table.height
            progress(subjects, total)
    manifest = Manifest(FORMAT, digest.hexdigest(), subjects, on, policy, taken_at, positions, tuple(rules))
    (partial / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    return _named(partial, directory / manifest.hash[:16])


def _named(partial: Path, final: Path) -> Snapshot:
    """Gives a finished snapshot its name. Where the same people were frozen before, only what is said of them is new: the rules in force, the instant."""
    try:
        partial.rename(final)
    except OSError:
        if not (final / MANIFEST).is_file():
            raise
        (partial / MANIFEST).replace(final / MANIFEST)
        shutil.rmtree(partial)
    return open_snapshot(final)


def _reading(url: str) -> Connection[Row]:
    connection = connect(url, "payout snapshot", use=Use.READ)
    connection.isolation_level, connection.read_only, connection.autocommit = IsolationLevel.REPEATABLE_READ, True, False
    return connection


def _count(connection: Connection[Row]) -> int:
    row = connection.execute("SELECT count(*) FROM facts").fetchone()
    return int(str(row[0])) if row else 0


def _histories(connection: Connection[Row]) -> Iterator[tuple[str, bytes]]:
    """Every history of a server, in the order of the subjects."""
    with connection.cursor(name="frozen", binary=True) as cursor:
        cursor.itersize = 20_000
        for subject, history in cursor.execute("SELECT subject, history FROM facts ORDER BY subject"):
            yield str(subject), bytes(history)  # type: ignore[call-overload]


def _crowded(connections: list[Connection[Row]], most: int) -> set[bytes]:
    """The accounts that more subjects than allowed have assigned, on whichever server they live."""
    counts = merge(*(_holders(one) for one in connections), key=itemgetter(0))
    return {key for key, of_servers in groupby(counts, key=itemgetter(0)) if sum(count for _, count in of_servers) > most}


def _holders(connection: Connection[Row]) -> Iterator[tuple[bytes, int]]:
    with connection.cursor(name="holders", binary=True) as cursor:
        cursor.itersize = 20_000
        for key, count in cursor.execute("SELECT account_key, count(*) FROM account_holder GROUP BY account_key ORDER BY account_key"):
            yield bytes(key), int(str(count))  # type: ignore[call-overload]


def _parts(rows: Iterator[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    while part := list(islice(rows, PART_ROWS)):
        yield part


def _frozen(rows: list[tuple[str, bytes]], payees: Payees, private: set[str]) -> pl.DataFrame:
    """What is kept of these people."""
    kept = []
    for subject, raw in rows:
        history = decode_history(raw)
        kept.append((subject, encode_history(without_private(history, private)), *payees_row(payees.of(subject, history))))
    return pl.DataFrame(kept, schema=PEOPLE_SCHEMA, orient="row")
