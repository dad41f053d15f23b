"""The embedded server: there while somebody uses it, gone when nobody does, and nobody else's."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import psycopg
import pytest

from connectors.embedded_postgres import EmbeddedPostgres, Unavailable, main_process
from connectors.postgres_account import CAP_DAC_READ_SEARCH, NO_SETUID_FIXUP, PR_SET_SECUREBITS, keep_only, prctl

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534
TIMEOUT_S = 60

USER = """
import sys
from pathlib import Path
from connectors.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.readline()
print("stopped", flush=True)
"""

ASK = """
import sys
from pathlib import Path
import psycopg
from connectors.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server, psycopg.connect(server.url) as connection:
    print(*connection.execute("SELECT 6 * 7, current_setting('data_directory')").fetchone())
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose server was made, used and stopped."""
    directory = tmp_path_factory.mktemp("made") / "store"
    EmbeddedPostgres(directory).start().stop()
    return directory


@pytest.fixture
def directory(made: Path, tmp_path: Path) -> Path:
    """A copy of a made directory, which saves making one."""
    copy = tmp_path / "store"
    subprocess.run(["cp", "-a", str(made), str(copy)], check=True)
    return copy


@contextmanager
def another_user(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str, IO[str]]]:
    """Another process that uses the server until a line is written to it."""
    with subprocess.Popen([sys.executable, "-c", USER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process, process.stdout.readline().strip(), process.stdin


def server_process(directory: Path) -> psutil.Process:
    return psutil.Process(main_process(directory))


def family(directory: Path) -> list[psutil.Process]:
    """The keeper, the server and its processes."""
    server = server_process(directory)
    keeper = server.parent()
    assert keeper is not None
    return [keeper, server, *server.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=TIMEOUT_S)
    return not alive


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
        assert row is not None
        return row[0]


def test_a_fresh_directory_gets_a_server_that_is_gone_afterwards(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "store") as server:
        processes = family(tmp_path / "store")
        sockets = Path((tmp_path / "store" / "sockets").read_text())
        assert ask(server.url, "SELECT 6 * 7") == 42
        assert sockets.stat().st_mode & 0o077 == 0
    assert gone(processes)
    assert not sockets.exists()


def test_the_server_is_set_up_for_exact_and_durable_work(directory: Path) -> None:
    expected = {
        "server_version_num": "18",
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "jit": "off",
        "listen_addresses": "",
        "TimeZone": "UTC",
    }
    with EmbeddedPostgres(directory) as server, psycopg.connect(server.url) as connection:
        for name, value in expected.items():
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row is not None
            assert row[0][: len(value) or None] == value
        assert connection.execute("SELECT datcollate, datlocprovider FROM pg_database WHERE datname = 'payout'").fetchone() == ("C", "c")


def test_what_was_committed_is_there_at_the_next_start(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(directory) as server:
        assert ask(server.url, "SELECT answer FROM kept") == 42


def test_a_path_of_two_hundred_characters_is_no_obstacle(made: Path, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * (200 - len(str(tmp_path)) - 102))
    assert len(str(directory)) == 200
    directory.parent.mkdir()
    subprocess.run(["cp", "-a", str(made), str(directory)], check=True)
    with EmbeddedPostgres(directory) as server:
        assert ask(server.url, "SELECT 6 * 7") == 42


def test_a_path_with_spaces_and_quotes_and_letters_of_any_kind_is_no_obstacle(tmp_path: Path) -> None:
    directory = tmp_path / 'Ærø\'s "store" %20 #1 \\ 東京'
    with EmbeddedPostgres(directory) as server:
        assert ask(server.url, "SELECT 6 * 7") == 42


def test_starting_twice_in_one_process_is_one_server(directory: Path) -> None:
    first = EmbeddedPostgres(directory).start()
    second = EmbeddedPostgres(directory).start()
    processes = family(directory)
    assert first.url == second.url == first.start().url
    first.stop()
    assert ask(second.url, "SELECT 6 * 7") == 42
    second.stop()
    second.stop()
    assert gone(processes)
    with pytest.raises(RuntimeError, match="not started"):
        _ = second.url


def test_a_second_process_joins_and_the_last_one_stops_the_server(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server, another_user(directory) as (_, url, other_input):
        assert url == server.url
        processes = family(directory)
        server.stop()
        assert ask(url, "SELECT 6 * 7") == 42
        other_input.write("\n")
        other_input.flush()
        assert gone(processes)


def test_many_processes_that_start_at_once_share_one_server(directory: Path) -> None:
    commands = [sys.executable, "-c", ASK, str(directory)]
    running = [subprocess.Popen(commands, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) for _ in range(6)]
    said = [process.communicate(timeout=TIMEOUT_S)[0] for process in running]
    assert said == [f"42 {directory / 'data'}\n"] * 6
    EmbeddedPostgres(directory).start().stop()


def test_a_killed_user_leaves_no_server(directory: Path) -> None:
    with another_user(directory) as (process, url, _):
        processes = family(directory)
        assert ask(url, "SELECT 6 * 7") == 42
        process.send_signal(signal.SIGKILL)
        assert gone(processes)


def test_a_process_that_ends_without_stopping_leaves_no_server(directory: Path) -> None:
    script = "import sys; from pathlib import Path; from connectors.embedded_postgres import EmbeddedPostgres; EmbeddedPostgres(Path(sys.argv[1])).start()"
    done = subprocess.run([sys.executable, "-X", "dev", "-c", script, str(directory)], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout + done.stderr == ""
    assert not (directory / "data" / "postmaster.pid").exists()


def test_ctrl_c_reaches_the_user_and_not_the_server(directory: Path) -> None:
    with (
        EmbeddedPostgres(directory) as server,
        subprocess.Popen([sys.executable, "-c", USER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd=ROOT) as user,
    ):
        assert user.stdout is not None
        assert user.stdin is not None
        user.stdout.readline()
        os.killpg(user.pid, signal.SIGINT)
        user.stdin.close()  # a signal that comes just before the read of a line begins is seen only when that read ends
        user.wait(TIMEOUT_S)
        assert ask(server.url, "SELECT 6 * 7") == 42


def test_a_killed_server_comes_back_with_what_was_committed(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        killed = server_process(directory)
        killed.kill()
        assert gone([killed])
        with EmbeddedPostgres(directory) as again:
            assert ask(again.url, "SELECT answer FROM kept") == 42
            assert again.url == server.url


def test_a_server_that_is_killed_again_while_it_starts_comes_back_too(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        keeper, first = family(directory)[:2]
        first.kill()
        assert gone([first])
        again = next(child for _ in iter(int, 1) for child in keeper.children() if child.pid != first.pid)  # as soon as it is there, long before it is ready
        again.kill()
        assert gone([again])
        with EmbeddedPostgres(directory) as joined:
            assert ask(joined.url, "SELECT 6 * 7") == 42
            assert joined.url == server.url


def test_a_killed_keeper_takes_the_server_with_it(directory: Path) -> None:
    server = EmbeddedPostgres(directory).start()
    processes = family(directory)
    processes[0].kill()
    assert gone(processes)
    with EmbeddedPostgres(directory) as again:
        assert ask(again.url, "SELECT 6 * 7") == 42
    server.stop()


def test_keeper_and_server_killed_at_once_leave_nothing_that_hinders_the_next_start(directory: Path) -> None:
    server = EmbeddedPostgres(directory).start()
    sockets = Path((directory / "sockets").read_text())
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    processes = family(directory)
    for process in processes[:2]:
        process.suspend()
    for process in processes[:2]:
        process.kill()
    with EmbeddedPostgres(directory) as again:
        assert ask(again.url, "SELECT answer FROM kept") == 42
    server.stop()
    assert gone(processes)
    assert not sockets.exists()


def test_a_process_id_that_meanwhile_belongs_to_another_is_no_obstacle(directory: Path) -> None:
    owner = (directory / "data").stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=owner) as other:
        (directory / "data" / "postmaster.pid").write_text(f"{other.pid}\n{directory / 'data'}\n1700000000\n5432\n/nowhere\n\n 1 1\nready\n")
        with EmbeddedPostgres(directory) as server:
            assert ask(server.url, "SELECT 6 * 7") == 42
        assert other.poll() is None
        other.kill()


def test_nobody_else_may_connect(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        assert ask(server.url, "SELECT current_user::text") == "payout"
        mapping = (directory / "pg_ident.conf").read_text()
        assert mapping == f'owner "{pwd.getpwuid(os.geteuid()).pw_name}" payout\n'
        with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
            psycopg.connect(server.url.replace("payout@", "postgres@"))


def test_the_servers_log_holds_no_values(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server, psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE person (id text PRIMARY KEY)")
        for _ in range(2):
            try:
                connection.execute("INSERT INTO person VALUES ('canary-070150')")
            except psycopg.errors.UniqueViolation as error:
                refused = error
        assert "canary-070150" in str(refused)
    log = (directory / "server.log").read_text()
    assert "duplicate key" in log
    assert "canary" not in log


def test_data_of_another_version_is_refused_with_what_to_do(directory: Path) -> None:
    (directory / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(Unavailable, match=r"data holds data of PostgreSQL 16; this is PostgreSQL 18\. Dump it with the old version"):
        EmbeddedPostgres(directory).start()


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "letter.txt").write_text("Dear")
    with pytest.raises(Unavailable, match="is not a PostgreSQL data directory and is not empty"):
        EmbeddedPostgres(tmp_path).start()
    assert (tmp_path / "data" / "letter.txt").read_text() == "Dear"


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"file/store cannot hold a PostgreSQL server: Not a directory\. Name a directory"):
        EmbeddedPostgres(tmp_path / "file" / "store").start()


def test_making_that_fails_says_why_and_can_be_tried_again(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    done = subprocess.run([sys.executable, "-c", limit + ASK, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert f"initdb failed in {tmp_path / 'data'}: " in done.stderr
    assert "File too large" in done.stderr
    assert f"The whole log is {tmp_path / 'server.log'}." in done.stderr
    with EmbeddedPostgres(tmp_path) as server:
        assert ask(server.url, "SELECT 6 * 7") == 42


def test_a_damaged_setting_is_told_from_the_servers_log(directory: Path) -> None:
    (directory / "data" / "postgresql.auto.conf").write_text("shared_buffers = much\n")
    with pytest.raises(Unavailable, match="PostgreSQL did not start in .*shared_buffers"):
        EmbeddedPostgres(directory).start()


def as_nobody() -> None:
    """Become an unprivileged user, one who may pass through the directories above the interpreter and do nothing else."""
    prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    keep_only(CAP_DAC_READ_SEARCH)


def test_an_unprivileged_user_needs_no_help() -> None:
    home = Path(tempfile.mkdtemp())
    become: Callable[[], None] | None = None
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
        become = as_nobody
    try:
        done = subprocess.run(
            [sys.executable, "-c", ASK, str(home / "store")],
            capture_output=True,
            text=True,
            cwd=ROOT,
            preexec_fn=become,
            check=False,
        )
        assert (done.stdout, done.stderr) == (f"42 {home / 'store' / 'data'}\n", "")
        assert {path.stat().st_uid for path in (home / "store").rglob("*")} == {NOBODY if become else os.geteuid()}
    finally:
        shutil.rmtree(home)


def test_a_home_that_only_its_owner_may_enter_works_for_root_too(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    with EmbeddedPostgres(tmp_path / "closed" / "store") as server:
        assert ask(server.url, "SELECT 6 * 7") == 42
        assert os.geteuid() != 0 or server_process(tmp_path / "closed" / "store").uids().effective != 0
    assert (tmp_path / "closed").stat().st_mode & 0o777 == 0o700
