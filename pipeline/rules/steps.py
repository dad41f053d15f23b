"""The steps of an amount, read out of a document as typed terms: expressions, tapers, scales and parts, with their bounds and rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from math import prod

from pipeline.facts import day_date
from pipeline.money import decimal_text, parse_minor

from . import blocks, document, grids, regions, terms
from .definitions import Definitions
from .expressions import BadExpression, parse_expression
from .grids import NAMED, Axis, Grid
from .rule import Key, Step
from .scalars import Path
from .terms import Kind, Refused, Term
from .values import is_number, read_key, read_number, read_value

MAX_PAIRS = 20_000
BLOCKS = ("is", "taper", "table", "scale", "spread")
_TAPERS = (("above", "rate"), ("above", "each", "rate"), ("above", "each", "take"), ("from", "until", "take"))


class Steps(Definitions):
    """Steps on top of what is defined by name. `pairs` and `boxes` count what was compared so far, which is limited for a whole document."""

    pairs = 0
    boxes = 0

    def expression(self, path: Path, text: str, of_member: bool = False, amounts_in: str = "") -> Term | None:
        try:
            return parse_expression(text.strip(), self.member_names if of_member else self.names, self.doc.decides.period, amounts_in)
        except BadExpression as bad:
            if not bad.silent:
                self.bad(path, *self._elsewhere(bad, of_member), offset=bad.offset + len(text) - len(text.lstrip()))
            return None

    def _elsewhere(self, bad: BadExpression, of_member: bool) -> tuple[str, str]:
        """The message and mend, which know of a name that is known of the household only, or of its members only."""
        if bad.name in self.member_names and not of_member:
            return f"{bad.name!r} is of each member, not of the household", "Count it or add it up in aggregates, and use the aggregate here."
        if bad.name in self.names and of_member:
            return f"{bad.name!r} is of the household, not of a member", "An aggregate uses facts of members and parameters."
        return str(bad), bad.mend

    def bound(self, path: Path, text: str, like: Kind) -> Term | None:
        """A written amount (or number) of a kind, or an expression."""
        if not is_number(text):
            return self.expression(path, text)
        try:
            value = Fraction(parse_minor(text, self.currency)) if like.type == "money" else read_number(text)
            return terms.constant(value, like, text)
        except ValueError as error:
            self.bad(path, str(error))
            return None

    def rate(self, path: Path, text: str) -> Term | None:
        """A written percentage such as ``5 %``, or an expression."""
        if not text.rstrip().endswith("%"):
            return self.expression(path, text)
        try:
            return terms.constant(Fraction(str(read_value(text.strip(), "percent", self.currency))), Kind("ratio"), text.strip())
        except ValueError as error:
            self.bad(path, str(error))
            return None

    def step(self, path: Path, step: document.Step) -> None:
        self.law((*path, "law"), step.law)
        said = [name for name in BLOCKS if getattr(step, "is_" if name == "is" else name) is not None]
        if len(said) != 1:
            both = " and ".join(said)
            self.bad(path, f"step {step.id!r} has both {both}" if said else f"step {step.id!r} needs one of {', '.join(BLOCKS)}")
            return
        read: Mapping[str, Callable[[Path, document.Step], Term | None]] = {
            "is": self._is, "taper": self._taper, "table": self._table, "scale": self._scale, "spread": self._spread
        }  # fmt: skip
        try:
            term = read[said[0]]((*path, said[0]), step)
        except Refused as refused:
            self.bad((*path, said[0]), str(refused), refused.mend)
            term = None
        if not self.claim((*path, "id"), step.id):
            return
        self.names[step.id] = terms.UNKNOWN
        if term is None:
            return
        try:
            finished = self._finish(path, step, term)
            self.names[step.id] = terms.named("step", step.id, finished.kind, finished.low, finished.high, finished.den)
        except Refused as refused:
            self.bad(path, str(refused), refused.mend)
            return
        self.steps[step.id] = Step(step.id, finished, step.law, step.is_ or _text(step))

    def _is(self, path: Path, step: document.Step) -> Term | None:
        return self.expression(path, step.is_ or "")

    def _taper(self, path: Path, step: document.Step) -> Term | None:
        taper = step.taper
        assert taper is not None
        if taper.spread == 0:
            self.bad((*path, "spread"), "an amount is spread over at least 1 payment")
            return None
        said = {name for name in ("above", "rate", "each", "from", "until", "take") if getattr(taper, "from_" if name == "from" else name) is not None}
        if said not in map(set, _TAPERS):
            forms = "; or ".join(", ".join(form) for form in _TAPERS)
            self.bad(path, f"a taper of {', '.join(sorted(said)) or 'nothing'} cannot be calculated", f"Beside of, say {forms}.", key=True)
            return None
        of, period = self.expression((*path, "of"), taper.of), self.doc.decides.period
        if of is None:
            return None
        limit = self.bound((*path, "above"), taper.above, of.kind) if taper.above is not None else None
        rate = self.rate((*path, "rate"), taper.rate) if taper.rate is not None else None
        take = self.bound((*path, "take"), taper.take, Kind("money")) if taper.take is not None else None
        if "from" in said:
            return self._taper_over(path, of, taper, take)
        if taper.each is not None:
            size, started = self.bound((*path, "each", "size"), taper.each.size, of.kind), taper.each.count == "started"
            if limit is None or size is None or (rate is None and take is None):
                return None
            if take is not None:
                return blocks.taken_by_steps(of, limit, size, started, take, taper.spread)
            return None if rate is None else blocks.taper_by_steps(of, limit, size, started, rate, taper.spread, period)
        return None if limit is None or rate is None else blocks.taper(of, limit, rate, taper.spread, period)

    def _taper_over(self, path: Path, of: Term, taper: document.Taper, take: Term | None) -> Term | None:
        start, end = self.bound((*path, "from"), taper.from_ or "", of.kind), self.bound((*path, "until"), taper.until or "", of.kind)
        if start is None or end is None or take is None:
            return None
        width, widths = self._width(start, end)
        return blocks.taper_over(of, start, width, widths, take, taper.spread)

    def _table(self, path: Path, step: document.Step) -> Term | None:
        table, before = step.table, len(self.problems)
        assert table is not None
        if len(table.rows) > grids.MAX_ROWS:
            self.bad((*path, "rows"), f"{len(table.rows)} rows, the limit is {grids.MAX_ROWS}", "Split the table into several steps.", key=True)
            return None
        if table.per is not None and table.type != "money":
            self.bad((*path, "per"), f"per is for money, the rows give {table.type}", key=True)
        names = dict.fromkeys(name for row in table.rows for name in row.when)
        axes = {name: self._axis_of(path, table, name) for name in names}
        kind = Kind("ratio" if table.type == "percent" else table.type, table.per or "")
        rows, cells = [], []
        for index, row in enumerate(table.rows):
            place: Path = (*path, "rows", index)
            self.law((*place, "law"), row.law)
            keys = {name: self._cell((*place, "when", name), axes[name], listed) for name, listed in row.when.items()}
            value = self._gives((*place, "gives"), row.gives, table.type, kind)
            rows.append((keys, value))
        if len(self.problems) > before or any(axis is None for axis in axes.values()):
            return None
        known = tuple(axis for axis in axes.values() if axis is not None)
        for keys, _ in rows:
            cells.append([[axis.span(key) for key in keys[axis.name]] if axis.name in keys else [axis.bounds] for axis in known])
        self.boxes += sum(prod(map(len, row)) for row in cells)
        if self.boxes > regions.MAX_BOXES:
            raise Refused("the lists of the rows combine into too many regions to be checked", "Write ranges, or split the table into several steps.")
        boxed = tuple(tuple(regions.boxes(row)) for row in cells)
        grid = Grid(table.hit, known, boxed, tuple(row.law or step.law for row in table.rows), self.currency)
        for row_index, message, mend in grid.mistakes():
            self.bad(path if row_index is None else (*path, "rows", row_index), message, mend)
        self.grids[step.id] = grid
        read = [([axis.condition(keys[axis.name]) for axis in known if axis.name in keys], value) for keys, value in rows if value is not None]
        return grids.table_term(read, _text(step))

    def _axis_of(self, path: Path, table: document.Table, name: str) -> Axis | None:
        fact, index = self.facts.get(name), next(index for index, row in enumerate(table.rows) if name in row.when)
        place = (*path, "rows", index, "when", name)
        if self.names.get(name) is terms.UNKNOWN:
            return None
        if fact is None and name not in self.steps:
            self.unknown(place, "unknown fact or step", name, [*self.facts, *self.steps], key=True)
            return None
        if fact is not None and fact.type == "text" and not fact.one_of:
            self.bad(place, f"a table looks at texts that are known beforehand, {name!r} can be any", f"Say one_of in facts.{name}.", key=True)
            return None
        return grids.axis_of(name, self.names[name], fact.type if fact else "", fact.range if fact else None)

    def _cell(self, path: Path, axis: Axis | None, listed: str | list[str]) -> list[Key]:
        keys: list[Key] = []
        texts = listed if isinstance(listed, list) else [listed]
        if not texts:
            self.bad(path, "at least one entry must stand here")
        for index, text in enumerate(texts if axis is not None else []):
            assert axis is not None
            kind = axis.term.kind.type if axis.type == "step" else axis.type
            try:
                keys.append(read_key(text, kind, self.currency, axis.term.choices, axis.bounds, axis.term.den))
                if axis.type not in NAMED and regions.meet((axis.bounds,), (axis.span(keys[-1]),)) is None:
                    raise ValueError(f"{axis.name} is never {text!r}")
            except ValueError as error:
                self.bad((*path, index) if isinstance(listed, list) else path, str(error))
        return keys

    def _gives(self, path: Path, text: str, type_: str, kind: Kind) -> Term | None:
        try:
            if is_number(text) or (type_ in ("percent", "ratio") and text[:1].isdigit()):
                return terms.constant(Fraction(str(read_value(text, type_, self.currency))), kind, text)
        except ValueError as error:
            self.bad(path, str(error))
            return None
        value = self.expression(path, text)
        if value is not None and value.kind != kind:
            self.bad(path, f"the rows give {kind}, {value} is {value.kind}")
            return None
        return value

    def _scale(self, path: Path, step: document.Step) -> Term | None:
        scale = step.scale
        assert scale is not None
        of = self.expression((*path, "of"), scale.of)
        read = []
        for index, bracket in enumerate(scale.brackets):
            place: Path = (*path, "brackets", index)
            start = None if of is None else self.bound((*place, "above"), bracket.above, of.kind)
            read.append((start, self.rate((*place, "rate"), bracket.rate)))
        known = [(start, rate) for start, rate in read if start is not None and rate is not None]
        if of is None or len(known) < len(read):
            return None
        ends: list[Term | None] = [self._width(one[0], other[0])[0] for one, other in pairwise(known)]
        return blocks.scale(of, [(start, rate, width) for (start, rate), width in zip(known, [*ends, None], strict=True)])

    def _spread(self, path: Path, step: document.Step) -> Term | None:
        assert step.spread is not None
        whole = self.expression((*path, "of"), step.spread.of)
        to = self.bound((*path, "to"), step.spread.to or decimal_text(1, self.currency), Kind("money"))
        if whole is None or to is None:
            return None
        if to.op != "const":
            raise Refused(f"parts are rounded down to a written amount, {to} is none")
        return blocks.part_of_whole(whole, self.doc.decides.period, step.spread.remainder, to.low)

    def _width(self, start: Term, end: Term) -> tuple[Term, list[Fraction]]:
        """How far `end` is above `start`, as a term with the exact bounds of its values, and the values."""
        width, values = terms.subtract(end, start, f"{end} - {start}"), set()
        for segment, first in enumerate(self.segments):
            rows = self._known(start, segment), self._known(end, segment)
            self.pairs += len(rows[0]) * len(rows[1])
            if self.pairs > MAX_PAIRS:
                raise Refused(f"{start} and {end} have too many values by key to be compared", "Give them fewer keys.")
            for low_keys, low in rows[0]:
                for high_keys, high in rows[1]:
                    if all(_meet(key, high_keys[by]) for by, key in low_keys.items() if by in high_keys):
                        if high <= low:
                            where = "".join(f", where {by} is {key}" for by, key in {**low_keys, **high_keys}.items())
                            raise Refused(f"{end} is not above {start} on {day_date(first)}{where}", "A range goes from less to more.")
                        values.add(high - low)
        return terms.within(width, min(values), max(values)), sorted(values)

    def _known(self, term: Term, segment: int) -> list[tuple[Mapping[str, Key], Fraction]]:
        """The values of a written amount or a parameter, each with the keys it is for."""
        if term.op == "const" and isinstance(term.value, Fraction):
            return [({}, term.value)]
        parameter = self.parameters.get(str(term.value)) if term.op == "parameter" else None
        if parameter is None:
            raise Refused(f"an end of a range is a written amount or a parameter, {term} is neither")
        keyed = zip(parameter.rows(), parameter.values[segment], strict=True)
        return [(dict(zip(parameter.by, keys, strict=True)), Fraction(value)) for keys, value in keyed]

    def _finish(self, path: Path, step: document.Step, term: Term) -> Term:
        if not term.numeric:
            raise Refused(f"a step is an amount or a number, {step.id!r} is {term.kind}")
        for key, text, limit in (("floor", step.floor, terms.greatest), ("cap", step.cap, terms.least)):
            bound = None if text is None else self.bound((*path, key), text, term.kind)
            if bound is not None:
                term = limit(term, bound, term.text)
        if step.round is not None:
            to = self.bound((*path, "round", "to"), step.round.to, term.kind)
            if to is not None:
                term = terms.rounded(term, to.low if to.op == "const" else Fraction(0), step.round.mode)
        return term


def _meet(one: Key, other: Key) -> bool:
    return one.value == other.value if one.value is not None else one.low <= other.high and other.low <= one.high


def _text(step: document.Step) -> str:
    """A block in words."""
    if step.taper is not None:
        return _taper_text(step.taper)
    if step.scale is not None:
        return f"{' + '.join(f'{bracket.rate} of {step.scale.of} above {bracket.above}' for bracket in step.scale.brackets)}, each up to the next bracket"
    if step.table is not None:
        names = dict.fromkeys(name for row in step.table.rows for name in row.when)
        return f"the row of the table for {', '.join(names) or 'everybody'}"
    assert step.spread is not None
    return f"{step.spread.of} in equal parts, the remainder in the {step.spread.remainder}"


def _taper_text(taper: document.Taper) -> str:
    if taper.from_ is not None:
        text = f"{taper.take} as far as {taper.of} is between {taper.from_} and {taper.until}"
    elif taper.each is not None:
        text = f"{taper.take or f'{taper.rate} of the size'} for each {taper.each.count} {taper.each.size} of {taper.of} above {taper.above}"
    else:
        text = f"{taper.rate} of the part of {taper.of} above {taper.above}"
    return text + (f", spread over {taper.spread}" if taper.spread else "")
