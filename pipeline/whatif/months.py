"""What a decided period means for a year's budget: the months in which it is paid, as if every period of the year came out as this one."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.facts import LAST_DAY, day_date
from pipeline.rules import Period, Rule
from pipeline.rules.periods import PER_YEAR
from pipeline.rules.schedule import months_paid

from .result import Budget, Month

_FIRST_MONTHS = {"year": [1], "quarter": [1, 4, 7, 10], "month": list(range(1, 13)), "week": list(range(1, 13))}


def months_of(rule: Rule, period: Period, active_minor: int, candidate_minor: int) -> tuple[Month, ...]:
    """The months of the year with what is paid in each; a benefit paid once has one."""
    year, paid_in = payment_months(rule, period)
    parts = PER_YEAR[period.kind]
    shares = [_shares(total * parts, len(paid_in)) for total in (active_minor, candidate_minor)]
    months, so_far = [], 0
    for number, active, candidate in zip(paid_in, *shares, strict=True):
        so_far += candidate
        months.append(Month(month=f"{year}-{number:02}", active_minor=active, candidate_minor=candidate, so_far_minor=so_far))
    return tuple(months)


def payment_months(rule: Rule, period: Period) -> tuple[int, list[int]]:
    """The year and its months in which money leaves, by the document's schedule or else by the period's own first days."""
    if period.kind == "once":
        on = rule.day("payment.date", period)
        paid = day_date(rule.day("period.start", period) if on == LAST_DAY else on)
        return paid.year, [paid.month]
    if rule.payment.schedule:
        return period.year, months_paid(rule.payment.schedule, rule.in_force[0], period.year)
    return period.year, _FIRST_MONTHS[period.kind]


def budget_of(rule: Rule, months: Sequence[Month]) -> Budget | None:
    """The candidate's budget against the year, and the month in which it is passed."""
    if rule.budget_minor is None or rule.limits.budget is None:
        return None
    spent = months[-1].so_far_minor if months else 0
    reached = next((month.month for month in months if month.so_far_minor > rule.budget_minor), "")
    return Budget(
        amount_minor=rule.budget_minor, per=rule.limits.budget.per, year_minor=spent, left_minor=rule.budget_minor - spent, reached_in=reached
    )  # fmt: skip


def _shares(total_minor: int, parts: int) -> list[int]:
    """A total in equal parts that add up to it; what does not divide goes to the first ones."""
    each, rest = divmod(total_minor, parts)
    return [each + (index < rest) for index in range(parts)]
