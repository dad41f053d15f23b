"""`payout demo`, as somebody meets it who has just cloned the repository: twice in one home, and the commands that it offers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAYOUT = Path(sys.executable).with_name("payout")
UNITS = 300


def shell(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """What a person types in a directory, with nothing of this installation on the path."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PAYOUT_")} | {"PATH": "/usr/bin:/bin"}
    return subprocess.run(command, shell=True, cwd=directory, env=surroundings, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A directory whose home, with a space in its name, holds a demo; and what the demo said."""
    directory = tmp_path_factory.mktemp("demo")
    return directory, shell(f"{PAYOUT} --home 'my home' demo --units {UNITS}", directory)


Demo = tuple[Path, subprocess.CompletedProcess[str]]


def test_the_first_demo_pays_and_proves(demo: Demo) -> None:
    directory, said = demo
    assert said.returncode == 0, said.stderr
    assert re.search(rf"^ known +{UNITS} ", said.stdout, re.MULTILINE)
    assert re.search(r"^audit: (\d+) of \1 checks hold$", said.stdout, re.MULTILINE)
    assert len(said.stderr.splitlines()) == 2, "only the two lines on what is real and what is invented"
    assert (directory / "my home" / "reports" / "demo.html").stat().st_size > 10_000


def test_the_speed_told_is_that_of_the_events_and_seconds_told(demo: Demo) -> None:
    told = re.search(r"^([\d,]+) events in ([\d.]+) s: ([\d,]+) events/s$", demo[1].stdout, re.MULTILINE)
    assert told
    events, seconds, rate = (float(figure.replace(",", "")) for figure in told.groups())
    assert events / (seconds + 0.06) < rate < events / (seconds - 0.06)


def test_each_command_to_try_can_be_typed_as_it_is_printed(demo: Demo) -> None:
    directory, said = demo
    offered = re.findall(r"^  (\S.*?)  +\S", said.stdout.partition("Try next:\n")[2], re.MULTILINE)
    assert len(offered) == 3
    for command in offered:
        tried = shell(command, directory)
        assert tried.returncode == 0, (command, tried.stderr)
        assert tried.stdout


def test_a_demo_of_other_people_in_the_same_home_is_refused_before_anything_is_sent(demo: Demo) -> None:
    directory, _ = demo
    other = shell(f"{PAYOUT} --home 'my home' demo --units {UNITS + 1}", directory)
    assert other.returncode == 2
    assert f"holds a demo of seed 7, {UNITS} units, not of seed 7, {UNITS + 1} units" in other.stderr


def test_fewer_units_than_the_planted_troubles_need_are_refused(tmp_path: Path) -> None:
    few = shell(f"{PAYOUT} demo --units 99", tmp_path)
    assert few.returncode == 2
    assert "greater than or equal to 100" in few.stderr
    assert not (tmp_path / "home").exists()


def test_a_second_demo_in_the_same_home_orders_nothing_new(demo: Demo) -> None:
    directory, first = demo
    again = shell(f"{PAYOUT} --home 'my home' demo --units {UNITS}", directory)
    assert again.returncode == 0, again.stderr
    assert "Nothing new was ordered." in again.stdout

    def events(said: str) -> str:
        return said.partition(" events in ")[0].splitlines()[-1]

    assert events(again.stdout) == events(first.stdout), "the events of this demo are told, not those of all demos"
    status = shell(f"{PAYOUT} --home 'my home' status --json", directory)
    assert {row["lag"] for row in json.loads(status.stdout)["lag"]} == {0}
