"""A disk that becomes full: one of its own in memory where this account may mount one, else a limit to the size of every file of the processes on it."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

DISK_BYTES = 1 << 30
FULL = ("No space left on device", "File too large")
"""How a full disk reads in logs: the one that is mounted, and the limit."""


class Disk:
    """A place that can be filled to its last byte, and emptied."""

    def __init__(self, place: Path, *, mounted: bool) -> None:
        self.place, self.mounted = place, mounted
        self._limited: dict[int, tuple[int, int]] = {}

    def fill(self, processes: Iterable[int], limit_bytes: int = 0) -> None:
        """Nothing more can be written; where it is not mounted, by these processes and behind so many bytes of each file."""
        if not self.mounted:
            for process in processes:
                with suppress(ProcessLookupError):
                    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
                    resource.prlimit(process, resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
                    self._limited[process] = before
            return
        with suppress(OSError), self._ballast.open("wb") as file:
            block = bytes(1 << 20)
            for piece in (block, block[:4096]):
                with suppress(OSError):
                    for _ in iter(partial(file.write, piece), 0):
                        file.flush()

    def empty(self) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)
        for process, before in self._limited.items():
            with suppress(ProcessLookupError):
                resource.prlimit(process, resource.RLIMIT_FSIZE, before)
        self._limited.clear()

    @property
    def _ballast(self) -> Path:
        return self.place / "ballast"


@contextmanager
def disk(place: Path, *, mount: bool) -> Iterator[Disk]:
    """A disk at a place while the block lasts; what is there before is not on it."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0711", "tmpfs", str(place)]
    mounted = mount and _done(command)
    made = Disk(place, mounted=mounted)
    try:
        yield made
    finally:
        made.empty()
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=False)


def _done(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def below(process: int) -> list[int]:
    """A process and those that it has started, and so on."""
    found = [process]
    for parent in found:
        with suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found
