"""What can be wrong with something that was handed in: problems, collected whole and never raised one at a time."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a message or a document.

    `place` is where (a path such as ``data.agi.currency`` or ``amount.steps[2]``), `message` a sentence that holds
    the value, `mend` what to do about it (may be empty), `line` and `column` count from 1 where a text is at hand.
    `value` is what stands there and `expected` what may stand there, as a program shows them; `file` is where the text came from.
    """

    place: str
    message: str
    mend: str = ""
    line: int = 0
    column: int = 0
    value: str = ""
    expected: str = ""
    file: str = ""

    def __str__(self) -> str:
        where = f" (line {self.line}, column {self.column})" if self.line else ""
        head = "".join(f"{part}: " for part in (self.file, self.place) if part)
        return f"{head}{sentences(self.message + where, self.mend)}"

    def within(self, place: str) -> Problem:
        """The same problem, told by somebody to whom its place lies within another one."""
        return msgspec.structs.replace(self, place=place if self.place in ("", place) else f"{place}: {self.place}")

    @property
    def suggestion(self) -> str:
        """The known name that is nearest to the value, where the message or the mend asks whether it was meant."""
        meant = _MEANT.search(f"{self.message} {self.mend}")
        return meant[1] if meant else ""


class Malformed(ValueError):
    """A message or document that breaks its contract, with all of its problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


MAX_PROBLEMS = 100
"""So many problems of one document are told; who made more of them mends these first."""


def more_problems() -> Problem:
    """The last problem of a document that has more than are told."""
    return Problem("", f"these are the first {MAX_PROBLEMS} problems, more are not looked for", "Mend these first.")


_MEANT = re.compile(r"[Dd]id you mean ['\"](.+?)['\"]\?")


def suggestion(name: str, known: Iterable[str]) -> str:
    """``did you mean 'income'?`` for the nearest known name, or the empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def sentences(message: str, mend: str) -> str:
    """A message and its mend as sentences of their own."""
    if not mend:
        return message
    stop = "" if message.endswith((".", "!", "?")) else "."
    return f"{message}{stop} {mend[0].upper()}{mend[1:]}"
