"""Random numbers by counter: each drawn from a seed, a name and a row's number, as Polars expressions in whole numbers (SplitMix64)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import polars as pl

TEN_THOUSAND = 10_000
_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Draws:
    """The draws of one kind of row, numbered by the column `index`; every name is a sequence of its own."""

    def __init__(self, seed: int, kind: str, index: pl.Expr) -> None:
        self._seed, self._kind, self._index = seed, kind, index.cast(pl.UInt64)

    def word(self, name: str) -> pl.Expr:
        """64 random bits; the multiplications wrap, as they are meant to."""
        start = int.from_bytes(blake2b(f"{self._seed}/{self._kind}/{name}".encode(), digest_size=8).digest())
        mixed = self._index * _lit(_GOLDEN) + _lit(start)
        mixed = (mixed ^ (mixed // _lit(1 << 30))) * _lit(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed // _lit(1 << 27))) * _lit(0x94D049BB133111EB)
        return mixed ^ (mixed // _lit(1 << 31))

    def below(self, name: str, end: int | pl.Expr) -> pl.Expr:
        """A whole number from 0 up to, not including, `end`, which is less than 2^31."""
        bound = end.cast(pl.UInt64) if isinstance(end, pl.Expr) else _lit(end)
        return ((self.word(name) // _lit(1 << 32)) * bound // _lit(1 << 32)).cast(pl.Int64)

    def chance(self, name: str, in_ten_thousand: int | pl.Expr) -> pl.Expr:
        """Whether it happens to this row, as often in 10,000 rows as said."""
        return self.below(name, TEN_THOUSAND) < in_ten_thousand

    def one_of(self, name: str, weights: Sequence[int]) -> pl.Expr:
        """The place of one of the weights, each as often as it weighs."""
        return looked_up(steps(weights), self.below(name, sum(weights)))


def steps(weights: Sequence[int]) -> list[int]:
    """The place of each weight as often as it weighs."""
    return [place for place, weight in enumerate(weights) for _ in range(weight)]


def looked_up(table: pl.Series | Sequence[object], place: pl.Expr) -> pl.Expr:
    """The entry of a table at a row's place."""
    return pl.lit(table if isinstance(table, pl.Series) else pl.Series(table)).gather(place.cast(pl.UInt32))


def by_age(bands: Sequence[Sequence[int]], oldest: int = 120) -> list[list[int]]:
    """For every age from 0 what stands in its band after the two ages; nothing but noughts where there is no band."""
    width = max(len(band) for band in bands) - 2
    return [next((list(band[2:]) for band in bands if band[0] <= age <= band[1]), [0] * width) for age in range(oldest + 1)]


@lru_cache(maxsize=64)
def quantiles(deciles: tuple[int, ...], unit: int) -> pl.Series:
    """10,000 values between eleven deciles: even within a decile, but few of the lowest and the highest one come near its far end."""
    values = []
    for place in range(TEN_THOUSAND):
        decile, within = divmod(place, TEN_THOUSAND // 10)
        low, high = deciles[decile], deciles[decile + 1]
        near = within if decile else 999 - within
        if decile in (0, 9):
            for _ in range(3):
                near = near * near // 1_000
        values.append((low * unit + (high - low) * unit * near // 1_000) if decile else (high * unit - (high - low) * unit * near // 1_000))
    return pl.Series(values)


def _lit(value: int) -> pl.Expr:
    return pl.lit(value & _MASK, dtype=pl.UInt64)
