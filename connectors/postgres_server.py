"""One PostgreSQL server on one data directory: made, started, stopped, and what its log says when it fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from connectors.postgres_account import ServerAccount, Unavailable

DATABASE = "payout"
PORT = 5432
SOCKET_PATH_BYTES = 103
START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 60

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
    "max_parallel_workers_per_gather": "0",
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
"""For a laptop with two cores, which the lanes fill already: no query takes a second one. The log holds no statements and no values."""


class Server:
    """One data directory and the PostgreSQL process on it."""

    def __init__(self, directory: Path, binaries: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "server.log"
        self._log_from = self.log.stat().st_size
        self.binaries = binaries
        self.account = ServerAccount(directory, binaries)
        self.sockets = _socket_directory(self.account)
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
            self.process = subprocess.Popen(
                [self.binaries / "postgres", *self._places()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                cwd=self.sockets,
                preexec_fn=self.account.become,
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

    def _places(self) -> list[str]:
        files = {"config_file": "postgresql.conf", "hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}
        places = [f"--{name}={self.directory / file}" for name, file in files.items()]
        return ["-D", str(self.data), "-k", str(self.sockets), *places]

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
        self.account.give(new)
        self._run("initdb", "-D", new, "-U", DATABASE, "--encoding=UTF8", "--no-locale", "--data-checksums", "--auth=peer", "--no-instructions")
        self._run("postgres", "--single", "-D", new, "template1", given=f"CREATE DATABASE {DATABASE};\n")
        with suppress(FileNotFoundError):
            self.data.rmdir()
        new.rename(self.data)

    def _take_over(self) -> None:
        if self.account.root and self.data.stat().st_uid != self.account.uid:
            self.account.give(self.data)
        owner = self.data.stat().st_uid
        if owner != self.account.uid:
            raise Unavailable(
                f"{self.data} belongs to user id {owner}, not to user id {self.account.uid} who runs this. Run as its owner, or name another directory."
            )

    def _write_settings(self) -> None:
        """Our settings, and that only the account that runs this may connect; outside the data, where the server cannot change them."""
        quoted = self.account.name.replace('"', '""')
        texts = {
            "postgresql.conf": "".join(f"{name} = {value}\n" for name, value in SETTINGS.items()),
            "pg_hba.conf": "local all all peer map=owner\n",
            "pg_ident.conf": f'owner "{quoted}" {DATABASE}\n',
        }
        for name, text in texts.items():
            path = self.directory / name
            path.write_text(text)
            path.chmod(0o644)

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
            preexec_fn=self.account.become,
            check=False,
        )
        if done.returncode != 0:
            with self.log.open("a") as log:
                log.write(done.stdout)
            raise Unavailable(self.why(f"{program} failed"))
        return done.stdout

    def why(self, what: str) -> str:
        """What went wrong, what the log says of it, and what to do."""
        lines = self.log.read_bytes()[self._log_from :].decode(errors="replace").splitlines()
        telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "ERROR", "error:", "could not", "invalid"))]
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


def _socket_directory(account: ServerAccount) -> Path:
    """A new private directory with a short path: the path of a socket must fit into about a hundred bytes."""
    for place in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")):
        with suppress(OSError):
            path = Path(tempfile.mkdtemp(prefix="payout-", dir=place))
            if len(os.fsencode(path / f".s.PGSQL.{PORT}.lock")) <= SOCKET_PATH_BYTES:
                account.give(path)
                return path
            path.rmdir()
    raise Unavailable("No directory for temporary files with a short enough path can be written to. Set TMPDIR to one of at most 70 characters.")
