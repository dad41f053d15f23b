"""Regions of facts: boxes of whole numbers, and what rows of a table leave uncovered or cover twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, product

Box = tuple[tuple[int, int], ...]
"""Of each fact of a table the first and the last value, both within."""
MAX_BOXES = 1_000


class TooMany(ValueError):
    """The rows cut the region into more pieces than are looked at."""


def boxes(cells: Sequence[Sequence[tuple[int, int]]]) -> list[Box]:
    """The boxes of a row whose cells each list some ranges."""
    return list(product(*cells))


def meet(one: Box, other: Box) -> Box | None:
    """What two boxes share."""
    shared = tuple((max(a[0], b[0]), min(a[1], b[1])) for a, b in zip(one, other, strict=True))
    return shared if all(low <= high for low, high in shared) else None


def without(whole: Iterable[Box], cuts: Iterable[Box]) -> list[Box]:
    """What is left of some boxes where others are cut out."""
    rest = list(whole)
    for cut in cuts:
        rest = [piece for box in rest for piece in _cut(box, cut)]
        if len(rest) > MAX_BOXES:
            raise TooMany
    return rest


def _cut(box: Box, cut: Box) -> list[Box]:
    shared = meet(box, cut)
    if shared is None:
        return [box]
    pieces = []
    for index, ((low, high), (first, last)) in enumerate(zip(box, shared, strict=True)):
        for side in ((low, first - 1), (last + 1, high)):
            if side[0] <= side[1]:
                pieces.append((*shared[:index], side, *box[index + 1 :]))
    return pieces


def doubly_covered(rows: Sequence[Sequence[Box]]) -> tuple[int, int, Box] | None:
    """The first two rows that share a region, and the region."""
    for (index, one), (further, other) in combinations(enumerate(rows), 2):
        for box, second in product(one, other):
            shared = meet(box, second)
            if shared is not None:
                return index, further, shared
    return None
