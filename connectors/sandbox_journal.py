"""The sandbox bank's journal: append-only, synced before any answer leaves, the judge of "nothing paid twice"."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from connectors.bank.bank_side import Batch, Movement
from pipeline.problems import Malformed, Problem


class Handled(msgspec.Struct, frozen=True, tag_field="line", tag="file"):
    """One order file, after the lines of its transfers: only this line makes them count. `refusal` is set where the whole file was refused."""

    name: str
    sha256: str
    batch: Batch
    transfers: int = 0
    refusal: str = ""


class Answered(msgspec.Struct, frozen=True, tag_field="line", tag="answered"):
    """The answers to a file are in the directory; without this line they are written once more, identically."""

    name: str
    sha256: str


class Journal(msgspec.Struct, frozen=True):
    """What the bank did. `length` is how many bytes of the file count: a torn tail does not."""

    movements: list[Movement]
    files: list[Handled]
    unanswered: list[Handled]
    length: int

    def movements_of(self, handled: Handled) -> list[Movement]:
        """The transfers of one file, as they stand in the journal."""
        end = sum(file.transfers for file in self.files[: self.files.index(handled) + 1])
        return self.movements[end - handled.transfers : end]


_LINE = msgspec.json.Decoder(Movement | Handled | Answered)
_ENCODER = msgspec.json.Encoder()


def read_whole(path: Path) -> Journal:
    """Reads a journal, also one that a bank is writing: lines after the last complete file do not count yet."""
    movements: list[Movement] = []
    pending: list[Movement] = []
    files: list[Handled] = []
    answered: set[Answered] = set()
    position = length = 0
    with path.open("rb") as journal:
        for number, line in enumerate(journal, 1):
            position += len(line)
            if not line.endswith(b"\n"):
                break
            try:
                entry = _LINE.decode(line)
            except msgspec.DecodeError as error:
                raise Malformed(
                    [Problem(f"{path}, line {number}", f"is no line of a bank's journal: {error}", "Name the journal as the bank wrote it.")]
                ) from None
            if isinstance(entry, Movement):
                pending.append(entry)
                continue
            if isinstance(entry, Handled):
                movements += pending
                pending = []
                files.append(entry)
            elif pending:
                raise Malformed(
                    [Problem(f"{path}, line {number}", "the transfers before this line belong to no file", "Name the journal as the bank wrote it.")]
                )
            else:
                answered.add(entry)
            length = position
    return Journal(movements, files, [file for file in files if Answered(file.name, file.sha256) not in answered], length)


def read_journal(path: Path) -> list[Movement]:
    """What the bank did with every transfer, in its order, for whoever audits it."""
    return read_whole(path).movements


class JournalWriter:
    """The one writer of a journal. Opening it repairs a torn tail; a second writer is refused."""

    def __init__(self, path: Path, crash: Callable[[str], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._crash = crash
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise BlockingIOError(f"another sandbox bank is writing {path}, stop it first") from None
        self.found = read_whole(path)
        os.ftruncate(self._file, self.found.length)
        os.fsync(self._file)
        _sync_directory(path.parent)

    def append(self, movements: Sequence[Movement], handled: Handled) -> None:
        """The transfers of a file and then the file, on disk when this returns."""
        self._crash("sandbox-bank.before-journal")
        self._write(_ENCODER.encode_lines(movements))
        self._crash("sandbox-bank.journal-without-file")
        self._write(_ENCODER.encode(handled) + b"\n")
        self._crash("sandbox-bank.journal-unsynced")
        os.fsync(self._file)
        self._crash("sandbox-bank.journal-synced")

    def answered(self, handled: Handled) -> None:
        """Synced with the next file: until then a crash costs one identical rewriting."""
        self._write(_ENCODER.encode(Answered(handled.name, handled.sha256)) + b"\n")

    def close(self) -> None:
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
