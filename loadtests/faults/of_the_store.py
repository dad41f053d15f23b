"""Faults of PostgreSQL and of the way to it: killed, restarted, cut around a COMMIT, refusing, silent, slow, locked, deadlocked, read-only, full."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from connectors.embedded_postgres import EmbeddedPostgres, main_process
from loadtests.proxy import COMMIT, Cut

from .case import Case
from .disk import FULL, below, disk
from .fault import fault
from .proving import prove

AWAY = ("the store is away", "could not be published, trying again")
CUTS = 6
SESSIONS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'payout%'"
ROOM_BYTES = 256 << 10
"""Behind which no file can be written where the disk is full by a limit: the server's log stays shorter, its journal does not."""


@fault(
    "PostgreSQL is killed", "F41", how="SIGKILL to its main process under load, twice; its keeper starts it again and it recovers from its journal",
    counted="times that it was killed", sees="`the store is away, trying again` from every lane, then nothing: the same workers go on",
)  # fmt: skip
def server_killed(case: Case) -> int:
    """Two recoveries."""
    return _server_ended(case, signal.SIGKILL, signal.SIGKILL)


@fault(
    "PostgreSQL is restarted", "F40", how="a fast shutdown (SIGINT) and then an immediate one (SIGQUIT) under load; it is started again each time",
    counted="times that it ended", sees="as above",
)  # fmt: skip
def server_restarted(case: Case) -> int:
    """Both ways of `pg_ctl restart` that break sessions."""
    return _server_ended(case, signal.SIGINT, signal.SIGQUIT)


def _server_ended(case: Case, *numbers: int) -> int:
    workers, ended = case.workers.running, 0
    for share, number in zip((0.2, 0.5), numbers, strict=True):
        case.until_taken(share)
        pid = case.ground.kill_server(number)
        case.until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "PostgreSQL's process is gone")  # type: ignore[misc]
        ended += 1
        case.until(lambda: case.store_answers(), "PostgreSQL is back")
    case.fed_all()
    return ended if case.workers.said(*AWAY) and all(worker.code is None for worker in workers) else 0


@fault(
    "one session's process of PostgreSQL is killed", "F42", how="SIGKILL to the process of one lane's session; the server ends all sessions and recovers",
    counted="sessions killed", sees="as above", after=0.3,
)  # fmt: skip
def backend_killed(case: Case) -> int:
    """The whole server recovers because of one process."""
    os.kill(case.count(f"SELECT min(pid) {SESSIONS} AND application_name LIKE 'payout lanes%'"), signal.SIGKILL)
    case.until(lambda: case.workers.said(*AWAY) > 0, "the lanes have missed the store")
    case.until(lambda: case.store_answers(), "PostgreSQL is back")
    return 1


@fault(
    "sessions are ended by the administrator", "F43", how="`pg_terminate_backend` for every session of lanes and relays, five times under load",
    counted="sessions ended", sees="as above, for a moment", after=0,
)  # fmt: skip
def sessions_ended(case: Case) -> int:
    """In the middle of transactions, and between them."""
    ended = 0
    for share in (0.1, 0.25, 0.4, 0.55, 0.7):
        case.until_taken(share)
        ended += case.count(f"SELECT count(pg_terminate_backend(pid)) {SESSIONS}")
    return ended


@fault(
    "the connection is cut before COMMIT arrives", "F45", after=0.05, lasts_s=15,
    how=f"a proxy ends the session that sends a lane's COMMIT and keeps the message, {CUTS} times",
    counted="sessions cut", sees="`the store is away, trying again`, `attempt` 1; the frame is taken again, since the position has not moved",
)  # fmt: skip
def cut_before_commit(case: Case) -> int:
    """The frame was not committed."""
    return _cut(case, "before_server")


@fault(
    "the connection is cut before COMMIT's answer", "F44", how=f"a proxy lets a lane's COMMIT through, waits until the server has done it, and ends "
    f"the session, {CUTS} times",
    counted="sessions cut", sees="the same line; the frame is not taken again, since the position has moved", after=0.05, lasts_s=15,
)  # fmt: skip
def cut_before_answer(case: Case) -> int:
    """The frame was committed, and nobody said so."""
    return _cut(case, "before_client")


def _cut(case: Case, cut: Cut) -> int:
    proxy = case.ground.store_proxy
    before = proxy.cuts
    for _ in range(CUTS):
        proxy.cut(COMMIT, 2, cut, client="payout lanes")
        case.until(proxy.was_cut.is_set, "a COMMIT was cut")
    case.until(lambda: case.workers.said("the store is away") >= CUTS, "the workers have missed the store each time")
    return proxy.cuts - before


@fault(
    "connections are refused", "F41, F83", how="nothing listens at the server's address for eight seconds, and sessions that were open are cut",
    counted="attempts that were told as refused", sees="`the store is away, trying again` with `Connection refused`, further and further apart",
)  # fmt: skip
def refused(case: Case) -> int:
    """Long enough that every lane tries several times."""
    case.ground.store_proxy.refuse()
    case.for_s(8)
    case.ground.store_proxy.accept()
    return case.workers.said("Connection refused")


@fault(
    "PostgreSQL is there and silent", "F52", how="the proxy before it passes nothing on and closes nothing for 35 seconds, longer than the "
    "server waits for the next statement of a transaction",
    counted="sessions held", sees="lag grows, and nothing is said until the server has ended a transaction that stood still; "
    "then `the store is away, trying again`", lasts_s=12,
)  # fmt: skip
def silent(case: Case) -> int:
    """A half-open network."""
    held = case.ground.store_proxy.open_sessions
    case.ground.store_proxy.hold()
    case.for_s(35)
    case.ground.store_proxy.resume()
    return held


@fault(
    "the way to PostgreSQL is slow", "F52", how="each packet to and from the server is 5 to 25 ms late until half of the events are taken",
    counted="packets delayed", sees="`payout_frame_duration_seconds` grows; lag grows, memory does not: less is fetched", after=0,
)  # fmt: skip
def slow(case: Case) -> int:
    """A statement takes some ten times as long."""
    proxy = case.ground.store_proxy
    before = proxy.delayed
    proxy.delay_s, proxy.jitter_s = 0.005, 0.02
    case.until_taken(0.5)
    proxy.heal()
    return proxy.delayed - before


@fault(
    "PostgreSQL has no connections left", "F49", how="others take every connection that the server gives, for five seconds, after all sessions of "
    "the workers were ended",
    counted="attempts that the server turned away", sees="`the store is away, trying again` with `too many clients already`",
)  # fmt: skip
def no_connections(case: Case) -> int:
    """The workers come back as soon as there is room."""
    with ExitStack() as stack, psycopg.connect(case.ground.direct_url(case.database), autocommit=True) as kept:

        def all_taken() -> bool:
            try:
                while True:
                    stack.enter_context(psycopg.connect(case.ground.direct_url("postgres")))
            except psycopg.OperationalError:
                return case.workers.said("too many clients") > 0

        all_taken()
        kept.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}".encode())
        case.until(all_taken, "a worker was turned away")
        case.for_s(5)
    return case.workers.said("too many clients")


@fault(
    "others lock what a lane needs, and wait for what it has", "F46", how="somebody else's transaction locks a table that lanes write, and then asks for the "
    "row of a lane that waits for it, three times; the server finds the deadlock and ends the lane's transaction",
    counted="deadlocks that the server has found", sees="`deadlock detected` in `the store is away, trying again`", lasts_s=12,
)  # fmt: skip
def deadlock(case: Case) -> int:
    """Whoever waits first looks for a deadlock first, so the other one waits long before it looks."""
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    waiting = f"SELECT min(pid) {SESSIONS} AND wait_event_type = 'Lock' AND application_name LIKE 'payout lanes%'"
    before = case.count(deadlocks)
    for _ in range(3):
        with psycopg.connect(case.url, application_name="faults") as other, other.transaction():
            other.execute("SET LOCAL deadlock_timeout = '1h'")
            other.execute("LOCK TABLE facts IN EXCLUSIVE MODE")
            case.until(lambda: case.ask(waiting) != [(None,)], "a lane waits for the table")
            other.execute("SELECT 1 FROM lane FOR UPDATE")
    return case.count(deadlocks) - before


@contextmanager
def _read_only(case: Case) -> Iterator[None]:
    """As after a failover to a copy that is not promoted yet: everything can be read and nothing written."""
    case.ground.execute(f"ALTER DATABASE {case.database} SET default_transaction_read_only = on")
    case.count(f"SELECT count(pg_terminate_backend(pid)) {SESSIONS}")
    yield
    case.ground.execute(f"ALTER DATABASE {case.database} RESET default_transaction_read_only")
    case.count(f"SELECT count(pg_terminate_backend(pid)) {SESSIONS}")


@fault(
    "PostgreSQL can be read and not written", "F51", how="every session is ended, and new ones may only read, as after a failover to a copy that is not "
    "promoted yet; ten seconds later they may write",
    counted="attempts to write that were refused", sees="`cannot execute UPDATE in a read-only transaction` in `the store is away, trying again`", lasts_s=12,
)  # fmt: skip
def read_only(case: Case) -> int:
    """The same workers go on when they may write."""
    workers = case.workers.running
    with _read_only(case):
        case.for_s(10)
    case.settle()
    return case.workers.said("read-only transaction") if all(worker.code is None for worker in workers) else 0


@fault(
    "PostgreSQL refuses a row for a reason that nobody has foreseen", "F06, F66",
    how="a trigger refuses every frame of one shard for ten seconds, with an error that no code knows",
    counted="workers that ended by it", sees="the worker ends with exit code 3 and the error; its supervisor starts it again, and the shard waits: "
    "nothing is skipped", lasts_s=12,
)  # fmt: skip
def unforeseen(case: Case) -> int:
    """A worker that does not know what to do ends rather than go on."""
    case.ask("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'unforeseen'; END $$")
    case.ask("CREATE TRIGGER refuse BEFORE INSERT ON frame FOR EACH ROW WHEN (NEW.shard = 0) EXECUTE FUNCTION refuse()")
    end_s = time.monotonic() + 10
    case.until(lambda: time.monotonic() > end_s and case.workers.restarts > 0, "a worker ends")
    case.ask("DROP FUNCTION refuse CASCADE")
    return sum(worker.code == 3 and worker.said("unforeseen") > 0 for worker in case.workers.all)


@fault(
    "PostgreSQL's disk is full", "F50", how="the server's directory is on a disk of its own that is filled to its last byte under load (tmpfs; without "
    "the right to mount one: no file may grow), and emptied after eight seconds",
    counted="times that the server's log or a worker's says that nothing can be written",
    sees="`No space left on device` in PostgreSQL's log; frames are rolled back, or the server ends and recovers; workers wait or are started again "
    "by their supervisor", after=None,
)  # fmt: skip
def disk_full(case: Case) -> int:
    """A second server, on a disk of its own, takes the case's place."""
    with disk(case.home / "disk", mount=case.ground.mount) as full, EmbeddedPostgres(full.place / "server") as server:
        case.move_to(server)
        case.under_way(0.3, 10)
        full.fill(below(main_process(server.directory)), ROOM_BYTES)
        case.for_s(8)
        full.empty()
        case.until(lambda: case.store_answers(), "PostgreSQL is back")
        case.rest()
        prove(case)
        told = (full.place / "server" / "server.log").read_text(errors="replace")
    return sum(told.count(word) for word in FULL) + case.workers.said(*FULL)
