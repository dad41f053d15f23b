"""A Kafka broker of one's own, or three, as processes on this machine: made, started, stopped and asked, on the loopback address only.

Each node is broker and controller (KRaft). Its folder holds its settings, its log and the number of its process, so that any
later command finds it, and a process that was killed leaves nothing that a later start does not put right.
"""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .broker_files import BrokerUnavailable, Progress, jars, java

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
PORT = 9092
PORT_STEP = 100
"""Node 2 listens a hundred ports above node 1, node 3 another hundred above; each node's controller one above its broker."""

STARTED = b"Kafka Server started"
MEMORY = ("-Xms256m", "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Node(NamedTuple):
    """One node as it stands: its number, its address and its process, 0 where it does not run."""

    number: int
    address: str
    pid: int


class Brokers:
    """The nodes in a folder. New ones are made with these settings over their own, and with these options of Kafka's formatting of storage."""

    def __init__(self, directory: Path, tools: Path, settings: Mapping[str, object] = MappingProxyType({}), formatting: Sequence[str] = ()) -> None:
        self.directory, self._tools, self._settings, self._formatting = directory.absolute(), tools.absolute(), settings, tuple(formatting)

    def up(self, nodes: int = 1, port: int = PORT, progress: Progress = lambda done, total: None) -> list[Node]:
        """Starts what does not run, and returns when all nodes serve. Asking again for the same changes nothing."""
        classpath = self.make(nodes, port, progress)
        with self._alone():
            started = [(folder, self._start(folder, classpath)) for folder in self._folders() if not _running(folder)]
            for folder, (process, log_from) in started:
                self._wait(folder, process, log_from)
        return self.nodes()

    def make(self, nodes: int, port: int, progress: Progress = lambda done, total: None) -> str:
        """Makes the nodes where there are none, without starting them; gives the class path that they are started with."""
        classpath = ":".join(str(jar) for jar in jars(self._tools, progress))
        with self._alone():
            known = self._folders()
            if known and len(known) != nodes:
                raise BrokerUnavailable(f"{self.directory} holds {len(known)} node{'s' if len(known) > 1 else ''}, {nodes} are asked for; name another folder")
            if not known:
                self._make(nodes, port, classpath)
        return classpath

    def down(self) -> int:
        """Stops every node and returns when all are gone; gives how many ran."""
        if not self.directory.is_dir():
            return 0
        with self._alone():
            running = [(folder, pid) for folder in self._folders() if (pid := _running(folder))]
            for _, pid in running:
                os.kill(pid, signal.SIGTERM)
            for folder, pid in running:
                _gone(folder, pid)
        return len(running)

    def nodes(self) -> list[Node]:
        """The nodes, whether they run or not."""
        return [Node(int(folder.name[4:]), _address(folder), _running(folder)) for folder in self._folders()]

    @property
    def servers(self) -> list[str]:
        """The addresses for clients."""
        return [node.address for node in self.nodes()]

    def _folders(self) -> list[Path]:
        return sorted(path.parent for path in self.directory.glob("node*/server.properties"))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _make(self, nodes: int, port: int, classpath: str) -> None:
        """Formats the nodes; they appear all together."""
        ports = [port + PORT_STEP * index for index in range(nodes)]
        if taken := [place for first in ports for place in (first, first + 1) if _taken(place)]:
            raise BrokerUnavailable(f"port {taken[0]} is in use; choose others with --port (each node takes two)")
        new = self.directory / "new"
        shutil.rmtree(new, ignore_errors=True)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "x").replace("_", "y")
        for number in range(1, nodes + 1):
            folder = new / f"node{number}"
            folder.mkdir(parents=True)
            settings = {**_settings(number, ports, self.directory / folder.name / "data"), **self._settings}
            (folder / "server.properties").write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
            command = [
                str(java()), *MEMORY, "-cp", classpath, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(folder / "server.properties"),
                *self._formatting,
            ]  # fmt: skip
            # It formats the place where the node will stand.
            (self.directory / folder.name).mkdir(exist_ok=True)
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
            if done.returncode != 0 and "already formatted" not in done.stdout:
                raise BrokerUnavailable(f"the storage of node {number} could not be made: {_telling(done.stdout)}")
        for folder in sorted(new.iterdir()):
            (folder / "server.properties").rename(self.directory / folder.name / "server.properties")
        shutil.rmtree(new)

    def _start(self, folder: Path, classpath: str) -> tuple[subprocess.Popen[bytes], int]:
        path = folder / "server.log"
        with path.open("ab") as log:
            log_from = log.tell()
            process = subprocess.Popen(
                [java(), *MEMORY, "-cp", classpath, "kafka.Kafka", folder / "server.properties"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True,
            )  # fmt: skip
        (folder / "pid").write_text(str(process.pid))
        return process, log_from

    def _wait(self, folder: Path, process: subprocess.Popen[bytes], log_from: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        path = folder / "server.log"
        while STARTED not in (said := path.read_bytes()[log_from:]):
            if process.poll() is not None:
                (folder / "pid").unlink(missing_ok=True)
                raise BrokerUnavailable(f"{folder.name} did not start: {_telling(said.decode(errors='replace'))}. The whole log is {path}.")
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise BrokerUnavailable(f"{folder.name} was not ready within {START_TIMEOUT_S} seconds. See {path}.")
            time.sleep(0.05)


def _settings(number: int, ports: list[int], data: Path) -> dict[str, object]:
    """The settings of a node: nothing is made without being asked for, and with three nodes an acknowledged record is on two."""
    copies, port = len(ports), ports[number - 1]
    voters = ",".join(f"{index}@127.0.0.1:{first + 1}" for index, first in enumerate(ports, 1))
    return {
        "process.roles": "broker,controller", "node.id": number, "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}", "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "inter.broker.listener.name": "PLAINTEXT", "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT", "log.dirs": data, "auto.create.topics.enable": "false",
        "default.replication.factor": copies, "min.insync.replicas": min(2, copies), "unclean.leader.election.enable": "false",
        "offsets.topic.replication.factor": copies, "offsets.topic.num.partitions": 8, "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": min(2, copies), "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": copies, "share.coordinator.state.topic.min.isr": min(2, copies),
        "group.initial.rebalance.delay.ms": 0, "message.max.bytes": 16 * 1024 * 1024, "replica.fetch.max.bytes": 16 * 1024 * 1024,
    }  # fmt: skip


def _address(folder: Path) -> str:
    """Where clients reach a node without TLS."""
    listeners = _setting(folder, "advertised.listeners").split(",")
    return next(listener for listener in listeners if listener.startswith("PLAINTEXT://")).rpartition("//")[2]


def _setting(folder: Path, name: str) -> str:
    lines = (folder / "server.properties").read_text(encoding="utf-8").splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))


def _running(folder: Path) -> int:
    """The process of a node, 0 where it is gone or its number belongs to something else meanwhile."""
    with suppress(OSError, ValueError):
        pid = int((folder / "pid").read_text())
        if os.fsencode(folder / "server.properties") in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    return 0


def _gone(folder: Path, pid: int) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _running(folder) == pid:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # a child of this process stays listed until it is waited for
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    (folder / "pid").unlink(missing_ok=True)


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _telling(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("ERROR", "FATAL", "Exception", "Error", "Unrecognized", "Invalid"))]
    return "; ".join((telling or lines)[-3:])[:500] or "it said nothing"
