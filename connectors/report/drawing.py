"""What every plot of a report is drawn with: SVG text of numbers, words, paths and axes; colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import count
from math import ceil


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def svg(width: float, height: float, label: str, body: Sequence[str]) -> str:
    """A drawing of a given size, with the words that stand for it where it is not seen."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>{''.join(body)}</svg>"
    )


def text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text x="{number(x)}" y="{number(y)}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def path(*parts: str | float) -> str:
    """A path's commands and coordinates."""
    return " ".join(part if isinstance(part, str) else number(part) for part in parts)


def line(points: Sequence[tuple[float, float]]) -> str:
    """A path through points."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def ticks(largest: float, wanted: int = 5) -> list[int]:
    """Round numbers from 0 to at least `largest`, in at most `wanted` equal steps of 1, 2 or 5 times a power of ten."""
    step = next(mantissa * 10**power for power in count() for mantissa in (1, 2, 5) if mantissa * 10**power * wanted >= largest)
    return [step * i for i in range(max(1, ceil(largest / step)) + 1)]
