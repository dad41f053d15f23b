"""The report's plots, drawn as SVG text at a given width; colours come from the page's style sheet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from connectors.report.drawing import number as _n
from connectors.report.drawing import path as _path
from connectors.report.drawing import svg as _svg
from connectors.report.drawing import text as _text
from connectors.report.drawing import ticks
from connectors.report.summary import DemoSummary, Income
from pipeline.money import minor_digits, money_text

STATUSES = {
    "single": "Single",
    "married_joint": "Married, joint return",
    "head_of_household": "Head of household",
    "married_separate": "Married, separate return",
}


TOP, TALL, LEFT, POOL, BAR = 84.0, 168.0, 2.0, 152.0, 8.0
"""Of the funnel: where it begins, its height at the most people, its left edge, the width of its last block and of the others."""


def funnel(summary: DemoSummary, width: float = 1080) -> str:
    """From subject to settled money: a stream that keeps its scale, with what leaves it on the way."""
    stages = [("Known", summary.subjects, None), ("Granted", summary.granted, summary.granted_minor), ("Ordered", *summary.ordered)]
    stages += [("Released", *summary.released), ("Sent", *summary.sent), ("Settled", *summary.settled)]
    refused, undetermined = sum(row.count for row in summary.refused), sum(row.count for row in summary.undetermined)
    rejected, returned, under_way = (summary.total(*states)[0] for states in (("rejected",), ("returned",), ("sent", "accepted", "unknown")))
    leaving = [
        [("Undetermined", undetermined, "wait"), ("Refused", refused, "off")],
        [("Nothing to pay", summary.granted_nothing, "off")],
        [("Held", summary.total("held")[0], "wait")],
        [("Not sent yet", summary.total("released")[0], "wait")],
        [("Returned", returned, "bad"), ("Rejected", rejected, "bad"), ("Under way", under_way, "wait")],
    ]
    gap = (width - LEFT - POOL) / (len(stages) - 1)
    scale = TALL / max(1, *(number for _, number, _ in stages))
    body: list[str] = []
    for at, ((_, before, _), (_, after, _)) in enumerate(pairwise(stages)):
        start, end = LEFT + at * gap + BAR, LEFT + (at + 1) * gap
        body += [_stream(start, end, before, after, scale), *_exits(start, TOP + before * scale, leaving[at], scale)]
    for at, (name, number, minor) in enumerate(stages):
        x, wide = LEFT + at * gap, POOL - 2 if at == len(stages) - 1 and number else BAR
        body.append(f'<rect class="node" x="{_n(x)}" y="{_n(TOP)}" width="{_n(wide)}" height="{_n(max(1.5, number * scale))}" rx="3"/>')
        body.append(_text(x, 18, name, "label") + _text(x, 44, f"{number:,}", "big"))
        if minor is not None:
            body.append(_text(x, 64, money_text(minor, summary.currency), "label"))
    return _svg(width, TOP + TALL + 84, "From people known to settled money", body)


def _stream(start: float, end: float, before: int, after: int, scale: float) -> str:
    high, low, middle = TOP + min(before, after) * scale, TOP + after * scale, (start + end) / 2
    drawn = f'<path class="stream" d="{_path("M", start, TOP, "H", end, "V", low, "C", middle, low, middle, high, start, high, "Z")}"/>'
    if before == after or not before:
        return drawn
    return drawn + _text(middle, (TOP + high) / 2 + 5, f"{100 * after / before:.1f} %", "flow", "middle")


def _exits(start: float, bottom: float, leaving: Sequence[tuple[str, int, str]], scale: float) -> Iterator[str]:
    """What leaves between two stages, from the lowest up, each turned down to its name."""
    foot, room = TOP + TALL + 34, 34.0
    for name, number, style in leaving:
        if number:
            thick = max(2.0, number * scale)
            turn, level = start + room + thick / 2, bottom - thick / 2
            way = _path("M", start, level, "H", turn - 18, "Q", turn, level, turn, level + 18, "V", foot)
            yield f'<path class="exit {style}" stroke-width="{_n(thick)}" d="{way}"/>'
            yield _text(turn, foot + 20, name, "label", "middle") + _text(turn, foot + 38, f"{number:,}", "count", "middle")
            bottom, room = bottom - thick, room + 96


def incomes(sample: Sequence[Income], currency: str, width: float = 1080, height: float = 430) -> str:
    """Payment against income: one dot per place, larger where more people stand, and each status's mean by band of income."""
    unit = 10 ** minor_digits(currency)
    paid = sorted(income for income, amount, _ in sample if amount > 0)
    x_ticks = ticks(max(1.0, paid[int(len(paid) * 0.995)] * 1.08 / unit if paid else 1.0), 6 if width > 600 else 4)
    amounts = sorted(amount for _, amount, _ in sample)
    y_ticks = ticks(max(1.0, amounts[int(len(amounts) * 0.995)] / unit if amounts else 1.0), 6)
    left, right, top, bottom = 52.0, width - 14, 14.0, height - 44
    x_scale, y_scale = (right - left) / x_ticks[-1], (bottom - top) / y_ticks[-1]

    def place(income: float, amount: float) -> tuple[float, float]:
        return left + max(0.0, income / unit) * x_scale, bottom - amount / unit * y_scale

    body = [
        f'<line class="grid" x1="{_n(left)}" x2="{_n(right)}" y1="{_n(bottom - y * y_scale)}" y2="{_n(bottom - y * y_scale)}"/>'
        + _text(left - 8, bottom - y * y_scale + 4, f"{y:,}", "tick", "end")
        for y in y_ticks
    ]
    body += [_text(left + x * x_scale, bottom + 20, f"{x:,}", "tick", "end" if x == x_ticks[-1] else "middle") for x in x_ticks]
    body.append(_text((left + right) / 2, height - 4, f"Income of the year, {currency}", "label", "middle"))
    shown = [(income, amount, status) for income, amount, status in sample if income / unit <= x_ticks[-1] and amount / unit <= y_ticks[-1]]
    grid = 5.0
    dots = Counter((round(x / grid), round(y / grid), status) for income, amount, status in shown for x, y in [place(income, amount)])
    for status in STATUSES:
        circles = [
            f'<circle cx="{_n(x * grid)}" cy="{_n(y * grid)}" r="{_n(min(5.5, 1.1 + people**0.5 * 0.55))}"/>'
            for (x, y, of), people in sorted(dots.items())
            if of == status
        ]
        body.append(f'<g class="dots {status}">{"".join(circles)}</g>')
    band = x_ticks[-1] / 30 if width > 600 else x_ticks[-1] / 18
    for status in reversed(STATUSES):
        means: dict[int, list[int]] = defaultdict(list)
        for income, amount, of in shown:
            if of == status:
                means[int(max(0.0, income / unit) // band)].append(amount)
        points = [place((at + 0.5) * band * unit, sum(of) / len(of)) for at, of in sorted(means.items()) if len(of) >= 4]
        if len(points) > 1:
            path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            body.append(f'<path class="halo" d="{path}"/><path class="mean {status}" d="{path}"/>')
    return _svg(width, height, "Payment by income and filing status", body)


def throughput(series: Sequence[tuple[float, int]], width: float = 520, height: float = 220) -> str:
    """Events per second over the time of the run, with their mean."""
    times = [0.0, *(at for at, _ in series)]
    rates = [(start, end, events / (end - start)) for (start, end), (_, events) in zip(pairwise(times), series, strict=True) if end > start]
    left, right, top, bottom = 58.0, width - 6, 14.0, height - 40
    y_ticks, x_ticks = ticks(max((rate for *_, rate in rates), default=1.0), 4), ticks(times[-1] or 1.0, 6)
    x_scale, y_scale = (right - left) / max(times[-1], 1e-9), (bottom - top) / y_ticks[-1]
    body = [
        f'<line class="grid" x1="{_n(left)}" x2="{_n(right)}" y1="{_n(bottom - y * y_scale)}" y2="{_n(bottom - y * y_scale)}"/>'
        + _text(left - 8, bottom - y * y_scale + 4, f"{y:,}", "tick", "end")
        for y in y_ticks
    ]
    for start, end, rate in rates:
        wide = max(0.5, (end - start) * x_scale - 1)
        body.append(
            f'<rect class="rate" x="{_n(left + start * x_scale)}" y="{_n(bottom - rate * y_scale)}" width="{_n(wide)}" height="{_n(rate * y_scale)}" rx="1.5"/>'
        )
    body += [_text(left + x * x_scale, bottom + 18, str(x), "tick", "middle") for x in x_ticks if left + x * x_scale <= right + 0.1]
    body.append(_text((left + right) / 2, height - 4, "Seconds since the start", "label", "middle"))
    return _svg(width, height, "Events per second", body)
