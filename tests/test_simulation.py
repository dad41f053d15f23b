"""Seeded histories of the real lanes, relays and bank desk with faults at every point: each ends as if nothing had happened, and a seed tells the same one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from loadtests.mutants import ROOT, load_mutants, workshop
from loadtests.simulation.defects import caught
from loadtests.simulation.ground import Ground
from loadtests.simulation.history import History
from loadtests.simulation.many import Tally, ground_here

HISTORIES = 200


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with ground_here() as made:
        yield made


@pytest.mark.timeout(3_600)  # a minute of work, which a busy machine stretches
def test_two_hundred_histories_with_faults_at_every_point_end_as_if_nothing_had_happened(ground: Ground) -> None:
    tally = Tally()
    for seed in range(1, HISTORIES + 1):
        tally.add(History(ground, seed).run())
    assert [(outcome.seed, outcome.problems) for outcome in tally.failed] == []
    assert tally.never == []
    assert tally.histories == HISTORIES


@pytest.mark.parametrize("seed", [3, 14])
def test_a_seed_tells_the_same_history_to_the_byte_in_another_process(ground: Ground, seed: int) -> None:
    told = History(ground, seed).run()
    command = [sys.executable, "-m", "loadtests.simulation", "--seed", str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout.splitlines()[:-1] == list(told.trace)
    assert done.returncode == 0
    assert len(told.trace) > 20


def test_the_first_steps_of_a_history_are_the_history_of_fewer_steps(ground: Ground) -> None:
    whole, part = History(ground, 5).run(), History(ground, 5, 6).run()
    begun = part.trace.index("everything heals")
    assert (part.shortened, whole.shortened) == (True, False)
    assert part.trace[:begun] == whole.trace[:begun]


def test_a_defect_turns_a_history_red_and_the_seed_that_it_names_replays_it() -> None:
    mutant = next(mutant for mutant in load_mutants() if mutant.name == "position written outside the frame's transaction")
    with workshop() as copy:
        found = caught(copy, mutant, 30)
        assert found.seed is not None
        again = caught(copy, mutant, 1, first=found.seed)
        assert (again.problem, again.trace) == (found.problem, found.trace)


def test_the_page_of_proofs_names_every_defect_that_histories_must_catch() -> None:
    page = (ROOT / "docs" / "proof.md").read_text().partition("| deliberate defect |")[2].partition("## In `make soak`")[0]
    listed = re.findall(r"^\| ([^|]+) \| \d+ \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(mutant.name for mutant in load_mutants() if mutant.simulated)
