"""The schema of the store: its numbered migrations, which version a server has, and whether this program may work with it.

A migration that only adds says in its first line with which older schema a program may be made and still go on, so that the
programs of a rolling upgrade work side by side: ``-- compatible with 5``. One that says nothing shuts every older program out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import psycopg

Row = tuple[object, ...]

LOCK = 7261001
"""The advisory lock of whoever migrates."""

LOCK_S = 5.0
"""How long a migration waits for a table: whoever works with it waits behind the migration."""

_COMPATIBLE = re.compile(r"-- compatible with (\d+)\b")


class StoreError(RuntimeError):
    """The store is not as it must be: what, where and how to mend it."""


class Migration(NamedTuple):
    """One step of the schema. Programs made for version `compatible_with` or a later one go on working after it."""

    version: int
    script: str
    compatible_with: int


@cache
def migrations() -> tuple[Migration, ...]:
    """The migrations of this program, in order."""
    found = [entry for entry in files(__package__).joinpath("migrations").iterdir() if entry.name.endswith(".sql")]
    return tuple(sorted(migration(int(entry.name[:4]), entry.read_text()) for entry in found))


def migration(version: int, script: str) -> Migration:
    """A migration by its text, whose first line may say what goes on working."""
    said = _COMPATIBLE.match(script)
    return Migration(version, script, int(said[1]) if said else version)


def needed() -> int:
    """The version that this program is made for."""
    return migrations()[-1].version


def schema_version(connection: psycopg.Connection[Row]) -> int:
    """The version of a server; 0 where nothing was ever made."""
    row = connection.execute("SELECT to_regclass('schema_version')").fetchone()
    if row is None or row[0] is None:
        return 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(str(row[0])) if row else 0


def check_version(connection: psycopg.Connection[Row], place: str, program: int | None = None) -> None:
    """StoreError unless a program made for a version (this one's) may work with the server's schema."""
    have, need = schema_version(connection), program or needed()
    if have == need:
        return
    if have < need:
        raise StoreError(f"{place} has schema version {have}, this program needs {need}: run `payout store migrate`")
    oldest = _oldest_program(connection, need)
    if oldest > need:
        raise StoreError(
            f"{place} has schema version {have}, for programs of version {oldest} or later; this one is made for {need}: install the newer program"
        )


def _oldest_program(connection: psycopg.Connection[Row], program: int) -> int:
    """Of the migrations after a program's own, the highest version that one of them asks for."""
    row = connection.execute(
        "SELECT coalesce(max(coalesce(i.value::int, v.version)), 0) FROM schema_version AS v"
        " LEFT JOIN store_info AS i ON i.name = 'compatible_with ' || v.version WHERE v.version > %s",
        (program,),
    ).fetchone()
    return int(str(row[0])) if row else 0


def migrate(
    connection: psycopg.Connection[Row],
    place: str,
    steps: tuple[Migration, ...] | None = None,
    waiting: Callable[[], None] = lambda: None,
    lock_s: float = LOCK_S,
) -> list[int]:
    """Brings one server to the last of the steps (this program's), all or nothing; gives the versions that ran.

    Two may come at once: `waiting` is told to the second, who then finds nothing to do. Where a step shuts out programs that are
    connected now, or cannot have a table within `lock_s`, nothing is done.
    """
    try:
        return _migrated(connection, place, migrations() if steps is None else steps, waiting, lock_s)
    except psycopg.errors.LockNotAvailable:
        held = ", ".join(_long_at_it(connection, lock_s))
        raise StoreError(
            f"{place}: a migration waited {lock_s:g} s for a table and gave way, nothing is changed; {held or 'somebody'} had a transaction open: "
            "let it end, or end it, then migrate again"
        ) from None


def _migrated(connection: psycopg.Connection[Row], place: str, wanted: tuple[Migration, ...], waiting: Callable[[], None], lock_s: float) -> list[int]:
    with connection.transaction():
        taken = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,)).fetchone()
        if not (taken and taken[0]):
            waiting()
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        have = schema_version(connection)
        missing = [step for step in wanted if step.version > have]
        if not missing:
            return []
        if have:
            _nobody_shut_out(connection, place, have, missing)
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{round(lock_s * 1000)}ms",))
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, migrated_at timestamptz NOT NULL DEFAULT now())")
        for step in missing:
            connection.execute(step.script.encode())
            connection.execute("INSERT INTO schema_version (version) VALUES (%s)", (step.version,))
            told = f"compatible_with {step.version}", str(step.compatible_with)
            connection.execute("INSERT INTO store_info VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value", told)
    return [step.version for step in missing]


def _nobody_shut_out(connection: psycopg.Connection[Row], place: str, have: int, missing: list[Migration]) -> None:
    breaking = next((step for step in missing if step.compatible_with > have), None)
    if breaking is None:
        return
    at_work = connected(connection)
    if at_work:
        raise StoreError(
            f"{place}: migration {breaking.version} shuts out programs of version {have}, and {', '.join(at_work)} "
            f"{'is' if len(at_work) == 1 else 'are'} connected; stop them, then migrate"
        )


def _long_at_it(connection: psycopg.Connection[Row], lock_s: float) -> list[str]:
    """Whose transactions have been open for so long, by the names of their connections."""
    rows = connection.execute(
        "SELECT DISTINCT coalesce(nullif(application_name, ''), 'a connection without a name') FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND xact_start < now() - make_interval(secs => %s) ORDER BY 1",
        (lock_s,),
    )
    return [str(name) for (name,) in rows]


def connected(connection: psycopg.Connection[Row]) -> list[str]:
    """The programs that work with this server now, by the names of their connections; whoever migrates is not among them."""
    rows = connection.execute(
        "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND application_name LIKE 'payout %' AND application_name NOT LIKE 'payout migrate%' ORDER BY 1"
    )
    return [str(name) for (name,) in rows]


def at_work(connection: psycopg.Connection[Row]) -> list[str]:
    """Those of the connected programs that move a subject's rows or money: lanes, relays and bank desks."""
    return [name for name in connected(connection) if name.startswith(("payout lanes", "payout relay", "payout bank"))]
