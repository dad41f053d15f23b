"""The process that keeps one PostgreSQL server running for as long as somebody uses it.

Started by `connectors.embedded_postgres` as a script, with the standard library alone. Its users hold a connection to its
socket; the kernel closes it when a user dies, however it dies. When the last is gone the server is stopped; when the server dies
while users remain it is started again; when the keeper dies the kernel asks the server to stop.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

DATABASE = "payout"
PORT = 5432
SOCKET_PATH_BYTES = 103
START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 60
RESTARTS = 5
SETTLED_S = 10

SETTINGS = {
    "listen_addresses": "''",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "min_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "wal_compression": "off",
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "jit": "off",
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "1",
    "max_parallel_workers": "2",
    "autovacuum_max_workers": "1",
    "autovacuum_naptime": "30s",
    "autovacuum_vacuum_cost_limit": "400",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_destination": "'stderr'",
    "log_line_prefix": "'%m [%p] '",
    "log_checkpoints": "off",
    "log_statement": "'none'",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
"""For a laptop with two cores. The log holds neither statements nor their values: they are personal data."""

PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
NO_SETUID_FIXUP = 1 << 2
CAPABILITY_VERSION = 0x20080522
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


class Unavailable(Exception):
    """The server cannot run; the message says what, where, and what to do about it."""


class _ServerUser:
    """Whom the server runs as: PostgreSQL refuses root, so root hands it to an account without rights."""

    def __init__(self, directory: Path, binaries: Path) -> None:
        self.root = os.geteuid() == 0
        self.name = _account_name(os.geteuid())
        account = _unprivileged(directory / "data") if self.root else None
        self.uid = account.pw_uid if account else os.geteuid()
        self.gid = account.pw_gid if account else os.getegid()
        self.capability = None if account is None or _reachable(directory, binaries) else _capability()

    def give(self, path: Path) -> None:
        """Make the server's user the owner of a path and of everything in it."""
        if self.root:
            for entry in (path, *path.rglob("*")):
                os.chown(entry, self.uid, self.gid, follow_symlinks=False)

    def become(self) -> None:
        """Turn the calling process, just forked, into the server's user; it gets SIGINT (stop) when the keeper dies."""
        if self.root:
            if self.capability is not None:
                _prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP)
            os.setgroups([])
            os.setgid(self.gid)
            os.setuid(self.uid)
            if self.capability is not None:
                _keep_only(self.capability)
        if sys.platform == "linux":
            _prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise Unavailable(f"User id {uid} has no account on this machine, and PostgreSQL needs one. Run as a user with a line in /etc/passwd.") from None


def _unprivileged(data: Path) -> pwd.struct_passwd:
    with suppress(FileNotFoundError, KeyError):
        if (owner := data.stat().st_uid) != 0:
            return pwd.getpwuid(owner)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise Unavailable("PostgreSQL does not run as root, and there is neither a user 'postgres' nor a user 'nobody' to run it as. Run as an ordinary user.")


def _reachable(*paths: Path) -> bool:
    """Whether everybody may pass through the directories on the way to the paths."""
    return all(place.stat().st_mode & 0o001 for path in paths for place in (path.resolve(), *path.resolve().parents))


def _capability() -> int:
    """The capability that lets the server through directories closed to it, for no other purpose (read rather than write)."""
    with suppress(OSError, StopIteration, ValueError):
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm:"))
        for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
            if int(line.split()[1], 16) >> capability & 1:
                return capability
    raise Unavailable(
        "PostgreSQL does not run as root, and other users cannot pass through the directories above the data or the software. "
        "Open them, or run as an ordinary user."
    )


def _prctl(option: int, value: int, more: int = 0) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, more, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


def _keep_only(capability: int) -> None:
    bits = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


class _Server:
    """One data directory and the PostgreSQL process on it."""

    def __init__(self, directory: Path, binaries: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "server.log"
        self.binaries = binaries
        self.user = _ServerUser(directory, binaries)
        self.sockets = _socket_directory(self.user)
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make the data directory if there is none, and write the settings."""
        version_file = self.data / "PG_VERSION"
        brought = self._run("postgres", "--version").split()[-1].split(".")[0]
        if version_file.exists():
            found = version_file.read_text().strip()
            if found != brought:
                raise Unavailable(
                    f"{self.data} holds data of PostgreSQL {found}; this is PostgreSQL {brought}. Dump it with the old version, or name another directory."
                )
            self._take_over()
        elif self.data.exists() and any(self.data.iterdir()):
            raise Unavailable(f"{self.data} is not a PostgreSQL data directory and is not empty. Name another directory.")
        else:
            self._create()
        self._write_settings()

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        stale = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError):
            self._settle_earlier(int(stale.read_text().splitlines()[0]), stale)
        with self.log.open("ab") as log:
            arguments: list[str | Path] = [self.binaries / "postgres", "-D", self.data, "-k", self.sockets]
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                cwd=self.sockets,
                preexec_fn=self.user.become,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._ready(stale):
            if self.process.poll() is not None:
                raise Unavailable(self.why("PostgreSQL did not start"))
            if time.monotonic() > deadline:
                self.stop()
                raise Unavailable(self.why(f"PostgreSQL was not ready within {START_TIMEOUT_S} seconds"))
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server: cleanly, or after a minute without a checkpoint (the next start then recovers)."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait()

    def _ready(self, pid_file: Path) -> bool:
        with suppress(FileNotFoundError, IndexError, ValueError):
            lines = pid_file.read_text().splitlines()
            return self.process is not None and int(lines[0]) == self.process.pid and lines[7].strip() == "ready"
        return False

    def _settle_earlier(self, pid: int, pid_file: Path) -> None:
        """Stop an earlier server whose keeper was killed; drop a process id that meanwhile belongs to something else."""
        if sys.platform != "linux" or not Path(f"/proc/{pid}").exists():
            return
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while _works_in(pid, self.data):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if time.monotonic() < deadline else signal.SIGKILL)
            time.sleep(0.1)
        if Path(f"/proc/{pid}").exists() and not any(_works_in(int(other.name), self.data) for other in Path("/proc").iterdir() if other.name.isdecimal()):
            pid_file.unlink(missing_ok=True)

    def _create(self) -> None:
        new = self.directory / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self.user.give(new)
        self._run("initdb", "-D", new, "-U", DATABASE, "--encoding=UTF8", "--no-locale", "--data-checksums", "--auth=peer", "--no-instructions")
        self._run("postgres", "--single", "-D", new, "template1", given=f"CREATE DATABASE {DATABASE};\n")
        with suppress(FileNotFoundError):
            self.data.rmdir()
        new.rename(self.data)

    def _take_over(self) -> None:
        if self.user.root and self.data.stat().st_uid != self.user.uid:
            self.user.give(self.data)
        owner = self.data.stat().st_uid
        if owner != self.user.uid:
            raise Unavailable(
                f"{self.data} belongs to user id {owner}, not to user id {self.user.uid} who runs this. Run as its owner, or name another directory."
            )

    def _write_settings(self) -> None:
        """Our settings on top of initdb's. Only the account that runs this may connect."""
        mark = "include 'payout.conf'"
        main = self.data / "postgresql.conf"
        if mark not in main.read_text():
            with main.open("a") as file:
                file.write(f"\n{mark}\n")
        quoted = self.user.name.replace('"', '""')
        texts = {
            "payout.conf": "".join(f"{name} = {value}\n" for name, value in SETTINGS.items()),
            "pg_hba.conf": "local all all peer map=owner\n",
            "pg_ident.conf": f'owner "{quoted}" {DATABASE}\n',
        }
        for name, text in texts.items():
            path = self.data / name
            path.write_text(text)
            path.chmod(0o600)
            self.user.give(path)

    def _run(self, program: str, *arguments: str | Path, given: str = "") -> str:
        done = subprocess.run(
            [self.binaries / program, *arguments],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_environment(),
            cwd=self.sockets,
            preexec_fn=self.user.become,
            check=False,
        )
        if done.returncode != 0:
            with self.log.open("a") as log:
                log.write(done.stdout)
            raise Unavailable(self.why(f"{program} failed"))
        return done.stdout

    def why(self, what: str) -> str:
        """What went wrong, what the log says of it, and what to do."""
        lines = self.log.read_text(errors="replace").splitlines()[-200:] if self.log.exists() else []
        telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "ERROR", "error:", "could not"))]
        said = "; ".join((telling or lines)[-3:])
        mend = "Free some space and start again." if "No space left" in said else f"The whole log is {self.log}."
        return f"{what} in {self.data}: {said or 'it said nothing'}. {mend}"


def _works_in(pid: int, data: Path) -> bool:
    """Whether a process is a PostgreSQL server on this data directory."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data) and Path(f"/proc/{pid}/comm").read_text().startswith("postgres")
    except OSError:
        return False


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _socket_directory(user: _ServerUser) -> Path:
    """A new private directory with a short path: the path of a socket must fit into about a hundred bytes."""
    for place in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")):
        with suppress(OSError):
            path = Path(tempfile.mkdtemp(prefix="payout-", dir=place))
            if len(os.fsencode(path / f".s.PGSQL.{PORT}.lock")) <= SOCKET_PATH_BYTES:
                user.give(path)
                return path
            path.rmdir()
    raise Unavailable("No directory for temporary files with a short enough path can be written to. Set TMPDIR to one of at most 70 characters.")


class _Users:
    """The connections of those who use the server."""

    def __init__(self, directory: Path, first: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / "users"))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._connections: set[socket.socket] = set()
        self._last: socket.socket | None = None
        self._add(first)

    def watch(self, wakeup: int) -> None:
        self._selector.register(wakeup, selectors.EVENT_READ)

    def wait(self) -> bool:
        """Wait for a change; whether anybody is left."""
        for key, _ in self._selector.select():
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket):
                self._drop(key.fileobj)
            else:
                os.read(key.fd, 4096)
        if not self._connections:
            self._accept()
        return bool(self._connections)

    def refuse(self) -> None:
        """Take no further users; those who come now wait for the next keeper."""
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._add(self._listener.accept()[0])

    def _add(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        self._connections.add(connection)
        self._selector.register(connection, selectors.EVENT_READ)
        with suppress(OSError):
            connection.sendall(b"ready\n")

    def _drop(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if connection.recv(1):
                return
        self._selector.unregister(connection)
        self._connections.discard(connection)
        if self._connections:
            connection.close()
        else:
            self._last = connection  # stays open until the server has stopped: its user waits for that


def _keep(server: _Server, users: _Users, stopping: Callable[[], bool]) -> None:
    deaths, started_s = 0, time.monotonic()
    while users.wait() and not stopping():
        if server.process is not None and server.process.poll() is not None:
            deaths = deaths + 1 if time.monotonic() - started_s < SETTLED_S else 1
            if deaths > RESTARTS:
                raise Unavailable(server.why(f"PostgreSQL died {deaths} times, each within {SETTLED_S} seconds"))
            server.start()
            started_s = time.monotonic()


def main(directory: Path, binaries: Path, first_user: int) -> None:
    """Run the server of a directory until nobody uses it. The caller holds the directory's lock and hands it over."""
    stop_asked: list[int] = []
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: stop_asked.append(number))
    first = socket.socket(fileno=first_user)
    place = directory / "sockets"
    server = None
    try:
        _remove_earlier(place)
        server = _Server(directory, binaries)
        place.write_text(str(server.sockets))
        server.prepare()
        server.start()
        users = _Users(server.sockets, first)
        users.watch(readable)
        _keep(server, users, lambda: bool(stop_asked))
        users.refuse()
    except (Unavailable, OSError, subprocess.SubprocessError) as error:
        said = str(error) if isinstance(error, Unavailable) else f"The server of {directory} could not be started: {error}. See {directory / 'server.log'}."
        with suppress(OSError):
            first.sendall(json.dumps({"error": said}).encode() + b"\n")
        raise SystemExit(1) from None
    finally:
        if server is not None:
            server.stop()
            place.unlink(missing_ok=True)
            shutil.rmtree(server.sockets, ignore_errors=True)


def _remove_earlier(place: Path) -> None:
    """Remove the socket directory that a killed keeper left."""
    with suppress(FileNotFoundError):
        earlier = Path(place.read_text())
        if earlier.name.startswith("payout-") and not earlier.is_symlink():
            shutil.rmtree(earlier, ignore_errors=True)


if __name__ == "__main__":
    if os.fork():  # nobody's child: whoever starts it neither waits for it nor leaves a zombie
        os._exit(0)
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
