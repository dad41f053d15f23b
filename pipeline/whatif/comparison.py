"""The comparison of two rules over many people, chunk by chunk: only counts, sums and the most extreme rows are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from pipeline.holds import HoldReason
from pipeline.rules import DECISIONS, GRANTED, REFUSED, UNDETERMINED, Period, Rule, decide
from pipeline.rules.periods import PER_YEAR

from .figures import ALL_CODES, CODES, Sums, causes_of, dimension_of, tally_of
from .groups import Grouping
from .result import BANDS, CHANGES, Cause, Cell, Certainty, Change, Dimension, Payability, Tally, Unpaid

PAYABLE = ""
"""What stands in a column of holds where the money could leave."""

LARGEST = 20
_PERCENT = 20
"""A change is large where it is more than one part in so many (5 %) of what it is measured by."""

_NEWLY_IN, _NEWLY_OUT, _UNDETERMINED = (CHANGES.index(name) for name in ("newly_in", "newly_out", "undetermined"))


class Side(NamedTuple):
    """One of the two rules, for the period it decides."""

    rule: Rule
    period: Period


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some people in the order of their rows, from `first_row` on: the facts of each rule, and what else is known of the same people.

    `columns` has what people are grouped by, `holds` the code of the reason why money could not leave (`PAYABLE` where it could). `certain`
    has the candidate's facts as they are when only facts of some statuses count, by what counts; None where they are the same.
    """

    first_row: int
    candidate: pl.DataFrame
    active: pl.DataFrame | None = None
    columns: pl.DataFrame = field(default_factory=pl.DataFrame)
    holds: pl.Series | None = None
    certain: dict[str, pl.DataFrame | None] = field(default_factory=dict)


class Both(NamedTuple):
    """A chunk decided by both rules; without an active rule nobody has anything."""

    candidate: pl.DataFrame
    active: pl.DataFrame

    @property
    def difference(self) -> pl.Series:
        """What each one gains, in minor units."""
        return self.candidate.get_column("amount_minor") - self.active.get_column("amount_minor")


class Comparison:
    """Counts what the candidate changes. `income` is the fact by which the bands measure a change; without it they measure by what the active rule pays."""

    def __init__(self, candidate: Side, active: Side | None, groupings: Sequence[Grouping] = (), income: str = "") -> None:
        self.candidate, self.active, self.groupings, self.income = candidate, active, tuple(groupings), income
        self._groups: list[Sums] = [{} for _ in groupings]
        self._codes: Sums = {}
        self._cells: Sums = {}
        self._out: Sums = {}
        self._in: Sums = {}
        self._held: Sums = {}
        self._certain: dict[str, list[int]] = {}
        self._gains = self._losses = _EXTREME

    def add(self, chunk: Chunk) -> Both:
        """Decides a chunk and counts it."""
        both = self._decided(chunk)
        difference, code = both.difference, self._code(chunk, both)
        minor = [both.active.get_column("amount_minor").alias("active"), both.candidate.get_column("amount_minor").alias("candidate")]
        cells = both.active.get_column("decision") * 4 + both.candidate.get_column("decision")
        counted = pl.DataFrame([code, *minor, cells.alias("cell")])
        self._add_groups(chunk, counted)
        self._causes(counted, both, code)
        if chunk.holds is not None:
            self._add_holds(counted, chunk.holds)
        for accepts, table in {"document": None, **chunk.certain}.items():
            self._add_certain(accepts, both, table)
        known = pl.DataFrame([pl.int_range(chunk.first_row, chunk.first_row + len(code), eager=True).alias("row"), difference.alias("by")])
        known = known.filter(code // CODES != _UNDETERMINED)
        self._gains, self._losses = _extreme(self._gains, known, 1), _extreme(self._losses, known, -1)
        return both

    def _decided(self, chunk: Chunk) -> Both:
        candidate = decide(self.candidate.rule, chunk.candidate, self.candidate.period)
        if self.active is None or chunk.active is None:
            nothing = [pl.Series(name, [REFUSED], dtype=candidate.schema[name]).new_from_index(0, candidate.height) for name in ("decision", "amount_minor")]
            return Both(candidate, pl.DataFrame(nothing))
        return Both(candidate, decide(self.active.rule, chunk.active, self.active.period))

    def _code(self, chunk: Chunk, both: Both) -> pl.Series:
        """The change and the band of each row in one number."""
        work = pl.DataFrame(
            [
                both.candidate.get_column("amount_minor").alias("now"), both.active.get_column("amount_minor").alias("was"),
                both.difference.alias("by"), self._large(chunk, both).alias("large"),
                ((both.candidate.get_column("decision") == UNDETERMINED) | (both.active.get_column("decision") == UNDETERMINED)).alias("open"),
            ]
        )  # fmt: skip
        now, was, by = pl.col("now"), pl.col("was"), pl.col("by")
        change = (
            pl.when("open").then(_UNDETERMINED).when(by == 0).then(pl.when(now > 0).then(CHANGES.index("same")).otherwise(CHANGES.index("neither")))
            .when(was <= 0).then(_NEWLY_IN).when(now <= 0).then(_NEWLY_OUT).when(by > 0).then(CHANGES.index("more")).otherwise(CHANGES.index("less"))
        )  # fmt: skip
        band = 2 + by.sign() * (1 + (by.abs() > pl.col("large")).cast(pl.Int64))
        band = pl.when("open").then(len(BANDS)).otherwise(band)
        return work.select((change.cast(pl.UInt8) * CODES + band.cast(pl.UInt8)).alias("code")).get_column("code")

    def _large(self, chunk: Chunk, both: Both) -> pl.Series:
        """The most that a change may come to and still be small."""
        if self.income:
            yearly = _PERCENT * PER_YEAR[self.candidate.period.kind]
            return chunk.candidate.get_column(self.income).cast(pl.Int64).fill_null(0).clip(lower_bound=0) // yearly
        return both.active.get_column("amount_minor") // _PERCENT

    def _add_groups(self, chunk: Chunk, counted: pl.DataFrame) -> None:
        """Every grouping in one pass over the rows, by the number of the group and the code together."""
        code = counted.get_column("code").cast(pl.Int64)
        divided = [grouping.of(chunk.columns.get_column(grouping.name)) for grouping in self.groupings]
        keys = counted.with_columns((group * ALL_CODES + code).alias(f"key{index}") for index, (group, _) in enumerate(divided)).lazy()
        wanted = ["code", "cell", *(f"key{index}" for index in range(len(divided)))]
        codes, cells, *found = pl.collect_all([keys.group_by(name).agg(pl.len(), *_exact_sums(counted)) for name in wanted])
        for sums, rows in ((self._codes, codes), (self._cells, cells)):
            for key, *held in rows.iter_rows():
                _put(sums, (key,), held)
        for groups, (_, names), rows in zip(self._groups, divided, found, strict=True):
            for key, *held in rows.iter_rows():
                number, of = divmod(key, ALL_CODES)
                group = None if number < 0 else number if names is None else names[number]
                _put(groups, (group, of), held)

    def _causes(self, counted: pl.DataFrame, both: Both, code: pl.Series) -> None:
        change = code // CODES
        for sums, which, decided in ((self._out, _NEWLY_OUT, both.candidate), (self._in, _NEWLY_IN, both.active)):
            rows = (change == which).arg_true()
            if len(rows) and "conditions" in decided.columns:
                part = decided.select("decision", "conditions")[rows]
                _add(sums, counted[rows].with_columns(part.get_columns()), "decision", "conditions")

    def _add_holds(self, counted: pl.DataFrame, holds: pl.Series) -> None:
        limit = self.candidate.rule.review_above_minor
        paid = counted.with_columns(holds.cast(pl.String).fill_null(HoldReason.NO_ACCOUNT.value).alias("hold")).filter(pl.col("candidate") > 0)
        if limit is not None:
            above = (pl.col("hold") == PAYABLE) & (pl.col("candidate") > limit)
            paid = paid.with_columns(pl.when(above).then(pl.lit(HoldReason.ABOVE_REVIEW_LIMIT.value)).otherwise("hold").alias("hold"))
        _add(self._held, paid, "hold")

    def _add_certain(self, accepts: str, both: Both, table: pl.DataFrame | None) -> None:
        decided = both.candidate if table is None else decide(self.candidate.rule, table, self.candidate.period)
        now, said = decided.get_column("decision"), both.candidate.get_column("decision")
        minor = decided.get_column("amount_minor")
        sums = self._certain.setdefault(accepts, [0] * 5)
        counts = [(now == GRANTED).sum(), (now == REFUSED).sum(), (now == UNDETERMINED).sum()]
        differ = 0 if table is None else ((now != said) | (minor != both.candidate.get_column("amount_minor"))).sum()
        for index, value in enumerate((*counts, _exact_sum(minor), differ)):
            sums[index] += int(value)

    # What was found.

    @property
    def whole(self) -> Tally:
        """Everybody."""
        return tally_of({code: held for (code,), held in self._codes.items()})

    @property
    def changes(self) -> tuple[Change, ...]:
        """What each kind of change comes to, in money."""
        sums = {name: [0, 0, 0] for name in CHANGES}
        for (code,), held in self._codes.items():
            name = CHANGES[int(str(code)) // CODES]
            sums[name] = [before + more for before, more in zip(sums[name], held, strict=True)]
        return tuple(Change(change=name, people=people, active_minor=was, candidate_minor=now) for name, (people, was, now) in sums.items())

    @property
    def decisions(self) -> tuple[Cell, ...]:
        """How the two rules decided the same people."""
        return tuple(
            Cell(
                active=DECISIONS[int(str(cell)) // 4], candidate=DECISIONS[int(str(cell)) % 4], people=people, active_minor=active, candidate_minor=candidate
            )
            for (cell,), (people, active, candidate) in sorted(self._cells.items(), key=lambda entry: int(str(entry[0][0])))
        )  # fmt: skip

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Everybody by each grouping."""
        return tuple(dimension_of(grouping, sums) for grouping, sums in zip(self.groupings, self._groups, strict=True))

    @property
    def newly_out_by(self) -> tuple[Cause, ...]:
        """Why people fell out: the first condition of the candidate that they fail, all of the active rule's having passed."""
        return causes_of(self.candidate.rule, self._out, 1, "the amount comes to nothing")

    @property
    def newly_in_by(self) -> tuple[Cause, ...]:
        """Why people came in: the first condition of the active rule that had kept them out."""
        return () if self.active is None else causes_of(self.active.rule, self._in, 2, "the amount came to nothing")

    @property
    def payability(self) -> Payability | None:
        """Who could be paid; None where nothing is known of accounts."""
        if not self._held:
            return None
        payable = self._held.get((PAYABLE,), [0, 0, 0])
        unpaid = []
        for (code,), (people, _, minor) in self._held.items():
            if code != PAYABLE:
                reason = HoldReason(str(code))
                unpaid.append(Unpaid(reason=reason.value, sentence=reason.sentence, lifted_by=reason.lifted_by, people=people, amount_minor=minor))
        return Payability(payable=payable[0], payable_minor=payable[2], unpaid=tuple(sorted(unpaid, key=lambda row: (-row.people, row.reason))))

    @property
    def certainty(self) -> tuple[Certainty, ...]:
        """The candidate on facts of fewer and of more statuses."""
        names = ("granted", "refused", "undetermined", "candidate_minor", "differ")
        found = {accepts: dict(zip(names, sums, strict=True)) for accepts, sums in self._certain.items()}
        return tuple(Certainty(accepts=accepts, **found[accepts]) for accepts in ("final", "document", "provisional") if accepts in found)

    @property
    def gains(self) -> list[int]:
        """The rows of those who gain most."""
        return self._gains.get_column("row").to_list()

    @property
    def losses(self) -> list[int]:
        """The rows of those who lose most."""
        return self._losses.get_column("row").to_list()


_EXTREME = pl.DataFrame(schema={"row": pl.Int64, "by": pl.Int64})


def _extreme(kept: pl.DataFrame, rows: pl.DataFrame, sign: int) -> pl.DataFrame:
    """The largest differences of one sign, the earlier row first where they are equal; `kept` are those of the rows before."""
    least = abs(int(kept.item(LARGEST - 1, "by"))) if kept.height == LARGEST else 0
    larger = rows.filter(pl.col("by") * sign > least)  # an equal one stands behind those that are kept
    return pl.concat([kept, larger]).sort(pl.col("by") * sign, "row", descending=[True, False]).head(LARGEST)


def _exact_sum(column: pl.Series) -> int:
    """The sum as a whole number: Int64 would wrap without a word."""
    largest = max(abs(int(column.max() or 0)), abs(int(column.min() or 0))) if len(column) else 0  # type: ignore[arg-type]
    return int(column.sum()) if largest * len(column) < 2**63 else sum(column.to_list())


def _exact_sums(counted: pl.DataFrame) -> list[pl.Expr]:
    """The sums of both amounts; in 128 bits where 64 might not do."""
    bounds = [abs(int(value or 0)) for name in ("active", "candidate") for value in (counted.get_column(name).min(), counted.get_column(name).max())]  # type: ignore[arg-type]
    wide = max(bounds) * counted.height >= 2**63
    return [(pl.col(name).cast(pl.Int128) if wide else pl.col(name)).sum() for name in ("active", "candidate")]


def _add(sums: Sums, counted: pl.DataFrame, *keys: str) -> None:
    for *key, people, active, candidate in counted.group_by(keys).agg(pl.len(), *_exact_sums(counted)).iter_rows():
        _put(sums, tuple(key), [people, active, candidate])


def _put(sums: Sums, key: tuple[object, ...], more: Sequence[int]) -> None:
    held = sums.setdefault(key, [0, 0, 0])
    for index, value in enumerate(more):
        held[index] += value
