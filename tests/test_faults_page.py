"""The faults that are made for real: none of the catalogue is forgotten, the page tells all of them, and a disk becomes full where none may be mounted."""

import re
import subprocess
import sys
from pathlib import Path

from loadtests.faults import disk as disks
from loadtests.faults.catalogue import ALL, untold
from loadtests.faults.page import PAGE, Setting, page, written

SETTING = Setting(events=1_000, topics=3, shards=6, postgres="18.0")

WRITER = """
import sys
for line in iter(sys.stdin.readline, ""):
    try:
        with open(sys.argv[1], "w") as file:
            file.write("x")
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the table of results by the name of the fault."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: row for row in cells if len(row) == 7 and row[0] != "fault"}


def test_every_number_of_the_catalogue_is_made_or_told_to_be_tried_elsewhere():
    assert untold() == []


def test_the_page_tells_every_fault_in_order_and_each_that_was_tried_struck_and_came_to_the_undisturbed_run():
    text = PAGE.read_text(encoding="utf-8")
    told = rows(text)
    assert re.findall(r"^\| ([^|]+) \| F\d", text, re.MULTILINE) == [fault.name for fault in ALL]
    assert {name: row[6] for name, row in told.items() if row[6] != "as undisturbed"} == {}
    assert [name for name, row in told.items() if int(row[2].split()[0].replace(",", "")) < 1] == []


def test_a_run_of_one_fault_leaves_the_rows_of_the_others():
    first = page("", written(ALL[0], 7, 2, 31.4, ""), SETTING)
    text = page(first, written(ALL[1], 3, 0, 12, "a digest that differs"), SETTING)
    both = rows(text)
    assert (both[ALL[0].name][2:5], both[ALL[0].name][6]) == ([f"7 {ALL[0].counted}", "2", "31"], "as undisturbed")
    assert both[ALL[1].name][6] == "**not as it must be**"
    assert f"| {ALL[2].name} | {ALL[2].catalogue} | not tried |" in text


def test_a_disk_is_full_by_a_limit_where_none_may_be_mounted_and_has_room_again_when_it_is_emptied(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "file"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def said() -> str:
            process.stdin.write("again\n")
            return process.stdout.readline().strip()

        with disks.disk(tmp_path, mount=False) as full:
            before = said()
            full.fill(disks.below(process.pid))
            filled = said()
            full.empty()
            after = said()
        process.stdin.close()
    assert (before, filled, after) == ("written", "File too large", "written")
    assert filled in disks.FULL
