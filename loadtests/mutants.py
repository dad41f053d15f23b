"""Mutants: deliberate defects of the code, each of which must turn the tests named with it red."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

ROOT = Path(__file__).resolve().parent.parent
MUTANTS = ROOT / "tests" / "mutants" / "mutants.toml"
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "home", "*.egg-info")
TIMEOUT_S = 600

_FAILED = re.compile(r"^FAILED (\S+?)(?: - .*)?$", re.MULTILINE)


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A defect: `old` in `file` becomes `new`; every one of `tests` must fail then, and one of the first simulated histories where it says so."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]
    simulated: bool = False

    def applied(self, text: str) -> str:
        """The text of the file with the defect; ValueError where the old text is not there exactly once."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"mutant {self.name!r}: {self.file} has the text to replace {found} times; bring the mutant up to date")
        return text.replace(self.old, self.new)


class Verdict(NamedTuple):
    """How a mutant fared: killed where each of its tests failed; `survived` are those that did not, `said` what the run printed."""

    mutant: Mutant
    survived: list[str]
    took_s: float
    said: str

    @property
    def killed(self) -> bool:
        """Whether every named test turned red."""
        return not self.survived


def load_mutants() -> list[Mutant]:
    """All of them, in the order of the file."""
    return msgspec.convert(tomllib.loads(MUTANTS.read_text()), dict[str, list[Mutant]])["mutant"]


@contextmanager
def workshop() -> Iterator[Path]:
    """A copy of the tree in which defects may be put."""
    with tempfile.TemporaryDirectory(prefix="payout-mutants-") as directory:
        copy = Path(directory) / "tree"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        yield copy


def sound(copy: Path, mutants: list[Mutant]) -> str:
    """What the named tests print without any defect; empty where all of them pass."""
    code, said = _run(copy, sorted({test for mutant in mutants for test in mutant.tests}))
    return "" if code == 0 else said


def tried(copy: Path, mutant: Mutant) -> Verdict:
    """Puts a defect into the copy, runs its tests, takes it out again."""
    started_s = time.monotonic()
    with in_place(copy, mutant):
        code, said = _run(copy, mutant.tests)
    failed = _FAILED.findall(said) if code == 1 else []
    survived = [test for test in mutant.tests if not any(name == test or name.startswith(f"{test}[") for name in failed)]
    return Verdict(mutant, survived, time.monotonic() - started_s, said)


@contextmanager
def in_place(copy: Path, mutant: Mutant) -> Iterator[None]:
    """The copy has the defect meanwhile."""
    path = copy / mutant.file
    text = path.read_text()
    path.write_text(mutant.applied(text))
    try:
        yield
    finally:
        path.write_text(text)


def _run(copy: Path, tests: list[str]) -> tuple[int, str]:
    """pytest over the copy's own code; no byte code is kept, since a patch may not change a file's time and size."""
    tools = os.environ.get("PAYOUT_TOOLS") or str(ROOT / ".kafka")  # the copy has no Kafka of its own
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "PAYOUT_TOOLS": tools}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-rf", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return done.returncode, done.stdout + done.stderr
