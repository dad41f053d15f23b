"""Faults of PostgreSQL and of the way to it: killed, restarted, cut around a COMMIT, refusing, slow, full."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg

from connectors.embedded_postgres import EmbeddedPostgres
from loadtests.proxy import COMMIT, Cut

from .case import Case
from .fault import fault
from .ground import fill

AWAY = ("the store is away", "could not be published, trying again")
CUTS = 6


def _answers(case: Case) -> bool:
    try:
        return bool(case.ask("SELECT 1"))
    except psycopg.OperationalError:
        return False


@fault(
    "PostgreSQL is killed", "F41", how="SIGKILL to its main process under load, twice; its keeper starts it again and it recovers from its journal",
    counted="times that it was killed", sees="`the store is away, trying again` from every lane, then nothing: the same workers go on",
)  # fmt: skip
def server_killed(case: Case) -> int:
    """Two recoveries."""
    return _server_ended(case, signal.SIGKILL)


@fault(
    "PostgreSQL is restarted", "F40", how="a fast shutdown (SIGINT) and then an immediate one (SIGQUIT) under load; it is started again each time",
    counted="times that it ended", sees="as above",
)  # fmt: skip
def server_restarted(case: Case) -> int:
    """Both ways of `pg_ctl restart` that break sessions."""
    return _server_ended(case, signal.SIGINT, signal.SIGQUIT)


def _server_ended(case: Case, *numbers: int) -> int:
    workers = case.start(2)
    case.feed()
    ended = 0
    for share, number in zip((0.2, 0.5), numbers * 2, strict=False):
        case.until_taken(share)
        pid = case.ground.kill_server(number)
        case.until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "PostgreSQL's process is gone")  # type: ignore[misc]
        ended += 1
        case.until(lambda: _answers(case), "PostgreSQL is back")
    case.fed_all()
    return ended if case.said(*AWAY) and all(worker.code is None for worker in workers) else 0


@fault(
    "one session's process of PostgreSQL is killed", "F42", how="SIGKILL to the process of one lane's session; the server ends all sessions and recovers",
    counted="sessions killed", sees="as above",
)  # fmt: skip
def backend_killed(case: Case) -> int:
    """The whole server recovers because of one process."""
    case.start(2)
    case.feed()
    case.until_taken(0.3)
    ((pid,),) = case.ask("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'payout lanes%' LIMIT 1")
    os.kill(int(str(pid)), signal.SIGKILL)
    case.until(lambda: case.said(*AWAY) > 0, "the lanes have missed the store")
    case.until(lambda: _answers(case), "PostgreSQL is back")
    return 1


@fault(
    "sessions are ended by the administrator", "F43", how="`pg_terminate_backend` for every session of lanes and relays, five times under load",
    counted="sessions ended", sees="as above, for a moment",
)  # fmt: skip
def sessions_ended(case: Case) -> int:
    """In the middle of transactions, and between them."""
    case.start(2)
    case.feed()
    ended = 0
    for share in (0.1, 0.25, 0.4, 0.55, 0.7):
        case.until_taken(share)
        statement = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'payout%'"
        ended += int(str(case.ask(statement)[0][0]))
    return ended


@fault(
    "the connection is cut before COMMIT arrives", "F45", how=f"a proxy ends the session that sends a lane's COMMIT and keeps the message, {CUTS} times",
    counted="sessions cut", sees="`the store is away, trying again`, `attempt` 1; the frame is taken again, since the position has not moved",
)  # fmt: skip
def cut_before_commit(case: Case) -> int:
    """The frame was not committed."""
    return _cut(case, "before_server")


@fault(
    "the connection is cut before COMMIT's answer", "F44", how=f"a proxy lets a lane's COMMIT through, waits until the server has done it, and ends "
    f"the session, {CUTS} times",
    counted="sessions cut", sees="the same line; the frame is not taken again, since the position has moved",
)  # fmt: skip
def cut_before_answer(case: Case) -> int:
    """The frame was committed, and nobody said so."""
    return _cut(case, "before_client")


def _cut(case: Case, cut: Cut) -> int:
    case.start(2)
    proxy = case.ground.store_proxy
    before = proxy.cuts
    case.feed(rate=600)
    for number in range(CUTS):
        case.until_taken(0.1 * (number + 1))
        proxy.cut(COMMIT, 3, cut, client="payout lanes")
        case.until(proxy.was_cut.is_set, "a COMMIT was cut")
    case.until(lambda: case.said("the store is away") >= CUTS, "the workers have missed the store each time")
    return proxy.cuts - before


@fault(
    "connections are refused", "F41, F97", how="nothing listens at the server's address for eight seconds, and sessions that were open are cut",
    counted="attempts that were told as refused", sees="`the store is away, trying again` with `Connection refused`, further and further apart",
)  # fmt: skip
def refused(case: Case) -> int:
    """Long enough that every lane tries several times."""
    case.start(2)
    case.feed()
    case.until_taken(0.2)
    case.ground.store_proxy.refuse()
    case.for_s(8)
    case.ground.store_proxy.accept()
    return case.said("Connection refused")


@fault(
    "the way to PostgreSQL is slow", "F52", how="each packet to and from the server is 5 to 25 ms late until half of the events are taken",
    counted="packets delayed", sees="`payout_frame_duration_seconds` grows; lag grows, memory does not: less is fetched",
)  # fmt: skip
def slow(case: Case) -> int:
    """A statement takes some ten times as long."""
    proxy = case.ground.store_proxy
    before = proxy.delayed
    case.start(2)
    proxy.delay_s, proxy.jitter_s = 0.005, 0.02
    case.feed()
    case.until_taken(0.5)
    proxy.heal()
    return proxy.delayed - before


@fault(
    "PostgreSQL has no connections left", "F49", how="others take every connection that the server gives, for ten seconds, after all sessions of "
    "the workers were ended",
    counted="attempts that the server turned away", sees="`the store is away, trying again` with `too many clients already`",
)  # fmt: skip
def no_connections(case: Case) -> int:
    """The workers come back as soon as there is room."""
    case.start(2)
    case.feed()
    case.until_taken(0.2)
    others: list[psycopg.Connection[tuple[object, ...]]] = []
    ended = b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'payout%'"

    def all_taken() -> bool:
        try:
            while True:
                others.append(psycopg.connect(case.ground.direct_url("postgres")))
        except psycopg.OperationalError:
            return case.said("too many clients") > 0

    with psycopg.connect(case.ground.direct_url(case.database), autocommit=True) as kept:
        all_taken()
        kept.execute(ended)
        case.until(all_taken, "a worker was turned away")
        case.for_s(5)
        for other in others:
            other.close()
    return case.said("too many clients")


@fault(
    "PostgreSQL's disk is full", "F50", how="the server's directory is on a disk of 1 GiB (tmpfs) that is filled to its last byte under load, and "
    "emptied after ten seconds",
    counted="times that the server's log or a worker's says `No space left on device`",
    sees="`No space left on device` in PostgreSQL's log; frames are rolled back, or the server ends and recovers; workers wait or are started again "
    "by their supervisor",
)  # fmt: skip
def disk_full(case: Case) -> int:
    """A second server, on a disk of its own, takes the case's place."""
    with case.ground.disk(case.home / "disk") as disk, EmbeddedPostgres(disk / "server") as server:
        case.move_to(server)
        case.start(2)
        case.feed(rate=600)
        case.until_taken(0.3)
        ballast = fill(disk)
        case.for_s(10)
        ballast.unlink()
        case.until(lambda: _answers(case), "PostgreSQL is back")
        case.finish()
        told = (disk / "server" / "server.log").read_text(errors="replace").count("No space left on device")
    return told + case.said("No space left on device")
