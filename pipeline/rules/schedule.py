"""The days of payment of a benefit per period: the part of RFC 5545's recurrence rules in which money leaves in every month or year that is named."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.facts import day_date
from pipeline.problems import suggestion

_PARTS = ("FREQ", "INTERVAL", "BYMONTH", "BYMONTHDAY", "BYDAY", "BYSETPOS")
_INTERVALS = {"DAILY": 28, "WEEKLY": 4, "MONTHLY": 12, "YEARLY": 1}
"""The frequencies with the longest interval that leaves no month, or year, without a payment that should have one."""
_OFTEN = {"FORTNIGHTLY": "FREQ=WEEKLY;INTERVAL=2", "QUARTERLY": "FREQ=MONTHLY;INTERVAL=3", "ANNUALLY": "FREQ=YEARLY", "BIMONTHLY": "FREQ=MONTHLY;INTERVAL=2"}
_BY_DAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,3}", re.ASCII)
_SHORTEST = {2: 28, 4: 30, 6: 30, 9: 30, 11: 30}
PATTERN = r"^(FREQ|INTERVAL|BYMONTH|BYMONTHDAY|BYDAY|BYSETPOS)=[^;]+(;(FREQ|INTERVAL|BYMONTH|BYMONTHDAY|BYDAY|BYSETPOS)=[^;]+)*$"


def read_schedule(text: object) -> object:
    """The text, where it is such a rule; ValueError says the first thing that it cannot say, and the way to write it."""
    if not isinstance(text, str):
        raise ValueError("a rule such as FREQ=MONTHLY;BYMONTHDAY=20 must stand here")
    parts = _parts(text)
    often = parts.get("FREQ", "")
    if often not in _INTERVALS:
        way = _OFTEN.get(often) or "FREQ=MONTHLY;BYMONTHDAY=20"
        raise ValueError(f"{often!r} is no frequency, it is one of {', '.join(_INTERVALS)}: write it like {way}")
    interval = _numbers(parts, "INTERVAL", 1, _INTERVALS[often])
    months = _numbers(parts, "BYMONTH", 1, 12)
    if len(interval) > 1:
        raise ValueError(f"INTERVAL={parts['INTERVAL']}: INTERVAL is one number")
    if interval not in ([], [1]) and months:
        raise ValueError("INTERVAL and BYMONTH do not go together: name all months of the year in BYMONTH")
    _days(parts, often, months or list(range(1, 13)))
    return text


def months_paid(schedule: str, first_day: int, year: int) -> list[int]:
    """The months of a year in which money leaves; an interval is counted from the month of the first day in force."""
    parts, first = _parts(schedule), day_date(first_day)
    months = sorted(set(_numbers(parts, "BYMONTH", 1, 12)))
    if months:
        return months
    if parts["FREQ"] == "YEARLY":
        return [first.month]
    interval = int(parts.get("INTERVAL", "1")) if parts["FREQ"] == "MONTHLY" else 1
    return [month for month in range(1, 13) if (12 * (year - first.year) + month - first.month) % interval == 0]


def _parts(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, sign, value = part.partition("=")
        if not sign or not value:
            raise ValueError(f"{part!r} is no part of a rule of RFC 5545, write it like FREQ=MONTHLY;BYMONTHDAY=20")
        if name not in _PARTS:
            near = suggestion(name, _PARTS)
            raise ValueError(f"a schedule has no {name!r}" + (f", {near}" if near else f", its parts are {', '.join(_PARTS)}"))
        if name in found:
            raise ValueError(f"{name} stands twice")
        found[name] = value
    return found


def _numbers(parts: Mapping[str, str], name: str, least: int, most: int, last: bool = False) -> list[int]:
    """The numbers of a part; `last` where they may count from the end, as -1."""
    found = []
    for text in parts[name].split(",") if name in parts else ():
        number = int(text) if _NUMBER.fullmatch(text) else 0
        if not (least <= number <= most or (last and least <= -number <= most)):
            counted = f"{least} to {most}" + (", or -1 for the last and so on" if last else "")
            raise ValueError(f"{name}={parts[name]}: {text!r} is none of {counted}" if most > 1 else f"{name} of FREQ={parts['FREQ']} can only be 1")
        found.append(number)
    return found


def _days(parts: Mapping[str, str], often: str, months: list[int]) -> None:
    """Holds the days against the frequency, so that every month that is named has one."""
    monthly = often in ("MONTHLY", "YEARLY")
    named = [name for name in ("BYMONTHDAY", "BYDAY") if name in parts]
    if len(named) > 1:
        raise ValueError("BYMONTHDAY and BYDAY do not go together: a day that is both does not come in every month")
    if often == "YEARLY" and named and "BYMONTH" not in parts:
        raise ValueError(f"{named[0]} of FREQ=YEARLY wants BYMONTH, the month of payment")
    if "BYMONTHDAY" in parts and not monthly:
        raise ValueError(f"BYMONTHDAY goes with FREQ=MONTHLY or YEARLY, not {often}")
    days = _numbers(parts, "BYMONTHDAY", 1, 31, last=True)
    for month in months if days else ():
        if min(map(abs, days)) > _SHORTEST.get(month, 31):
            raise ValueError(f"BYMONTHDAY={parts['BYMONTHDAY']} does not come in every month {month}: -1 is the last day of each month")
    weekdays = parts["BYDAY"].split(",") if "BYDAY" in parts else []
    for text in weekdays:
        match = _BY_DAY.fullmatch(text)
        if match is None or (match[1] and not 1 <= abs(int(match[1])) <= 4):
            raise ValueError(f"BYDAY={parts['BYDAY']}: {text!r} is no day, write MO, TU, WE, TH, FR, SA, SU, or of a month 1FR to 4FR and -1FR to -4FR")
        if match[1] and (not monthly or "BYSETPOS" in parts):
            raise ValueError(f"{text!r} counts days of a month: it goes with FREQ=MONTHLY or YEARLY, and without BYSETPOS")
    if "BYSETPOS" in parts and (often != "MONTHLY" or not named):
        raise ValueError("BYSETPOS goes with FREQ=MONTHLY and BYDAY or BYMONTHDAY: BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1 is the last of these days in a month")
    _numbers(parts, "BYSETPOS", 1, len(days) or 4 * len(set(weekdays)), last=True)
