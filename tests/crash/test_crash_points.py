"""A killed pipeline goes on as if nothing had happened: same facts, same owed, each order once at the bank."""

from __future__ import annotations

from itertools import zip_longest

import pytest

from connectors.failpoints import RUNNER, SANDBOX_BANK
from loadtests.crashes import Crash, Ground

ANSWERS = ("bank_answers_published", "bank_answers_taken")
OUTWARD = tuple(name for name in RUNNER if name not in ANSWERS)
CASES = list(zip_longest(OUTWARD, SANDBOX_BANK, ANSWERS))
"""Each case kills three times: on the way out, in the bank, and when the answers come; where no named point is left, at a random moment."""


def test_every_named_point_is_tried() -> None:
    assert sorted(name for case in CASES for name in case if name) == sorted(RUNNER + SANDBOX_BANK)


@pytest.mark.parametrize(("outward", "bank", "answers"), CASES, ids=OUTWARD)
def test_a_kill_on_the_way_out_and_one_in_the_bank_and_one_on_the_way_back_change_nothing(
    undisturbed: Ground, outward: str, bank: str | None, answers: str | None
) -> None:
    crashes = [Crash(0, undisturbed.pass_in_phase(0, outward, 0.5))]
    if bank:
        crashes.append(undisturbed.point(bank, 0.5))
    crashes.append(undisturbed.point(answers, 0.5) if answers else undisturbed.moment(OUTWARD.index(outward), phase=2))
    undisturbed.tried(*crashes)


@pytest.mark.parametrize("seed", range(8))
def test_a_kill_at_a_random_moment_changes_nothing(undisturbed: Ground, seed: int) -> None:
    undisturbed.tried(undisturbed.moment(seed, phase=0))


def test_a_record_torn_by_a_loss_of_power_is_published_again(undisturbed: Ground) -> None:
    at = undisturbed.point("log_written", 0.5)
    undisturbed.tried(Crash(0, undisturbed.pass_in_phase(0, "log_written", 0.5), torn_bytes=9), at)


def test_a_killed_process_of_lanes_stops_the_run_and_the_next_run_goes_on(undisturbed: Ground) -> None:
    undisturbed.tried(Crash(0, "before_commit:4"), processes=2)


def test_a_kill_that_takes_the_embedded_server_along_changes_nothing(undisturbed: Ground) -> None:
    undisturbed.tried(undisturbed.point("before_commit", 0.5), embedded=True)


def test_kills_in_a_row_beside_a_bank_that_is_killed_too_change_nothing(undisturbed: Ground) -> None:
    undisturbed.storm(seed=1, kills=6)


def test_lanes_whose_parent_process_is_killed_are_replaced_by_those_of_the_next_run(undisturbed: Ground) -> None:
    undisturbed.tried(undisturbed.moment(3, phase=0), processes=2)
