"""Days, years and ages as the solver has them: the Gregorian calendar in whole numbers."""

from __future__ import annotations

from typing import Any

import z3  # type: ignore[import-untyped]

from pipeline.facts import day_date

from .arithmetic import Truth, Whole, choose, compared, divided, every, negated, same, solved, times

_BEFORE_EPOCH = 719_162
"""The days before 1 January 1970, from 1 January of the year 1."""
_STARTS = {"year": (0,), "quarter": (0, 90, 181, 273), "month": (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)}
"""The first day of each part of a common year, counted from 0."""

_LEAP_MONTHS = tuple(start + (index > 1) for index, start in enumerate(_STARTS["month"]))


class Calendar:
    """Years of days that are not known here. `given` holds what is true of the numbers made on the way; every proof must add it."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self._years: dict[int, tuple[Any, Any]] = {}
        self._ages: list[tuple[Whole, Whole, Whole]] = []

    def year(self, day: Whole) -> Whole:
        """The calendar year of a day."""
        if isinstance(day, int):
            return day_date(day).year
        known = self._years.get(day.get_id())
        if known is None:
            year = z3.FreshInt("year")
            self.given += [new_year(year) <= day, day < new_year(year + 1), year >= 1, year <= 9999]
            known = self._years[day.get_id()] = (day, year)
        return known[1]

    def age(self, birth: Whole, now: Whole) -> Whole:
        """Whole years from one day to another; who was born on 29 February turns a year older on 1 March of a common year."""
        for other, day, known in self._ages:
            if same(other, birth) and same(day, now):
                return known
        earlier = compared("lt", self._turn(now), self._turn(birth))
        age = self.year(now) - self.year(birth) - choose(earlier, 1, 0)
        for other, day, known in self._ages:
            if same(day, now):
                # Whoever was born later is not older: it follows from the above, and is hard to find out.
                self.given.append(solved(choose(compared("le", other, birth), compared("ge", known, age), compared("le", known, age))))
        self._ages.append((birth, now, age))
        return age

    def months(self, birth: Whole, now: Whole) -> Whole:
        """Whole months from one day to another; a month ends on the day with the number of the first, or after the last day of a shorter month."""
        (started, on), (turned, today) = self._month(birth), self._month(now)
        return turned - started - choose(compared("lt", today, on), 1, 0)

    def birthday(self, birth: Whole, age: int) -> Whole:
        """The day of the same name so many years later, at most in the year 9999."""
        turn, later = self._turn(birth), self.year(birth) + age
        year = choose(compared("gt", later, 9999), 9999, later)
        return new_year(year) + turn - choose(every(negated(leap(year)), compared("ge", turn, 60)), 1, 0)

    def _month(self, day: Whole) -> tuple[Whole, Whole]:
        """The month of a day, counted from the year 0, and the day within it, from 0."""
        turn, month, start = self._turn(day), 0, 0
        for index, first in enumerate(_LEAP_MONTHS[1:], 1):
            after = compared("ge", turn, first)
            month, start = choose(after, index, month), choose(after, first, start)
        return times(self.year(day), 12) + month, turn - start

    def _turn(self, day: Whole) -> Whole:
        """Where in a leap year a day with this month and day of the month stands."""
        year = self.year(day)
        since = day - new_year(year)
        return since + choose(every(negated(leap(year)), compared("ge", since, 59)), 1, 0)


def new_year(year: Whole) -> Whole:
    """The day number of 1 January."""
    before = year - 1
    return times(before, 365) + divided(before, 4) - divided(before, 100) + divided(before, 400) - _BEFORE_EPOCH


def leap(year: Whole) -> Truth:
    return compared("eq", new_year(year + 1) - new_year(year), 366)


def first_day(kind: str, number: Whole) -> Whole:
    """The first day of a year, quarter or month, counted in these from the year 0; of a week, counted from the first one of the year 1."""
    if kind == "week":
        return times(number, 7) - _BEFORE_EPOCH
    starts = _STARTS[kind]
    year = divided(number, len(starts))
    turn = number - times(year, len(starts))
    late: Whole = starts[-1]
    for index in range(len(starts) - 2, -1, -1):
        late = choose(compared("eq", turn, index), starts[index], late)
    after_february = compared("ge", turn, {"year": 1, "quarter": 1, "month": 2}[kind])
    return new_year(year) + late + choose(every(after_february, leap(year)), 1, 0)
