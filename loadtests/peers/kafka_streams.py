"""Kafka Streams' program: its jars fetched beside the broker's and held to their hashes, compiled by the JDK at hand."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path

from connectors.broker_files import jars
from connectors.broker_jars import KAFKA

SOURCE = Path(__file__).with_name("StreamsPeer.java")
COORDINATES = f"org.apache.kafka:kafka-streams:{KAFKA}"

JARS = {
    "kafka-streams-4.3.1.jar": "bd73f3805e116f711e8456ee89a8a5b43ff5dcf5a5bb865afae29deae89e7c4b",
    "rocksdbjni-10.1.3.jar": "e7f925287d9fe2574fb7c7a86f7facaa9b8ab602a2eed0e598bf633528121498",
}
"""What it needs beside the broker's jars."""


class Unavailable(Exception):
    """The program cannot be had here; why."""


class Program:
    """The compiled program in a folder of tools."""

    def __init__(self, tools: Path) -> None:
        javac, java = shutil.which("javac"), shutil.which("java")
        if javac is None or java is None:
            raise Unavailable("no JDK is at hand (javac is not on the PATH)")
        self._java = java
        self._classes = tools / f"kafka-streams-{KAFKA}" / "classes"
        libraries = [*_fetched(tools), *jars(tools)]
        self._classpath = ":".join(map(str, (self._classes, *libraries)))
        self._classes.mkdir(exist_ok=True)
        done = subprocess.run([javac, "-cp", self._classpath, "-d", self._classes, SOURCE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"{SOURCE.name} does not compile: {done.stderr[:500]}")

    def command(self, servers: str, application: str, topics: tuple[str, str], threads: int, state: Path, records: int) -> list[str]:
        """The command that takes so many records of the first topic and writes orders to the second."""
        options = ["-Xms512m", "-Xmx1g", "-XX:+UseParallelGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", self._classpath]
        return [self._java, *options, "StreamsPeer", servers, application, *topics, str(threads), str(state), str(records)]


def _fetched(tools: Path) -> list[Path]:
    folder = tools / f"kafka-streams-{KAFKA}"
    folder.mkdir(parents=True, exist_ok=True)
    if any(not (folder / name).is_file() for name in JARS):
        _fetch(folder)
    for name, digest in JARS.items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise Unavailable(f"{folder / name} is not what was published; delete it and start again")
    return [folder / name for name in JARS]


def _fetch(folder: Path) -> None:
    try:
        jgo, maven = import_module("jgo"), import_module("jgo.maven")
    except ImportError:
        raise Unavailable("Kafka Streams is fetched with jgo: pip install 'payout[broker]'") from None
    with tempfile.TemporaryDirectory(prefix="streams-", dir=folder.parent) as scratch:
        try:
            found = jgo.build(COORDINATES, cache_dir=Path(scratch), resolver=maven.PythonResolver())
        except (OSError, RuntimeError, ValueError) as error:
            raise Unavailable(f"{COORDINATES} could not be fetched: {str(error)[:200]}") from error
        for jar in found.all_jars:
            if jar.name in JARS:
                shutil.copyfile(jar, folder / jar.name)
    missing = [name for name in JARS if not (folder / name).is_file()]
    if missing:
        raise Unavailable(f"{COORDINATES} was fetched without {', '.join(missing)}")
