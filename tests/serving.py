"""`payout events serve` in a process of its own, with a token that lets in for every registry."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from time import monotonic

from story import Said, Story

from connectors.ingest_tokens import new_token, token_hash
from connectors.registries import load_registries
from streams.settings import SHIPPED

REGISTRIES = load_registries(SHIPPED / "registries")
NAMES = [registry.name for registry in REGISTRIES.registries]
ALL_TOKEN = new_token()
PATIENCE_S = 60


def batch(*records: Said) -> bytes:
    """The body of a request with several events."""
    return b"[" + b" ,\n".join(record.value for record in records) + b"]"


class Serving:
    """`payout events serve` in a process of its own."""

    def __init__(self, story: Story, log: Path, **environment: str) -> None:
        self.log, given = log, story.installation.settings
        self._given = {
            "PAYOUT_HOME": str(given.home), "PAYOUT_STORE_URLS": " ".join(story.urls), "PAYOUT_SHARDS": str(story.shards),
            "PAYOUT_INGEST__TOKENS": " ".join(f"{name}:{token_hash(ALL_TOKEN)}" for name in NAMES), **environment,
        }  # fmt: skip
        self.process = self.start()

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from streams.cli import main; main()", "events", "serve", "--port", "0", "--metrics-port", "0"]
        with self.log.open("wb") as file:
            return subprocess.Popen(command, env=os.environ | self._given | environment, cwd=SHIPPED, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def address(self, what: str) -> str:
        """Where it says that it listens."""
        deadline, pause = monotonic() + PATIENCE_S, Event()
        while not (found := re.search(rf"{what} at (\S+)", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert monotonic() < deadline
            pause.wait(0.05)
        return found[1]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)
