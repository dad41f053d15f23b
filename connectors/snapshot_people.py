"""The people of a snapshot as two rules see them: each rule's facts are read out of the histories once and kept beside them as a table."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from pipeline.facts import History, Question, Reader, day, decode_history
from pipeline.problems import Malformed, Problem
from pipeline.questions import age_years
from pipeline.registry import FactSpec, Registries
from pipeline.whatif import Chunk, Population, Rows, Side
from pipeline.whatif.freezing import CERTAIN, PAYEES_SCHEMA, PLACE, FactReader, accepting, holds_of

from .snapshot import Snapshot

BIRTH, AGE = "residency.birth_date", "age"
BESIDE = {"region": "residency.municipality", "household_type": "residency.marital_status"}
"""What people are grouped by though no rule reads it, and the facts that tell it."""


TOGETHER = 4
"""How many files are decided in one go."""


class SnapshotPeople:
    """Everybody in a snapshot; people are grouped by the candidate's facts, `age`, `region`, `household_type`, and any fact of the registries by its name."""

    def __init__(
        self, snapshot: Snapshot, candidate: Side, active: Side | None, registries: Registries, *, by: Sequence[str] = (),
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:  # fmt: skip
        self.snapshot, self.candidate = snapshot, candidate
        self._parts = snapshot.parts
        catalogue = registries.catalogue
        self._readers = {"candidate": FactReader(candidate, catalogue)}
        if active is not None:
            self._readers["active"] = FactReader(active, catalogue)
        for accepts in CERTAIN:
            reader = FactReader(accepting(candidate, accepts), catalogue)
            if reader.key != self._readers["candidate"].key:
                self._readers[accepts] = reader
        beside = _Beside(snapshot.manifest.day, catalogue, by)
        self._tables = {side: self._directory(reader.key) for side, reader in self._readers.items()} | {"beside": self._directory(beside.key)}
        self._beside = beside
        missing = {side: directory for side, directory in self._tables.items() if not directory.is_dir()}
        if missing:
            self._read(missing, progress)
        known = pl.scan_parquet(self._files("beside")).select(pl.all().is_not_null().any()).collect().row(0, named=True) if self._parts else {}
        self.names = tuple(name for name in beside.names if known.get(name))
        self._starts = self._first_rows()
        self.population = Population(hash=snapshot.manifest.hash, people=self._starts[-1], kind="snapshot")

    def _directory(self, key: str) -> Path:
        return self.snapshot.directory / "facts" / key[:16]

    def _files(self, table: str) -> list[Path]:
        return sorted(self._tables[table].glob("*.parquet"))

    def _read(self, missing: dict[str, Path], progress: Callable[[int, int], None]) -> None:
        """Reads what is missing in one pass over the histories; a table is there whole or not at all."""
        partial = {directory: directory.with_name(f".partial-{os.getpid()}-{directory.name}") for directory in missing.values()}
        for place in partial.values():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        done = 0
        for part in self._parts:
            people = pl.read_parquet(part, columns=["subject", "history"])
            histories = [(subject, decode_history(raw)) for subject, raw in people.iter_rows()]
            read: dict[Path, pl.DataFrame] = {}
            for side, directory in missing.items():
                if directory not in read:
                    read[directory] = self._table(side, histories, part, read)
                    read[directory].write_parquet(partial[directory] / part.name)
            done += people.height
            progress(done, self.snapshot.manifest.subjects)
        for directory, place in partial.items():
            try:
                place.rename(directory)
            except OSError:
                if not directory.is_dir():
                    raise
                shutil.rmtree(place)  # somebody else has read the same meanwhile

    def _table(self, side: str, histories: Sequence[tuple[str, History]], part: Path, read: Mapping[Path, pl.DataFrame]) -> pl.DataFrame:
        if side == "beside":
            return self._beside.table(histories)
        if side in CERTAIN:
            known, directory = self._readers["candidate"], self._tables["candidate"]
            return self._readers[side].table_like(histories, known, read[directory] if directory in read else pl.read_parquet(directory / part.name))
        return self._readers[side].table(histories)

    def _first_rows(self) -> list[int]:
        starts = [0]
        for part in self._parts:
            starts.append(starts[-1] + pl.scan_parquet(self._tables["candidate"] / part.name).select(pl.len()).collect().item())
        return starts

    # The people, as a what-if asks for them.

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Everybody, a few files at a time."""
        for number in range(0, len(self._parts), TOGETHER):
            parts = [self._part(part, columns) for part in self._parts[number : number + TOGETHER]]
            tables = {name: pl.concat([part[name] for part in parts]) for name in parts[0]}
            facts = {side: tables[side] for side in self._readers}
            by = pl.DataFrame([(facts["candidate"] if name in facts["candidate"].columns else tables["beside"]).get_column(name) for name in columns])
            holds = holds_of(self.candidate.rule, tables["payees"], self.snapshot.manifest.policy)
            certain = {str(name): None if facts[name].equals(facts["candidate"]) else facts[name] for name in CERTAIN if name in facts}
            yield Chunk(self._starts[number], facts["candidate"], facts.get("active"), by, holds, certain)

    def _part(self, part: Path, columns: Sequence[str]) -> dict[str, pl.DataFrame]:
        """What is known of those people of a file whom the candidate decides about."""
        read = {side: pl.read_parquet(self._tables[side] / part.name) for side in self._readers}
        places = read["candidate"].get_column(PLACE)
        beside = pl.read_parquet(self._tables["beside"] / part.name).select([name for name in columns if name in self.names])
        payees = pl.read_parquet(part, columns=list(PAYEES_SCHEMA))
        everybody = len(places) == payees.height
        found = {"beside": beside if everybody or not beside.width else beside[places], "payees": payees if everybody else payees[places]}
        return {**{side: table.drop(PLACE) for side, table in read.items()}, **found}

    def column(self, name: str) -> pl.Series:
        """A column of everybody."""
        facts = {fact.name for fact in self.candidate.rule.facts}
        if name in facts:
            files = self._files("candidate")
            return pl.scan_parquet(files).select(name).collect().get_column(name) if files else pl.Series(name, [], dtype=pl.Int64)
        parts = [
            pl.read_parquet(self._tables["beside"] / part.name, columns=[name]).get_column(name)[self._places(part)]
            for part in self._parts
        ]  # fmt: skip
        return pl.concat(parts) if parts else pl.Series(name, [], dtype=pl.Int64)

    def _places(self, part: Path) -> pl.Series:
        """Which of the people of a file are decided about."""
        return pl.read_parquet(self._tables["candidate"] / part.name, columns=[PLACE]).get_column(PLACE)

    def rows(self, rows: Sequence[int]) -> Rows:
        """Some people by their rows."""
        subjects: list[str] = []
        picked: dict[str, list[pl.DataFrame]] = {"candidate": [], "active": []}
        order: list[int] = []
        for number, part in enumerate(self._parts):
            here = sorted({row for row in rows if self._starts[number] <= row < self._starts[number + 1]})
            places = [row - self._starts[number] for row in here]
            if here:
                order += here
                subjects += pl.read_parquet(part, columns=["subject"]).get_column("subject")[self._places(part)[places]].to_list()
                for side in self._readers.keys() & picked.keys():
                    picked[side].append(pl.read_parquet(self._tables[side] / part.name).drop(PLACE)[places])
        place = {row: index for index, row in enumerate(order)}
        wanted = [place[row] for row in rows]
        tables = {side: pl.concat(parts)[wanted] for side, parts in picked.items() if parts}
        empty = pl.DataFrame(schema={fact.name: pl.Int64 for fact in self.candidate.rule.facts})
        return Rows([subjects[index] for index in wanted], tables.get("candidate", empty), tables.get("active"))

    def row_of(self, subject: str) -> int:
        """The row of a subject."""
        for number, part in enumerate(self._parts):
            found = (pl.read_parquet(part, columns=["subject"]).get_column("subject")[self._places(part)] == subject).arg_true()
            if len(found):
                return self._starts[number] + int(found[0])
        raise Malformed([Problem("--family", f"the snapshot has nobody called {subject!r} about whom {self.candidate.rule.benefit} decides")])


class _Beside:
    """What people can be grouped by beside a rule's facts, as known on the day of the snapshot."""

    def __init__(self, on: date, catalogue: dict[str, FactSpec], by: Sequence[str]) -> None:
        self._day = day(on)
        self._sources = {name: source for name, source in BESIDE.items() if source in catalogue} | {name: name for name in by if name in catalogue}
        if BIRTH in catalogue:
            self._sources[AGE] = BIRTH
        specs = {name: catalogue[source] for name, source in self._sources.items()}
        self._types = {name: spec.type for name, spec in specs.items()}
        self._reader = Reader([Question(spec.name, spec.registry, self._day, None, spec.timeless, spec.until) for spec in specs.values()])
        self.names = tuple(self._sources)
        self.key = hashlib.sha256(f"beside {self._day} {sorted(self._sources.items())}".encode()).hexdigest()

    def table(self, histories: Sequence[tuple[str, History]]) -> pl.DataFrame:
        """A column for each of them."""
        rows = [self._reader.read(history)[0] for _, history in histories]
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self.names)
        series = []
        for name, column in zip(self.names, columns, strict=True):
            values = [None if born is None else age_years(int(born), self._day) for born in column] if name == AGE else list(column)
            kind = self._types[name]
            dtype = pl.Boolean() if kind == "yes_no" else pl.String() if kind in ("text", "one_of") else pl.Int64()
            series.append(pl.Series(name, values, dtype=dtype))
        return pl.DataFrame(series)
