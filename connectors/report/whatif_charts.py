"""The plots of a what-if: the waterfall of the budget, what families have along their income, and what one unit more of it costs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from connectors.report.drawing import line, number, path, svg, text, ticks
from pipeline.money import minor_digits, money_text
from pipeline.whatif.result import Cliff, Family, SimulationResult

_MOST_RATE = 120.0
"""Per cent; what rises higher is a cliff, drawn to the edge."""


def short(minor: int, currency: str, *, signed: bool = False) -> str:
    """An amount in three digits, for plots: ``4.19 bn USD``."""
    value = minor / 10 ** minor_digits(currency)
    sign = "+" if signed and value > 0 else "−" if value < 0 else ""
    size = abs(value)
    for unit, least in (("bn", 1e9), ("m", 1e6)):
        if size >= least * 0.9995:
            digits = 2 if size < 10 * least else 1 if size < 100 * least else 0
            return f"{sign}{size / least:,.{digits}f} {unit} {currency}"
    return f"{sign}{size:,.0f} {currency}"


class Fall(NamedTuple):
    """A bar of the waterfall, from one level to another; its people where it is about some."""

    name: str
    start: int
    end: int
    style: str
    people: int | None = None


def falls(result: SimulationResult) -> list[Fall]:
    """From what the active rule costs to what the candidate costs, by what changes."""
    names = {"newly_in": "Newly in", "more": "Paid more", "less": "Paid less", "newly_out": "Newly out", "undetermined": "Undetermined"}
    by_name = {change.change: change for change in result.changes}
    level = result.whole.active_minor
    bars = [Fall("Active rule" if result.active else "Without it", 0, level, "total")]
    for name, said in names.items():
        change = by_name[name]
        moved = change.candidate_minor - change.active_minor
        if moved or (change.people and name != "undetermined"):
            bars.append(Fall(said, level, level + moved, "up" if moved >= 0 else "down", change.people))
            level += moved
    return [*bars, Fall("Candidate", 0, level, "total")]


def waterfall(result: SimulationResult, width: float = 1080) -> str:
    """The bars below each other, each beginning where the one before ended, beside the budget of one period."""
    bars, currency = falls(result), result.currency
    wide = width > 600
    left, right, tall, gap = (170.0, width - 170, 30.0, 16.0) if wide else (0.0, width, 22.0, 34.0)
    budget = result.budget.amount_minor if result.budget and len(result.months) == 1 else None
    lows = min(0, *(min(bar.start, bar.end) for bar in bars))
    highs = max(1, *(max(bar.start, bar.end) for bar in bars))
    shown = budget is not None and budget < 2.5 * highs
    highs = max(highs, budget or 0) if shown else highs
    lows, cut = _base(bars, lows, highs)
    scale = (right - left) / (highs - lows)
    body, y = [], 12.0 if wide else 26.0
    for at, bar in enumerate(bars):
        x0, x1 = sorted((left + max(0, bar.start - lows) * scale, left + (bar.end - lows) * scale))
        moved = bar.end - bar.start
        said = short(moved, currency, signed=bar.style != "total")
        people = "" if bar.people is None else f"{bar.people:,} people"
        body.append(f'<rect class="fall {bar.style}" x="{number(x0)}" y="{number(y)}" width="{number(max(1.5, x1 - x0))}" height="{number(tall)}" rx="3"/>')
        if cut and bar.style == "total":
            x = left + 26
            body.append(f'<path class="break" d="{path("M", x - 4, y + tall + 2, "L", x + 4, y - 2, "M", x + 3, y + tall + 2, "L", x + 11, y - 2)}"/>')
        if at + 1 < len(bars):
            edge = left + (bar.end - lows) * scale
            body.append(f'<path class="link" d="{path("M", edge, y + tall, "V", y + tall + gap)}"/>')
        if wide:
            body.append(text(0, y + tall / 2 + (0 if people else 5), bar.name, "name") + text(0, y + tall / 2 + 15, people, "tick"))
            body.append(text(width, y + tall / 2 + 5, said, "count", "end"))
        else:
            body.append(text(0, y - 7, bar.name + (f", {people}" if people else ""), "label") + text(width, y - 7, said, "count", "end"))
        y += tall + gap
    if shown and budget is not None:
        x = left + (budget - lows) * scale
        body.append(f'<path class="limit" d="{path("M", x, 0, "V", y - gap)}"/>')
        body.append(text(x - 6, y + 6, f"Budget {short(budget, currency)}", "bad-text", "end"))
    if cut:
        body.append(text(left, y + 4, f"The bars of the totals are cut: the left edge is {short(lows, currency)}.", "tick"))
    label = f"Cost from {money_text(result.whole.active_minor, currency)} under the active rule to {money_text(result.whole.candidate_minor, currency)}"
    return svg(width, y + (14 if shown or cut else 0), label, body)


def _base(bars: Sequence[Fall], lows: int, highs: int) -> tuple[int, bool]:
    """Where the scale begins, and whether that cuts the totals: where all changes together are small beside them, they would not be seen."""
    levels = [level for bar in bars for level in (bar.start, bar.end) if bar.style != "total"] or [bars[0].end, bars[-1].end]
    spread = max(max(levels), bars[0].end, bars[-1].end) - min(min(levels), bars[0].end, bars[-1].end)
    if lows < 0 or not spread or spread * 4 > highs:
        return lows, False
    return max(0, min(levels) - spread), True


class _Axes:
    """A place for a plot against income: scales, grid and ticks."""

    def __init__(self, family: Family, currency: str, top: float, low: float, width: float, height: float) -> None:
        self.unit = 10 ** minor_digits(currency)
        first, last = family.points[0].at_minor / self.unit, family.points[-1].at_minor / self.unit
        self.left, self.right, self.top, self.bottom = 54.0, width - 12, 22.0, height - 44
        self._first, self._x = first, (self.right - self.left) / max(last - first, 1e-9)
        self._low, self._y = low, (self.bottom - self.top) / max(top - low, 1e-9)
        self.last = last

    def place(self, income_minor: int, value: float) -> tuple[float, float]:
        return self.left + (income_minor / self.unit - self._first) * self._x, self.bottom - (value - self._low) * self._y

    def drawn(self, rows: Sequence[float], said: str, along: str, wanted: int) -> Iterator[str]:
        for value in rows:
            y = self.bottom - (value - self._low) * self._y
            yield f'<line class="grid" x1="{number(self.left)}" x2="{number(self.right)}" y1="{number(y)}" y2="{number(y)}"/>'
            yield text(self.left - 8, y + 4, f"{value:,.0f}", "tick", "end")
        for at in (tick for tick in ticks(self.last, wanted) if self._first <= tick <= self.last):
            x = self.left + (at - self._first) * self._x
            yield text(x, self.bottom + 18, f"{at:,}", "tick", "end" if x > self.right - 20 else "middle")
        yield text(0, 11, said, "label") + text((self.left + self.right) / 2, self.bottom + 38, along, "label", "middle")


def curve(family: Family, cliffs: Sequence[Cliff], currency: str, *, both: bool, width: float = 520, height: float = 300) -> str:
    """What the family is paid at each income under both rules; where the candidate pays more or less is filled."""
    unit = 10 ** minor_digits(currency)
    highest = max(1.0, *(max(point.active_minor, point.candidate_minor) / unit for point in family.points))
    rows = ticks(highest, 5)
    axes = _Axes(family, currency, rows[-1], 0.0, width, height)
    body = list(axes.drawn(rows, f"Paid, {currency}", f"{family.along_title.capitalize()}, {currency}", 5 if width > 400 else 3))
    was = [axes.place(point.at_minor, point.active_minor / unit) for point in family.points]
    now = [axes.place(point.at_minor, point.candidate_minor / unit) for point in family.points]
    if both:
        body += _between(was, now)
        body.append(f'<path class="curve was" d="{line(was)}"/>')
    body.append(f'<path class="halo" d="{line(now)}"/><path class="curve now" d="{line(now)}"/>')
    last = family.points[-1].at_minor
    for cliff in (cliff for cliff in cliffs if cliff.family == family.label and cliff.rule == "candidate" and cliff.at_minor < last):
        x, y = axes.place(cliff.at_minor, cliff.before_minor / unit)
        words = f"−{money_text(cliff.loss_minor, currency).rsplit(' ', 1)[0]} at {money_text(cliff.at_minor, currency).rsplit(' ', 1)[0]}"
        late = x > (axes.left + axes.right) / 2  # the words stand where no curve does: left of the fall and below, or right of it
        body.append(f'<circle class="cliff" cx="{number(x)}" cy="{number(y)}" r="4"/>')
        body.append(text(x - 9, min(y + 22, axes.bottom - 6), words, "bad-text", "end") if late else text(x + 10, y + 4, words, "bad-text"))
    return svg(width, height, f"Amount by {family.along_title}: {family.label}", body)


def _between(was: Sequence[tuple[float, float]], now: Sequence[tuple[float, float]]) -> Iterator[str]:
    """The areas in which the two lines are apart, one for each run of the same sign."""
    spans = [(a0, a1, c0, c1) for (a0, a1), (c0, c1) in zip(pairwise(was), pairwise(now), strict=True)]

    def sign(span: tuple[tuple[float, float], ...]) -> int:
        by = (span[0][1] - span[2][1]) + (span[1][1] - span[3][1])  # higher on the page is less
        return (by > 0.01) - (by < -0.01)

    for side, run in groupby(spans, sign):
        held = list(run)
        if side:
            edge = [held[0][2], *(span[3] for span in held), *(span[1] for span in reversed(held)), held[0][0]]
            yield f'<path class="area {"gain" if side > 0 else "loss"}" d="{line(edge)}Z"/>'


def marginal(family: Family, currency: str, parts: int, *, both: bool, width: float = 520, height: float = 260) -> str:
    """How much of one unit more of income is lost at each income, in per cent over the same stretch of time; a cliff reaches the edge."""
    sides = {"was": _rates(family, "active_minor", parts), "now": _rates(family, "candidate_minor", parts)}
    if not both:
        del sides["was"]
    seen = [rate for steps in sides.values() for start, end, rate in steps if end - start > 1]
    most, least = max([5.0, *(min(rate, _MOST_RATE) for rate in seen)]), min([0.0, *(max(rate, -_MOST_RATE) for rate in seen)])
    rows = [float(value) for value in ticks(most, 5)]
    rows = [-value for value in ticks(-least, 2)[:0:-1]] + rows if least < -0.5 else rows
    axes = _Axes(family, currency, rows[-1], rows[0], width, height)
    said = "Lost of one unit more, per cent"
    body = list(axes.drawn(rows, said, f"{family.along_title.capitalize()}, {currency}", 5 if width > 400 else 3))
    for side, steps in sides.items():
        points = [axes.place(at, max(min(rate, rows[-1]), rows[0])) for start, end, rate in steps for at in (start, end)]
        body.append(f'<path class="curve {side}" d="{line(points)}"/>')
        falls_off = [axes.place(start, rows[-1]) for start, end, rate in steps if end - start == 1 and rate > rows[-1]]
        body += [f'<circle class="cliff" cx="{number(x)}" cy="{number(y)}" r="4"/>' for x, y in falls_off]
    return svg(width, height, f"Share of one unit more of {family.along_title} that is lost: {family.label}", body)


def _rates(family: Family, side: str, parts: int) -> list[tuple[int, int, float]]:
    """Between every two places: how much of what is earned more is lost."""
    return [
        (one.at_minor, other.at_minor, 100 * parts * (getattr(one, side) - getattr(other, side)) / (other.at_minor - one.at_minor))
        for one, other in pairwise(family.points)
    ]  # fmt: skip


def months(result: SimulationResult, width: float = 1080, height: float = 220) -> str:
    """What is paid by the end of each month of the year, beside the budget."""
    unit, currency = 10 ** minor_digits(result.currency), result.currency
    spent = [month.so_far_minor / unit for month in result.months]
    near = result.budget is not None and result.budget.amount_minor / unit < 4 * max(spent)  # a far limit would leave bars that nobody sees
    budget = result.budget.amount_minor / unit if result.budget and near else 0.0
    rows = ticks(max(1.0, budget, *spent), 4)
    left, right, top, bottom = 8.0, width - 8, 24.0, height - 26
    scale, wide = (bottom - top) / rows[-1], (right - left) / len(spent)
    body = []
    for at, (month, value) in enumerate(zip(result.months, spent, strict=True)):
        over = near and value > budget
        x, y = left + at * wide + wide * 0.16, bottom - value * scale
        place = f'x="{number(x)}" y="{number(y)}" width="{number(wide * 0.68)}" height="{number(value * scale)}"'
        body.append(f'<rect class="fall {"down" if over else "total"}" {place} rx="3"/>')
        body.append(text(x + wide * 0.34, bottom + 18, month.month if width > 600 or len(spent) <= 4 else month.month[-2:], "tick", "middle"))
        if width > 600 or len(spent) <= 4:
            body.append(text(x + wide * 0.34, y - 6, short(month.so_far_minor, currency).rsplit(" ", 1)[0], "tick", "middle"))
    if result.budget and near:
        y = bottom - budget * scale
        body.append(
            f'<path class="limit" d="{path("M", left, y, "H", right)}"/>'
            + text(left, y - 6, f"Budget {short(result.budget.amount_minor, currency)}", "bad-text")
        )
    return svg(width, height, "Paid by the end of each month, against the budget", body)
