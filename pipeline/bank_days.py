"""Days on which banks settle, by calendar: Denmark, the Federal Reserve, TARGET2, Japan and Korea."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

from .facts import day_date

Calendar = Literal["DK", "US", "EU", "JP", "KR"]


def is_bank_day(number: int, calendar: Calendar) -> bool:
    """Whether banks settle on the day."""
    of = day_date(number)
    return of.weekday() < 5 and of not in _closed(of.year, calendar)


def bank_day_after(number: int, count: int, calendar: Calendar) -> int:
    """The `count`-th bank day after a day; the day itself where `count` is 0."""
    while count > 0:
        number += 1
        count -= is_bank_day(number, calendar)
    return number


@lru_cache(maxsize=256)
def _closed(year: int, calendar: Calendar) -> frozenset[date]:
    import holidays  # here, since few commands ask for bank days and the calendars of all countries take their time

    if calendar == "US":
        return frozenset(holidays.financial_holidays("XFED", years=year))
    if calendar == "EU":
        return frozenset(holidays.financial_holidays("XECB", years=year))
    if calendar == "DK":
        public = holidays.country_holidays("DK", years=year)
        ascension = {of + timedelta(days=1) for of, name in public.items() if "Ascension" in name or "Himmelfart" in name}
        return frozenset(public) | ascension | {date(year, 6, 5), date(year, 12, 24), date(year, 12, 31)}
    return frozenset(holidays.country_holidays(calendar, years=year, categories=("public", "bank")))
