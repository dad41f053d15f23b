"""A bank that stands in for a real one: order files in, answer files out, nothing executed twice, its behaviour given by a seed."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from connectors.bank.bank_side import Batch, Movement, Order, account_is_good, read_initiation, write_notification, write_status
from connectors.sandbox_journal import Handled, JournalWriter, read_journal
from pipeline.problems import Malformed

__all__ = ["BANK", "Behaviour", "Handled", "Movement", "SandboxBank", "Totals", "journal_path", "read_journal"]

BANK = "SBNKUS33"
REJECTIONS = ("AC04", "AC01", "BE06", "AG01")
RETURNS = ("AC04", "MD07", "AC06")


class Behaviour(msgspec.Struct, frozen=True):
    """What the bank does with good orders. It depends on the seed and the end-to-end id alone, however the orders are batched."""

    seed: int = 0
    reject_share: float = 0.004
    return_share: float = 0.003
    exceptions_only: bool = False

    def fate(self, end_to_end_id: str) -> tuple[str, str]:
        """Outcome and reason of an order: executed, rejected or returned."""
        digest = hashlib.blake2b(f"{self.seed}:{end_to_end_id}".encode(), digest_size=9).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        if share < self.reject_share:
            return "rejected", REJECTIONS[digest[8] % len(REJECTIONS)]
        if share < self.reject_share + self.return_share:
            return "returned", RETURNS[digest[8] % len(RETURNS)]
        return "executed", ""


class Stop(Protocol):
    """Whether to stop, and a wait that ends when it comes to that: an event of `threading`, or a signal that was noted."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...

    def wait(self, timeout: float) -> bool:
        """Returns after so many seconds, or earlier where it is to stop."""
        ...


class Totals(msgspec.Struct):
    """What a bank has done since it was opened."""

    files: int = 0
    refused_files: int = 0
    executed: int = 0
    rejected: int = 0
    returned: int = 0


def journal_path(home: Path) -> Path:
    return home / "bank" / "sandbox" / "journal.ndjson"


def _no_crash(point: str) -> None:
    """Outside of crash tests nothing happens at a named point."""


class SandboxBank:
    """Speaks files only: HOME/bank/out in, HOME/bank/in out. After a kill at any point the next one goes on where its journal ends."""

    def __init__(self, home: Path, *, bic: str = BANK, behaviour: Behaviour | None = None, crash: Callable[[str], None] = _no_crash) -> None:
        self._orders, self._answers = home / "bank" / "out", home / "bank" / "in"
        self._orders.mkdir(parents=True, exist_ok=True)
        self._answers.mkdir(parents=True, exist_ok=True)
        self._bic, self._behaviour, self._crash = bic, behaviour or Behaviour(), crash
        self._journal = JournalWriter(journal_path(home), crash)
        self._seen: dict[str, tuple[int, int, int]] = {}
        self.totals = Totals()
        found = self._journal.found
        self._done = {(file.name, file.sha256) for file in found.files}
        self._message_ids = {file.batch.message_id for file in found.files if not file.refusal}
        self._executed = {movement.end_to_end_id: (movement.amount_minor, movement.currency) for movement in found.movements if movement.outcome == "executed"}
        try:
            for file in found.unanswered:
                self._answer(file, found.movements_of(file))
        except BaseException:
            self._journal.close()
            raise

    def close(self) -> None:
        self._journal.close()

    def run(self, stop: Stop, poll_s: float = 0.2) -> None:
        """Handles files as they come, until `stop` is set."""
        while not stop.is_set():
            self.handle_all(stop)
            stop.wait(poll_s)

    def handle_all(self, stop: Stop | None = None) -> None:
        """Handles every file that lies there now, in the order of their names."""
        for path, stamp in self._new_files():
            if stop is not None and stop.is_set():
                return
            self._handle(path.name, path.read_bytes())
            self._seen[path.name] = stamp

    def _new_files(self) -> Iterator[tuple[Path, tuple[int, int, int]]]:
        """Files with an unfinished name are not looked at: whoever writes one renames it when it is whole."""
        for path in sorted(self._orders.glob("[!.]*.xml")):
            stat = path.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if self._seen.get(path.name) != stamp:
                yield path, stamp

    def _handle(self, name: str, data: bytes) -> None:
        sha256 = hashlib.sha256(data).hexdigest()
        if (name, sha256) in self._done:
            return
        batch, movements, refusal = self._judged(data)
        handled = Handled(name, sha256, batch, len(movements), refusal)
        self._journal.append(movements, handled)
        self._done.add((name, sha256))
        if not refusal:
            self._message_ids.add(batch.message_id)
        self._executed.update((movement.end_to_end_id, (movement.amount_minor, movement.currency)) for movement in movements if movement.outcome == "executed")
        self.totals.files += 1
        self.totals.refused_files += bool(refusal)
        for movement in movements:
            setattr(self.totals, movement.outcome, getattr(self.totals, movement.outcome) + 1)
        self._answer(handled, movements)

    def _judged(self, data: bytes) -> tuple[Batch, list[Movement], str]:
        try:
            batch, orders = read_initiation(data)
        except Malformed as fault:
            sums = any(problem.place.endswith((".NbOfTxs", ".CtrlSum")) for problem in fault.problems)
            return Batch(), [], "AM10" if sums else "FF01"
        if batch.agent_bic != self._bic:
            return batch, [], "AGNT"
        if batch.message_id in self._message_ids:
            return batch, [], "DU01"
        movements: list[Movement] = []
        taken: dict[str, Order] = {}
        for order in orders:
            outcome, reason = self._fate(order, taken)
            parts = (order.end_to_end_id, order.uetr, order.instruction_id, batch.message_id)
            if outcome == "rejected":
                movements.append(Movement(*parts, "rejected", order.amount_minor, order.currency, reason))
                continue
            taken[order.end_to_end_id] = order
            movements.append(Movement(*parts, "executed", order.amount_minor, order.currency))
            if outcome == "returned":
                movements.append(Movement(*parts, "returned", order.amount_minor, order.currency, reason))
        return batch, movements, ""

    def _fate(self, order: Order, taken: dict[str, Order]) -> tuple[str, str]:
        before = self._executed.get(order.end_to_end_id)
        if before is not None:
            return "rejected", "AM05" if before == (order.amount_minor, order.currency) else "DU04"
        if order.end_to_end_id in taken:
            return "rejected", "DU04"
        if order.amount_minor <= 0:
            return "rejected", "AM01"
        if not account_is_good(order):
            return "rejected", "AC01"
        return self._behaviour.fate(order.end_to_end_id)

    def _answer(self, handled: Handled, movements: list[Movement]) -> None:
        """Answers are functions of the journal alone, so that a second writing is the same bytes."""
        stem = f"{handled.name.removesuffix('.xml')}.{handled.sha256[:12]}"
        status_id, booked_id, returned_id = (_message_id(kind, handled) for kind in ("status", "booked", "returned"))
        status = write_status(handled.batch, movements, message_id=status_id, refusal=handled.refusal, exceptions_only=self._behaviour.exceptions_only)
        self._put(f"{stem}.1.pain.002.xml", status)
        if booked := [movement for movement in movements if movement.outcome == "executed"]:
            self._put(f"{stem}.2.camt.054.xml", write_notification(handled.batch, booked, message_id=booked_id))
        if returned := [movement for movement in movements if movement.outcome == "returned"]:
            self._put(f"{stem}.3.camt.054.xml", write_notification(handled.batch, returned, message_id=returned_id))
        self._crash("sandbox-bank.before-answered")
        self._journal.answered(handled)

    def _put(self, name: str, data: bytes) -> None:
        temporary = self._answers / f".{name}.tmp"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._crash("sandbox-bank.answer-unnamed")
        temporary.replace(self._answers / name)
        self._crash("sandbox-bank.answer-written")


def _message_id(kind: str, handled: Handled) -> str:
    digest = hashlib.sha256(f"{kind}:{handled.name}:{handled.sha256}".encode()).digest()
    return base64.b32encode(digest).decode()[:32]
