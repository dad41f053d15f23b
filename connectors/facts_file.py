"""A file of facts as people who do not change: a Parquet file of typed columns is read in chunks, anything else whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from pipeline.holds import HoldReason
from pipeline.problems import Malformed, Problem, suggestion
from pipeline.rules import Rule, RuleFact, physical_type
from pipeline.rules.tables import UNKNOWN_TEXTS, fact_table
from pipeline.whatif import PAYABLE, Chunk, Population, Rows, Side

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": partial(pl.read_csv, infer_schema=False),
    ".ndjson": partial(pl.read_ndjson, infer_schema_length=None),
    ".jsonl": partial(pl.read_ndjson, infer_schema_length=None),
}
SUFFIXES = "Name a file that ends in .parquet, .csv or .ndjson."
CHUNK_ROWS = 400_000
SAMPLE_ROWS = 1_000

HOLD = "hold"
"""The column that says why money could not leave: a code of `pipeline.holds`, empty where it could."""

STATUS = ":status"
"""What follows a fact's name in the column that says how sure it is."""

STATUSES = ("final", "preliminary", "estimated")

_WIDE = {"candidate": "candidate|", "active": "active|", "final": "final|", "provisional": "provisional|"}
_TEXTS = (pl.String, pl.Categorical, pl.Enum)


class FactsFile:
    """The people of a file, with the facts that two rules read of them under their own names."""

    def __init__(self, path: Path, candidate: Side, active: Side | None, members: Path | None = None, chunk_rows: int = CHUNK_ROWS) -> None:
        self._chunk_rows, self._periods = chunk_rows, {"candidate": candidate.period} | ({"active": active.period} if active is not None else {})
        self._rules: dict[str, Rule] = {"candidate": candidate.rule} | ({"active": active.rule} if active is not None else {})
        for file in filter(None, (path, members)):
            if file.suffix.lower() not in READERS:
                raise Malformed([Problem(str(file), f"is no kind of table that is read: {file.suffix!r}", SUFFIXES)])
        try:
            digest = _digest([path] if members is None else [path, members])
            self._members = None if members is None else READERS[members.suffix.lower()](members)
            self._given = pl.scan_parquet(path) if path.suffix.lower() == ".parquet" else READERS[path.suffix.lower()](path).lazy()
            self._schema = dict(self._given.collect_schema())
            self._check_facts()
            self._base, self._facts = self._typed() if self._is_typed() else self._read_whole()
            people = self._check_rows()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise Malformed([Problem(str(path), f"cannot be read: {str(error).splitlines()[0]}", SUFFIXES)]) from None
        self.population = Population(hash=digest, people=people, kind="file")

    @property
    def names(self) -> tuple[str, ...]:
        """The further columns of the file."""
        facts = {fact.name for fact in self._rules["candidate"].facts}
        return tuple(name for name in self._schema if name not in facts and name not in ("subject", "event_date", HOLD) and not name.endswith(STATUS))

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Everybody, in the order of the file."""
        beside = [pl.col(name).alias("by|" + name) for name in columns] + ([pl.col(HOLD)] if HOLD in self._schema else [])
        for first in range(0, self.population.people, self._chunk_rows):
            table = self._base.slice(first, self._chunk_rows).select(*self._facts, *beside).collect()
            wide = self._sides(table)
            holds = table.get_column(HOLD).cast(pl.String).fill_null(PAYABLE) if HOLD in self._schema else None
            certain = {str(name): None if wide[name].equals(wide["candidate"]) else wide[name] for name in ("final", "provisional") if name in wide}
            by = pl.DataFrame([table.get_column("by|" + name).alias(name) for name in columns])
            yield Chunk(first, wide["candidate"], wide.get("active"), by, holds, certain)

    def column(self, name: str) -> pl.Series:
        """A column of everybody."""
        own = {column.meta.output_name(): column for column in self._facts}.get(_WIDE["candidate"] + name, pl.col(name))
        return self._base.select(own.alias(name)).collect().get_column(name)

    def rows(self, rows: Sequence[int]) -> Rows:
        """Some people by their rows."""
        wanted = pl.DataFrame({"row|": list(rows)}, schema={"row|": pl.UInt32})
        numbered = self._base.with_row_index("row|").filter(pl.col("row|").is_in(list(set(rows))))
        held = numbered.select("row|", pl.col("subject").cast(pl.String), *self._facts).collect()
        found = wanted.join(held, on="row|", how="left", maintain_order="left")
        parts = self._sides(found)
        return Rows(found.get_column("subject").to_list(), parts["candidate"], parts.get("active"))

    def row_of(self, subject: str) -> int:
        """The row of a subject."""
        found = self._given.select(pl.col("subject").cast(pl.String)).with_row_index("row|").filter(pl.col("subject") == subject).collect()
        if not found.height:
            raise Malformed([Problem("--family", f"the file has no row for {subject!r}")])
        return int(found.item(0, "row|"))

    # What the file must hold.

    def _check_facts(self) -> None:
        """Refuses a file without a subject or a rule's facts, by its first rows."""
        sample = self._given.head(SAMPLE_ROWS).collect()
        problems: dict[str, Problem] = {}
        for side, rule in self._rules.items():
            try:
                fact_table(rule, sample, self._periods[side], self._members_of(sample))
            except Malformed as malformed:
                problems |= {f"{problem.place} {problem.message}": problem for problem in malformed.problems}
        for name in self._schema:
            if name.endswith(STATUS) and name.removesuffix(STATUS) not in {fact.name for rule in self._rules.values() for fact in rule.facts}:
                near = suggestion(name.removesuffix(STATUS), [fact.name for fact in self._rules["candidate"].facts])
                problems[name] = Problem(name, f"is the status of no fact that is read{', ' + near if near else ''}")
        if problems:
            raise Malformed(list(problems.values()))

    def _members_of(self, sample: pl.DataFrame) -> pl.DataFrame | None:
        """The members of some households, where the members are a table of their own."""
        if self._members is None or "household" not in self._members.columns or "subject" not in sample.columns:
            return self._members
        households = sample.get_column("subject").cast(pl.String)
        return self._members.filter(pl.col("household").cast(pl.String).is_in(households.to_list()))

    def _check_rows(self) -> int:
        """How many people there are; each has a row, and what is said of holds and statuses is known."""
        people, problems = self._check_subjects()
        known = {HOLD: [PAYABLE, *(reason.value for reason in HoldReason)]} | {name: list(STATUSES) for name in self._schema if name.endswith(STATUS)}
        for name in (name for name in known if name in self._schema):
            said = self._given.select(pl.col(name).cast(pl.String).unique()).collect().get_column(name).drop_nulls().sort().to_list()
            for value in [value for value in said if value not in known[name]]:
                near = suggestion(value, known[name])
                problems.append(Problem(name, f"{value!r} is not known here{', ' + near if near else ''}", f"Known: {', '.join(filter(None, known[name]))}."))
        if problems:
            raise Malformed(problems)
        return people

    def _check_subjects(self) -> tuple[int, list[Problem]]:
        """Counts the rows; in a file sorted by subject it is seen at once that no two have the same."""
        subject = pl.col("subject").cast(pl.String)
        people, nulls, sorted_ = self._base.select(people=pl.len(), nulls=subject.null_count(), rising=(subject > subject.shift(1)).sum()).collect().row(0)
        if nulls:
            return people, [Problem("subject", f"{nulls:,} rows have no subject")]
        apart = people if sorted_ == people - 1 else self._base.select(subject.n_unique()).collect().item()
        if apart == people:
            return people, []
        return people, [Problem("subject", f"{people - apart:,} rows have a subject that another row has", "Give each subject one row.")]

    # How its columns become facts.

    def _is_typed(self) -> bool:
        """Whether every column is as the evaluator takes it, so that no value must be read as text."""
        facts = [fact for rule in self._rules.values() for fact in rule.facts]
        if any(fact.name not in self._schema for fact in facts):
            return False  # it is made of members
        dates = all(self._schema.get("event_date") == pl.Date for rule in self._rules.values() if rule.needs_event_day)
        return dates and all(_fits(fact, self._schema[fact.name]) for fact in facts)

    def _typed(self) -> tuple[pl.LazyFrame, list[pl.Expr]]:
        """The facts of each rule as expressions over the file's columns."""
        columns: list[pl.Expr] = []
        for side, rule in self._rules.items():
            columns += [expression.alias(_WIDE[side] + fact.name) for fact in rule.facts for expression in [_taken(fact, self._schema[fact.name])]]
            if rule.needs_event_day:
                columns.append(pl.col("event_date").cast(pl.Int32).cast(pl.Int64).alias(f"{_WIDE[side]}event_day"))
        return self._given, self._with_statuses(columns)

    def _read_whole(self) -> tuple[pl.LazyFrame, list[pl.Expr]]:
        """The facts of each rule, read once as its document types them."""
        given = self._given.collect()
        self._given = given.lazy()
        parts = []
        for side, rule in self._rules.items():
            table = fact_table(rule, given, self._periods[side], self._members).drop("subject")
            parts.append(table.rename({name: _WIDE[side] + name for name in table.columns}))
        wide = pl.concat([*parts, given], how="horizontal")
        return wide.lazy(), self._with_statuses([pl.col(name) for part in parts for name in part.columns])

    def _with_statuses(self, columns: Sequence[pl.Expr]) -> list[pl.Expr]:
        """Facts of a status that does not count are unknown; the candidate's also as they are if only final ones, or all, count."""
        by_name = {column.meta.output_name(): column for column in columns}
        told = [name.removesuffix(STATUS) for name in self._schema if name.endswith(STATUS)]
        for side, rule in self._rules.items():
            for fact in rule.facts:
                if fact.name not in told:
                    continue
                name, status = _WIDE[side] + fact.name, pl.col(fact.name + STATUS).cast(pl.String).fill_null("final")
                every = by_name[name]
                by_name[name] = pl.when(status.is_in(list(fact.accept))).then(every).alias(name)
                if side == "candidate":
                    by_name[_WIDE["final"] + fact.name] = pl.when(status == "final").then(every).alias(_WIDE["final"] + fact.name)
                    by_name[_WIDE["provisional"] + fact.name] = every.alias(_WIDE["provisional"] + fact.name)
        return list(by_name.values())

    def _sides(self, table: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """Facts by side; a side of fewer or more statuses has the candidate's other facts as they are."""
        parts: dict[str, pl.DataFrame] = {}
        for side, prefix in _WIDE.items():
            names = [name for name in table.columns if name.startswith(prefix)]
            if names or side in self._rules:
                part = pl.DataFrame([table.get_column(name).alias(name.removeprefix(prefix)) for name in names])
                parts[side] = part if side in self._rules else parts["candidate"].with_columns(part.get_columns())
        return parts


def _digest(paths: Sequence[Path]) -> str:
    """The hash of a file's bytes; of two, that of both hashes."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _fits(fact: RuleFact, held: pl.DataType) -> bool:
    wanted = physical_type(fact)
    if wanted == pl.Int64:
        return held.is_integer() or (held == pl.Date and fact.type == "date")
    return held in _TEXTS if wanted == pl.String else held == wanted


def _taken(fact: RuleFact, held: pl.DataType) -> pl.Expr:
    column = pl.col(fact.name)
    if held == pl.Date:
        return column.cast(pl.Int32).cast(pl.Int64)
    if held == pl.String:
        text = column.str.strip_chars()
        return pl.when(~text.is_in(list(UNKNOWN_TEXTS))).then(text)
    return column
