"""What can be wrong with something that was handed in: problems, collected whole and never raised one at a time."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a message or a document.

    `place` is where (a path such as ``data.agi.currency`` or ``amount.steps[2]``), `message` a sentence that holds
    the value, `mend` what to do about it (may be empty), `line` and `column` count from 1 where a text is at hand.
    """

    place: str
    message: str
    mend: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        where = f" (line {self.line}, column {self.column})" if self.line else ""
        mend = f" {self.mend}" if self.mend else ""
        head = f"{self.place}: " if self.place else ""
        return f"{head}{self.message}{where}{mend}"


class Malformed(ValueError):
    """A message or document that breaks its contract, with all of its problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def suggestion(name: str, known: Iterable[str]) -> str:
    """``did you mean 'income'?`` for the nearest known name, or the empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""
