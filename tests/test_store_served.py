"""A served store: sessions end what takes too long, migrations run once, versions and servers are checked, and what endangers money is said."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo
from story import Story, Tale, database, person, tale
from town import Payout, quiet_afterwards

from connectors.embedded_postgres import _binaries
from connectors.postgres_server import DATABASE, Server
from connectors.store import schema
from connectors.store.connecting import Use, away, check_server, connect, dangers
from connectors.store.servers import Store, StoreAway, StoreError

__all__ = ["quiet_afterwards", "tale"]

pytestmark = pytest.mark.usefixtures("quiet_afterwards")

WAIT_S = 60
PASSWORD = "Lommeregner-77"


class Served(Server):
    """A PostgreSQL server on a port of this machine that asks for a password, as one in production does."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, mode=0o711)
        directory.joinpath("server.log").touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.tcp_port = free.getsockname()[1]
        super().__init__(directory, _binaries())
        self.prepare()
        self.start()
        with psycopg.connect(self.local, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE {DATABASE} PASSWORD '{PASSWORD}'".encode())
        self.settings("local all all peer map=owner\nhost all all 127.0.0.1/32 scram-sha-256\n")

    def settings(self, access: str) -> None:
        """Lets in whom the lines name, from the next connection on."""
        (self.directory / "pg_hba.conf").write_text(access)
        with psycopg.connect(self.local, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")

    def start(self) -> None:
        (self.directory / "postgresql.conf").write_text(
            f"listen_addresses = '127.0.0.1'\nport = {self.tcp_port}\nshared_buffers = '16MB'\nmax_connections = 30\nunix_socket_permissions = 0700\n"
        )
        super().start()

    @property
    def local(self) -> str:
        return f"postgresql://{DATABASE}@/{DATABASE}?host={self.sockets}&port={self.tcp_port}"

    @property
    def url(self) -> str:
        return f"postgresql://{DATABASE}@127.0.0.1:{self.tcp_port}/{DATABASE}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served") / "one")
    yield server
    server.stop()


@pytest.fixture
def pgpass(tmp_path: Path) -> Path:
    path = tmp_path / "pgpass"
    path.write_text(f"*:*:*:*:{PASSWORD}\n")
    path.chmod(0o600)
    return path


def until(reached: Callable[[], bool]) -> None:
    gone = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if reached():
            return
        gone.wait(0.01)
    raise AssertionError("not reached")


# Connections.


def test_a_store_is_made_and_checked_by_address_with_a_password_from_a_file(served: Served, pgpass: Path, payout: Payout, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StoreAway, match="no password supplied"):
        connect(served.url, "payout test")
    monkeypatch.setenv("PAYOUT_STORE_URLS", f"{served.url}?passfile={pgpass}")
    Store.provision([f"{served.url}?passfile={pgpass}"], 2)
    checked = payout("store", "check")
    assert (checked.code, checked.err) == (0, "")
    assert "well: 2 shards on 1 server" in checked.out


def test_a_password_in_the_settings_file_is_refused_and_not_shown(payout: Payout, tmp_path: Path):
    for address in (f"postgresql://payout:{PASSWORD}@db/payout", f"host=db password={PASSWORD}"):
        (tmp_path / "payout.toml").write_text(f'store_urls = ["{address}"]\n')
        answer = payout("settings", "--config", str(tmp_path / "payout.toml"))
        assert answer.code == 2
        assert "passfile=" in answer.err
        assert PASSWORD not in answer.err + answer.out


def test_a_statement_and_an_idle_transaction_end_by_themselves(tale: Tale):
    story = tale()
    for use in (Use.LANE, Use.WORK, Use.READ):
        with connect(story.urls[0], "payout test", use=use) as connection:
            for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
                found = connection.execute("SELECT setting::int FROM pg_settings WHERE name = %s", (name,)).fetchone()
                assert found is not None
                assert int(str(found[0])) > 0, (use, name)
    with connect(story.urls[0], "payout test") as connection:
        connection.execute("SET idle_in_transaction_session_timeout = '50ms'")
        connection.execute("BEGIN")
        with connect(story.urls[0], "watcher") as watcher:
            gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'payout test'"
            until(lambda: watcher.execute(gone.encode()).fetchone() == (True,))
        with pytest.raises(StoreAway, match="idle-in-transaction timeout"), away():
            connection.execute("SELECT 1")


def test_a_dead_peer_is_noticed_and_an_address_may_say_otherwise(served: Served, pgpass: Path):
    with connect(f"{served.url}?passfile={pgpass}", "payout test") as connection:
        told = connection.info.get_parameters()
        assert told["application_name"] == "payout test"
        row = connection.execute("SELECT current_setting('tcp_keepalives_idle')").fetchone()
        assert row is not None
        raw = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        raw.close()
    with connect(f"{served.url}?passfile={pgpass}&keepalives_idle=44", "payout test") as connection:
        raw = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 44
        raw.close()


def test_an_address_that_cannot_be_read_is_an_error_of_the_settings_and_no_defect(payout: Payout, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAYOUT_STORE_URLS", "postgresql://payout@db:port/payout?nonsense=1")
    answer = payout("status")
    assert answer.code == 3
    assert "store_urls cannot be read" in answer.err
    assert "defect" not in answer.err


# TLS: the wheel's PostgreSQL is built without OpenSSL, so TLS ends in front of it, and libpq speaks it as to any server.


@contextmanager
def tls_front(server: Served, certificate: Path, key: Path) -> Iterator[int]:
    """Answers PostgreSQL's request for TLS with a certificate and hands what follows to the server; gives the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def answer(client: socket.socket) -> None:
        asked = client.recv(8, socket.MSG_WAITALL)
        if asked[4:] != (80877103).to_bytes(4):  # SSLRequest
            client.close()
            return
        client.sendall(b"S")
        try:
            wrapped = context.wrap_socket(client, server_side=True)
        except (ssl.SSLError, OSError):
            client.close()
            return
        inner = socket.create_connection(("127.0.0.1", server.tcp_port))
        threading.Thread(target=pump, args=(wrapped, inner), daemon=True).start()
        pump(inner, wrapped)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own authority for a host name."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return paths


def test_verify_full_reaches_the_server_of_that_certificate_and_no_other(served: Served, pgpass: Path, tmp_path: Path):
    ours, other = certificate(tmp_path, "db.example"), certificate(tmp_path, "other.example")
    with tls_front(served, *ours) as port:

        def address(host: str, root: Path) -> str:
            return f"postgresql://{DATABASE}@{host}:{port}/{DATABASE}?hostaddr=127.0.0.1&passfile={pgpass}&sslmode=verify-full&sslrootcert={root}"

        with connect(address("db.example", ours[0]), "payout test") as connection:
            assert connection.pgconn.ssl_in_use
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert dangers(connection, "server 0") == []
        with pytest.raises(StoreAway, match="does not match host name"):
            connect(address("bank.example", ours[0]), "payout test")
        with pytest.raises(StoreAway, match="certificate verify failed"):
            connect(address("db.example", other[0]), "payout test")


def test_a_server_over_the_network_that_shows_no_certificate_is_said(served: Served, pgpass: Path):
    address = conninfo.make_conninfo(f"{served.url}?passfile={pgpass}", host="db.example", hostaddr="127.0.0.1")
    with connect(address, "payout test") as connection:
        (said,) = dangers(connection, "server 0")
    assert "sslmode=verify-full" in said


# What a server is.


@pytest.mark.parametrize("setting", ["fsync = off", "full_page_writes = off", "synchronous_commit = off", "zero_damaged_pages = on"])
def test_a_setting_that_endangers_money_is_said_by_the_check(served: Served, pgpass: Path, payout: Payout, monkeypatch: pytest.MonkeyPatch, setting: str):
    name, _, value = setting.partition(" = ")
    monkeypatch.setenv("PAYOUT_STORE_URLS", f"{served.url}?passfile={pgpass}")
    Store.provision([f"{served.url}?passfile={pgpass}"], 2)
    try:
        with psycopg.connect(served.local, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
            connection.execute("SELECT pg_reload_conf()")
            until(lambda: connection.execute("SELECT setting FROM pg_settings WHERE name = %s", (name,)).fetchone() == (value,))
        until(lambda: f"{name} is {value}" in payout("store", "check").err)
        assert payout("store", "check").code == 1
    finally:
        with psycopg.connect(served.local, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM RESET {name}".encode())
            connection.execute("SELECT pg_reload_conf()")
            until(lambda: connection.execute("SELECT setting FROM pg_settings WHERE name = %s", (name,)).fetchone() != (value,))


class _Older:
    """A connection to a server of an older version."""

    class info:  # noqa: N801
        server_version = 150_018


def test_a_server_older_than_the_oldest_is_refused_with_both_versions():
    with pytest.raises(StoreError, match="server 0 is PostgreSQL 15; the store needs 16 or newer"):
        check_server(_Older(), "server 0")  # type: ignore[arg-type]


# Migrations.


def empty_database() -> str:
    """A database in which nothing was ever made."""
    url = database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


MIGRATE = [sys.executable, "-m", "streams.cli", "store", "migrate"]


def test_of_two_who_migrate_at_once_one_does_it_and_the_other_waits_and_says_so(tmp_path: Path):
    url = empty_database()
    environment = {**os.environ, "PAYOUT_STORE_URLS": url, "PAYOUT_HOME": str(tmp_path)}
    with psycopg.connect(url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", (schema.LOCK,))
        both = [subprocess.Popen(MIGRATE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        with psycopg.connect(url, autocommit=True) as watcher:
            waiting = (
                "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
                " WHERE l.locktype = 'advisory' AND NOT l.granted AND a.datname = current_database()"
            )
            until(lambda: watcher.execute(waiting.encode()).fetchone() == (2,))
    said = [process.communicate(timeout=WAIT_S) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all("is being migrated by another process, waiting for it" in err for _, err in said)
    first, second = sorted(out for out, _ in said)
    assert [f"server 0: migrated to version {step.version}" for step in schema.migrations()] == first.splitlines()
    assert second == "the schema is of this version already\n"


def test_a_migration_that_fails_leaves_nothing_of_itself_or_of_those_before_it(tale: Tale):
    story, now = tale(), schema.needed()
    steps = (schema.migration(now + 1, "CREATE TABLE half (a int)"), schema.migration(now + 2, "SELECT 1 / 0"))
    with story.connection() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            schema.migrate(connection, "here", steps)
        assert schema.schema_version(connection) == now
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


@pytest.fixture
def payout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tale: Tale) -> Payout:
    """The command, for an installation of its own."""
    return Payout(monkeypatch, capsys, tale())


def at(story: Story, version: int, script: str = "SELECT 1") -> None:
    """Applies one more migration to a store, as a newer program does."""
    with story.connection() as connection:
        schema.migrate(connection, "here", (schema.migration(version, script),))


@pytest.mark.parametrize("command", ["run", "worker"])
def test_work_on_a_store_that_is_not_migrated_or_too_new_ends_with_3_both_versions_and_the_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tale: Tale, command: str
):
    story, now = tale(), schema.needed()
    payout = Payout(monkeypatch, capsys, story)
    if command == "worker":
        monkeypatch.setenv("PAYOUT_KAFKA__SERVERS", "127.0.0.1:1")
    with story.connection() as connection:
        connection.execute("DELETE FROM schema_version WHERE version = %s", (now,))
    answer = payout(command)
    assert answer.code == 3
    assert f"has schema version {now - 1}, this program needs {now}: run `payout store migrate`" in answer.err
    with story.connection() as connection:
        connection.execute("INSERT INTO schema_version (version) VALUES (%s), (%s)", (now, now + 1))
    answer = payout(command)
    assert answer.code == 3
    assert f"has schema version {now + 1}, for programs of version {now + 1} or later; this one is made for {now}: install the newer program" in answer.err


def test_a_program_goes_on_beside_a_migration_that_only_adds_and_the_digest_is_equal(tale: Tale):
    undisturbed, story, now = tale(), tale(), schema.needed()
    people = [person(f"person-{number}", 1_000 * number) for number in range(40, 100)]
    undisturbed.hears(*people)
    story.hears(*people[:30])
    at(story, now + 1, f"-- compatible with {now}: it only adds\nALTER TABLE payment_order ADD COLUMN note text;\nCREATE TABLE note_kept (note text)")
    story.hears(*people[30:45])  # the same lanes go on
    assert Store.open(story.urls).shards == story.shards  # and a program that starts again is let in
    story.restart()
    story.hears(*people[45:])
    story.pay()
    story.audit()
    assert story.digest() == undisturbed.digest()


def test_a_program_is_refused_by_a_migration_that_says_nothing_or_asks_for_a_newer_one(tale: Tale):
    for script in ("ALTER TABLE payment_order RENAME COLUMN reason TO because", "-- compatible with {next}"):
        story, now = tale(), schema.needed()
        at(story, now + 1, script.format(next=now + 1))
        at(story, now + 2, f"-- compatible with {now}")
        with pytest.raises(StoreError, match=f"for programs of version {now + 1} or later; this one is made for {now}"):
            Store.open(story.urls)


def test_a_migration_that_shuts_programs_out_waits_until_they_are_stopped(tale: Tale):
    story, now = tale(), schema.needed()
    story.hears(person("ann"))
    breaking = (schema.migration(now + 1, "ALTER TABLE facts ADD COLUMN broken int"),)
    with story.connection() as connection:
        with pytest.raises(StoreError, match=rf"migration {now + 1} shuts out programs of version {now}, .* payout lanes \d+ are connected"):
            schema.migrate(connection, "here", breaking)
        assert schema.schema_version(connection) == now
        story.close()
        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE ANY ('{payout lanes%,payout budgets%}')"
        until(lambda: connection.execute(gone.encode()).fetchone() == (True,))
        assert schema.migrate(connection, "here", breaking) == [now + 1]


def test_a_migration_gives_way_to_who_reads_for_long_and_names_them_so_that_nobody_waits_behind_it(tale: Tale):
    story, now = tale(), schema.needed()
    step = (schema.migration(now + 1, f"-- compatible with {now}\nALTER TABLE payment_order ADD COLUMN note text"),)
    with story.connection() as connection, connect(story.urls[0], "payout audit") as reader:
        with reader.transaction():
            reader.execute("SELECT FROM payment_order")
            with pytest.raises(StoreError, match=r"waited 0\.2 s for a table and gave way, nothing is changed; payout audit had a transaction open"):
                schema.migrate(connection, "here", step, lock_s=0.2)
            assert schema.schema_version(connection) == now
            story.hears(person("ann"))
        assert schema.migrate(connection, "here", step) == [now + 1]
    assert [order.subject for order in story.orders()] == ["ann"]


def test_every_migration_of_today_says_with_which_older_programs_it_goes():
    for step in schema.migrations():
        if step.version > 5:
            assert step.script.startswith("-- compatible with "), step.version
        assert step.compatible_with <= step.version


# Several servers.


@pytest.fixture
def two(served: Served, pgpass: Path, tmp_path: Path) -> Iterator[tuple[Served, list[str]]]:
    """A server that goes away, and a list of addresses of which it is the second."""
    with ExitStack() as stack:
        other = Served(tmp_path / "two")
        stack.callback(other.stop)
        with psycopg.connect(served.local, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS pair WITH (FORCE)")
            connection.execute("CREATE DATABASE pair")
        first = served.url.removesuffix(DATABASE) + f"pair?passfile={pgpass}"
        yield other, [first, f"{other.url}?passfile={pgpass}"]


COMMANDS = [("status",), ("audit",), ("orders",), ("explain", "ann"), ("store", "check"), ("store", "migrate"), ("run", "--until-idle")]


def test_with_one_server_away_every_command_ends_with_3_and_names_it_and_goes_on_when_it_is_back(
    two: tuple[Served, list[str]], payout: Payout, monkeypatch: pytest.MonkeyPatch
):
    other, urls = two
    monkeypatch.setenv("PAYOUT_STORE_URLS", " ".join(urls))
    Store.provision(urls, 2)
    assert payout("status").code == 0
    other.stop()
    for command in COMMANDS:
        answer = payout(*command)
        assert answer.code == 3, command
        assert "does not answer" in answer.err, command
        assert f"port {other.tcp_port}" in answer.err, command
    other.start()
    assert payout("run", "--until-idle").code == 0
    assert payout("audit").code == 0


def test_the_check_names_every_server_that_is_away_and_migration_reaches_each_server(
    two: tuple[Served, list[str]], payout: Payout, monkeypatch: pytest.MonkeyPatch
):
    other, urls = two
    monkeypatch.setenv("PAYOUT_STORE_URLS", " ".join(urls))
    assert [f"server {server}: migrated to version {step.version}" for server in range(2) for step in schema.migrations()] == payout(
        "store", "migrate"
    ).out.splitlines()
    Store.provision(urls, 2)
    with psycopg.connect(other.local, autocommit=True) as connection:
        connection.execute("DELETE FROM schema_version WHERE version = %s", (schema.needed(),))
    answer = payout("store", "check")
    assert answer.code == 1
    assert "server 1 " in answer.err
    assert "payout store migrate" in answer.err


def test_addresses_in_another_order_are_refused(two: tuple[Served, list[str]], payout: Payout, monkeypatch: pytest.MonkeyPatch):
    _, urls = two
    Store.provision(urls, 2)
    monkeypatch.setenv("PAYOUT_STORE_URLS", " ".join(reversed(urls)))
    answer = payout("status")
    assert answer.code == 3
    assert "provisioned with server = " in answer.err
