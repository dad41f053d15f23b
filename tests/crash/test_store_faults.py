"""A store that goes away, cuts its sessions or answers nothing to a COMMIT costs time, never an event or an order; who was replaced writes nothing."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from loadtests.crashes import PATIENCE_S, PHASES, Ground, Site
from loadtests.proxy import COMMIT, Cut, Postgres, Proxy
from pipeline.observing import Silent
from streams.installation import opened
from streams.lanes import Lanes, utc_today


def url(site: Site) -> str:
    return site.settings.store_urls[0].get_secret_value()


def reached(site: Site, commits: int) -> None:
    """Waits until the runner has committed so much."""
    gone = threading.Event()
    with site.connect() as connection:
        for _ in range(int(PATIENCE_S / 0.005)):
            if site.commits(connection) >= commits:
                return
            gone.wait(0.005)
    raise AssertionError(f"{site.name}: {commits} commits were not reached\n{site.said()}")


def finished(undisturbed: Ground, site: Site) -> None:
    for phase in PHASES:
        site.done(phase)
    undisturbed.compared(site)


@pytest.mark.parametrize("processes", [0, 2])
def test_a_termination_finishes_the_work_in_hand_and_ends_with_success(undisturbed: Ground, processes: int) -> None:
    site = undisturbed.site(f"terminated with {processes} processes")
    process = site.start("runner", once=False, processes=processes)
    reached(site, 5)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    assert site.ended(process) == 0, site.said()
    finished(undisturbed, site)


SESSIONS = {"lanes": "application_name LIKE 'payout lanes%'", "relay": "application_name = 'payout relay'"}


@pytest.mark.parametrize("sessions", SESSIONS)
def test_sessions_killed_in_the_middle_are_made_anew_and_the_same_process_goes_on(undisturbed: Ground, sessions: str) -> None:
    site = undisturbed.site(f"sessions of {sessions} killed")
    process = site.start("runner", once=True)
    killed = 0
    for share in (0.1, 0.4, 0.7):
        reached(site, int(share * undisturbed.commits[0]))
        with site.connect() as connection:
            statement = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND {SESSIONS[sessions]}"
            row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        killed += int(str(row[0]))
    assert site.ended(process) == 0, site.said()
    assert killed >= 2
    finished(undisturbed, site)


@pytest.mark.parametrize("cut", ["before_client", "before_server"])
@pytest.mark.parametrize("nth", [4, 11])
def test_a_commit_whose_session_is_cut_is_judged_by_the_position(undisturbed: Ground, cut: Cut, nth: int) -> None:
    site = undisturbed.site(f"commit {nth} cut {cut}")
    with tempfile.TemporaryDirectory(prefix="payout-") as directory:
        folder = parse_qs(urlsplit(url(site)).query)["host"][0]
        socket = next(Path(folder).glob(".s.PGSQL.*[0-9]"))
        with opened(site.settings) as installation, Proxy(socket, Postgres, Path(directory) / socket.name) as proxy:
            proxy.cut(COMMIT, nth, cut)
            through = url(site).split("?")[0] + f"?host={quote(directory, safe='')}"
            standing = installation.standing(utc_today())
            installation.store.urls = (through,)
            lanes = Lanes(installation, lambda today: standing, range(installation.store.shards), Silent())
            lanes.patient_claim()
            while lanes.patient_step():
                pass
            lanes.close()
            assert proxy.was_cut.is_set()
    finished(undisturbed, site)


def test_a_server_that_is_killed_comes_back_and_the_same_process_goes_on(undisturbed: Ground) -> None:
    site = undisturbed.site("server killed")
    process = site.start("runner", once=True)
    reached(site, 8)
    undisturbed.kill_server()
    assert site.ended(process) == 0, site.said()
    finished(undisturbed, site)


def test_a_server_that_can_only_be_read_as_after_a_failover_is_waited_for(undisturbed: Ground) -> None:
    site = undisturbed.site("server read-only")
    process = site.start("runner", once=True)
    reached(site, 5)
    sessions = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'payout lanes%'"
    with site.connect() as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        ended = {row[0] for row in connection.execute(f"SELECT pid, pg_terminate_backend(pid) {sessions}".encode())}
        gone = threading.Event()
        while not {row[0] for row in connection.execute(f"SELECT pid {sessions} AND state = 'idle'".encode())} - ended:
            assert process.is_alive(), site.said()
            gone.wait(0.02)
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    assert ended
    assert site.ended(process) == 0, site.said()
    finished(undisturbed, site)
