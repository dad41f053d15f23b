"""When money leaves: the recurrence rules and calendars that a document may name, and the months they come to."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from test_rule_mistakes import GOOD, problems
from typer.testing import CliRunner

from pipeline.facts import day
from pipeline.rules import load_rule
from pipeline.rules.schedule import months_paid
from streams.commands.rules import app

ROOT = Path(__file__).resolve().parent.parent.parent
FIRST = day(date(2022, 2, 1))


def paid(payment: str) -> str:
    return GOOD + f"payment: {payment}\n"


@pytest.mark.parametrize(
    ("schedule", "months"),
    [
        ("FREQ=MONTHLY;BYMONTH=1,4,7,10;BYMONTHDAY=20", [1, 4, 7, 10]),
        ("FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=-1", [2, 4, 6, 8, 10, 12]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", list(range(1, 13))),
        ("FREQ=MONTHLY;BYDAY=3WE", list(range(1, 13))),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TH", list(range(1, 13))),
        ("FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24", [12]),
        ("FREQ=YEARLY", [2]),
        ("FREQ=DAILY", list(range(1, 13))),
    ],
)
def test_a_schedule_is_read_and_comes_to_the_months_it_pays_in(schedule, months, catalogue):
    assert load_rule(paid(f'{{schedule: "{schedule}"}}'), catalogue).payment.schedule == schedule
    assert months_paid(schedule, FIRST, 2023) == months


def test_an_interval_of_months_goes_on_over_the_new_year():
    assert [months_paid("FREQ=MONTHLY;INTERVAL=5", FIRST, year) for year in (2022, 2023)] == [[2, 7, 12], [5, 10]]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("every two months", "'every two months' is no part of a rule of RFC 5545, write it like FREQ=MONTHLY;BYMONTHDAY=20"),
        ("FREQ=FORTNIGHTLY", "'FORTNIGHTLY' is no frequency, it is one of DAILY, WEEKLY, MONTHLY, YEARLY: write it like FREQ=WEEKLY;INTERVAL=2"),
        ("BYMONTHDAY=20", "'' is no frequency"),
        ("FREQ=MONTHLY;COUNT=3", "a schedule has no 'COUNT'"),
        ("FREQ=MONTHLY;BYMONTHDAYS=3", "a schedule has no 'BYMONTHDAYS', did you mean 'BYMONTHDAY'?"),
        ("FREQ=MONTHLY;FREQ=YEARLY", "FREQ stands twice"),
        ("FREQ=MONTHLY;INTERVAL=0", "INTERVAL=0: '0' is none of 1 to 12"),
        ("FREQ=MONTHLY;INTERVAL=2,3", "INTERVAL=2,3: INTERVAL is one number"),
        ("FREQ=YEARLY;INTERVAL=2", "INTERVAL of FREQ=YEARLY can only be 1"),
        ("FREQ=MONTHLY;INTERVAL=2;BYMONTH=2,4", "INTERVAL and BYMONTH do not go together"),
        ("FREQ=MONTHLY;BYMONTH=13", "BYMONTH=13: '13' is none of 1 to 12"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY=0: '0' is none of 1 to 31, or -1 for the last and so on"),
        ("FREQ=MONTHLY;BYMONTHDAY=31", "BYMONTHDAY=31 does not come in every month 2: -1 is the last day of each month"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY goes with FREQ=MONTHLY or YEARLY, not WEEKLY"),
        ("FREQ=WEEKLY;BYDAY=1TH", "'1TH' counts days of a month"),
        ("FREQ=MONTHLY;BYDAY=5FR", "BYDAY=5FR: '5FR' is no day"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "BYMONTHDAY and BYDAY do not go together"),
        ("FREQ=YEARLY;BYMONTHDAY=1", "BYMONTHDAY of FREQ=YEARLY wants BYMONTH"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS goes with FREQ=MONTHLY and BYDAY or BYMONTHDAY"),
        ("FREQ=MONTHLY;BYDAY=FR;BYSETPOS=5", "BYSETPOS=5: '5' is none of 1 to 4, or -1 for the last and so on"),
    ],
)
def test_what_is_no_schedule_is_refused_at_its_place_with_the_way_to_write_it(schedule, message, catalogue):
    told = problems(paid(f'{{schedule: "{schedule}"}}'), catalogue)
    assert told.startswith(f"payment.schedule: {message}")
    assert "(line 28, column 21)" in told


def test_a_calendar_that_nobody_knows_is_refused_with_those_there_are(catalogue):
    assert problems(paid("{calendar: XX}"), catalogue) == ("payment.calendar: 'XX' is not known here (line 28, column 21). It is one of DK, US, EU, JP, KR.")


def test_show_prints_how_a_benefit_is_paid():
    path = ROOT / "benefits/dk-child-benefit/2022-01-01.yaml"
    told = CliRunner().invoke(app, ["show", str(path)]).stdout
    assert "payment:" in told.splitlines()
    assert "  schedule                 FREQ=MONTHLY;BYMONTH=1,4,7,10;BYMONTHDAY=20" in told.splitlines()
    payment = json.loads(CliRunner().invoke(app, ["show", str(path), "--json"]).stdout)["payment"]
    assert (payment["calendar"], payment["closed_day"], payment["date"]) == ("DK", "before", None)
