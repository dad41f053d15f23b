"""Kafka Streams' program: its jars fetched beside the broker's and held to their hashes, compiled by the JDK at hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from connectors.broker_files import BrokerUnavailable, Release, jars
from connectors.broker_jars import KAFKA

SOURCE = Path(__file__).with_name("StreamsPeer.java")
CLASSES = f"kafka-streams-classes-{KAFKA}"
STREAMS = Release(f"Kafka Streams {KAFKA}", f"kafka-streams-{KAFKA}", f"org.apache.kafka:kafka-streams:{KAFKA}", {
    "kafka-streams-4.3.1.jar": "bd73f3805e116f711e8456ee89a8a5b43ff5dcf5a5bb865afae29deae89e7c4b",
    "rocksdbjni-10.1.3.jar": "e7f925287d9fe2574fb7c7a86f7facaa9b8ab602a2eed0e598bf633528121498",
})  # fmt: skip
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
        self._classes = tools / CLASSES
        try:
            libraries = [*jars(tools, of=STREAMS), *jars(tools)]
        except BrokerUnavailable as error:
            raise Unavailable(str(error)) from error
        self._classpath = ":".join(map(str, (self._classes, *libraries)))
        self._classes.mkdir(exist_ok=True)
        done = subprocess.run([javac, "-cp", self._classpath, "-d", self._classes, SOURCE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"{SOURCE.name} does not compile: {done.stderr[:500]}")

    def command(self, servers: str, application: str, topics: tuple[str, str], threads: int, state: Path, records: int) -> list[str]:
        """The command that takes so many records of the first topic and writes orders to the second."""
        options = ["-Xms512m", "-Xmx1g", "-XX:+UseParallelGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", self._classpath]
        return [self._java, *options, "StreamsPeer", servers, application, *topics, str(threads), str(state), str(records)]
