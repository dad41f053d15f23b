"""The blocks that amounts are made of: tapers by rate, by step and over a range, marginal scales, and parts that add up to their whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from . import terms
from .terms import MONTHS, NUMBER, Kind, Refused, Term


def zero(like: Term) -> Term:
    return terms.constant(0, like.kind, "0", literal=True)


def above(of: Term, limit: Term) -> Term:
    """The part of an amount above a limit."""
    return terms.greatest(terms.subtract(of, limit, f"{of} - {limit}"), zero(of), f"the part of {of} above {limit}")


def taper(of: Term, limit: Term, rate: Term, parts: int | None, period: str) -> Term:
    """The part of `of` above a limit, times a rate, as an amount of one period."""
    return _of_period(terms.multiply(above(of, limit), _rate(rate, "taper"), f"{rate} of the part of {of} above {limit}"), of, parts, period)


def taper_by_steps(of: Term, limit: Term, size: Term, started: bool, rate: Term, parts: int | None, period: str) -> Term:
    """The part of `of` above a limit in whole steps, times a rate, as an amount of one period."""
    steps = _steps(of, limit, size, started)
    return _of_period(
        terms.multiply(replace(terms.multiply(steps, size, str(steps)), kind=of.kind), _rate(rate, "taper"), f"{rate} of {steps}"), of, parts, period
    )


def taken_by_steps(of: Term, limit: Term, size: Term, started: bool, take: Term, parts: int | None) -> Term:
    """An amount for each step of the part of `of` above a limit."""
    steps = _steps(of, limit, size, started)
    return _in_parts(replace(terms.multiply(steps, _amount(take), f"{take} for each of {steps}"), kind=take.kind), parts)


def taper_over(of: Term, start: Term, width: Term, widths: Sequence[Fraction], take: Term, parts: int | None) -> Term:
    """Nothing at `start`, the whole of `take` at the end of the range, and evenly between."""
    inside = terms.least(above(of, start), width, f"the part of {of} in the range")
    share = replace(
        terms.multiply(inside, terms.inverse(width, widths), f"the share of the range that {of} has passed"),
        kind=Kind("ratio"),
        low=Fraction(0),
        high=Fraction(1),
    )
    return _in_parts(replace(terms.multiply(share, _amount(take), f"the share of {take} that {of} has passed of the range"), kind=take.kind), parts)


def _steps(of: Term, limit: Term, size: Term, started: bool) -> Term:
    return terms.whole_steps(above(of, limit), size, started, f"the {'started' if started else 'full'} steps of {size} of {of} above {limit}")


def _rate(rate: Term, of: str) -> Term:
    if terms.of_shares(rate):
        return replace(rate, kind=Kind("ratio"))
    if rate.kind.type != "ratio":
        raise Refused(f"the rate of a {of} is a percent or a ratio: {rate} is {rate.kind}", f"Write {rate} %." if rate.literal else "")
    return rate


def _amount(take: Term) -> Term:
    if take.kind.type != "money":
        raise Refused(f"a taper takes an amount of money: {take} is {take.kind}", "Use rate for a percent or a ratio.")
    return take


def _of_period(whole: Term, of: Term, parts: int | None, period: str) -> Term:
    if parts is None and of.kind.per and period != "once" and of.kind.per != period:
        raise Refused(f"{of} is {of.kind} and the benefit is per {period}", _as_one_period(of, period))
    return replace(terms.divide(whole, terms.constant(parts or 1, NUMBER, str(parts), literal=True)), kind=Kind("money"), text=str(whole))


def _as_one_period(of: Term, period: str) -> str:
    """How a taper of an amount for one time takes from a benefit for another."""
    if period == "week" and of.kind.per != "year":
        whole = f"per_year({of})" if of.kind.per in MONTHS else str(of)
        return f"Write of: spread({whole}, 52), or the number of weeks that the law counts, and a limit without per."
    share = Fraction(52) if period == "week" else Fraction(MONTHS.get(of.kind.per, 0), MONTHS[period])
    if 0 < share < 1:
        return f"Write of: per_{period}({of}), and a limit per {period}."
    return f"Say spread: {max(share, Fraction(1))}; what it takes is then an amount of the {period}, and so has no per, like the amounts it is taken off."


def _in_parts(whole: Term, parts: int | None) -> Term:
    if parts is None:
        return whole
    return replace(terms.divide(whole, terms.constant(parts, NUMBER, str(parts), literal=True)), kind=Kind("money"), text=str(whole))


def scale(of: Term, brackets: Sequence[tuple[Term, Term, Term | None]]) -> Term:
    """Each bracket's rate on the part of `of` in it. A bracket is its lower end, its rate and its width, None for the last."""
    whole: Term | None = None
    for start, rate, width in brackets:
        part = above(of, start)
        if width is not None:
            part = terms.least(part, width, f"the part of {of} in the bracket from {start}")
        share = terms.multiply(part, _rate(rate, "bracket"), f"{rate} of {part}")
        whole = share if whole is None else terms.add(whole, share, f"the sum of the brackets of {of}")
    assert whole is not None
    return whole


def part_of_whole(whole: Term, period: str, remainder: str, to: Fraction) -> Term:
    """What one period has of an amount per year or quarter: equal parts down to a multiple of `to`, the remainder in the first or last of them."""
    if whole.kind.type != "money" or whole.kind.per not in MONTHS:
        raise Refused(f"only money per year or quarter has parts: {whole} is {whole.kind}", "Say per: year where it is defined, or use per_year(amount).")
    if period not in MONTHS or MONTHS[whole.kind.per] <= MONTHS[period]:
        raise Refused(f"{whole} is {whole.kind} and the benefit is {'paid once' if period == 'once' else 'per ' + period}: it has no parts")
    if whole.den != 1:
        raise Refused(f"{whole} is no whole number of minor units but of 1/{whole.den}: no parts add up to it", "Round it in a step before.")
    parts = MONTHS[whole.kind.per] // MONTHS[period]
    share = terms.rounded(terms.divide(whole, terms.constant(parts, NUMBER, str(parts), literal=True)), to, "down")
    low, high = (_remainder(bound, share_bound, parts, to) for bound, share_bound in ((whole.low, share.low), (whole.high, share.high)))
    for bound in (whole, share):
        terms.checked(bound, parts)
    bounds = min(low, share.low), max(high, share.high)
    return terms.checked(Term("part", Kind("money"), (whole, share), remainder, *bounds, 1, text=f"{whole} in {parts} parts"))


def _remainder(bound: Fraction, share: Fraction, parts: int, to: Fraction) -> Fraction:
    """A bound of what the other parts leave of a whole up to `bound`."""
    most = abs(bound) / parts + (parts - 1) * to
    size = min(abs(bound), most)
    return share if not bound else size if bound > 0 else -size
