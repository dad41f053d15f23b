"""The people who are shown: which rows they are, and what each rule decided of them with its reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from pipeline.rules import DECISIONS, UNDETERMINED, decide, explain, letter

from .comparison import Side
from .result import CHANGES, Person


class Rows(NamedTuple):
    """Some people by name, with the facts that each rule reads of them."""

    subjects: list[str]
    candidate: pl.DataFrame
    active: pl.DataFrame | None


def drawn_rows(seed: int, people: int, wanted: int) -> list[int]:
    """Distinct rows that depend on the seed and on the number of people only, in ascending order."""
    chosen: set[int] = set()
    number = 0
    while len(chosen) < min(wanted, people):
        chosen.add(int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()) % people)
        number += 1
    return sorted(chosen)


def shown(candidate: Side, active: Side | None, rows: Rows) -> list[Person]:
    """These people under both rules, each decision with its trace."""
    now = _decided(candidate, rows.candidate, rows.subjects)
    was = _decided(active, rows.active, rows.subjects) if active is not None and rows.active is not None else [("refused", 0, "")] * len(now)
    return [
        Person(
            subject=subject, change=_change(*before[:2], *after[:2]), active=before[0], candidate=after[0], active_minor=before[1],
            candidate_minor=after[1], active_trace=before[2], candidate_trace=after[2],
        )
        for subject, before, after in zip(rows.subjects, was, now, strict=True)
    ]  # fmt: skip


def _decided(side: Side, table: pl.DataFrame, subjects: Sequence[str]) -> list[tuple[str, int, str]]:
    if not table.height:
        return []
    found = []
    for subject, facts, row in zip(subjects, table.iter_rows(named=True), decide(side.rule, table, side.period).iter_rows(named=True), strict=True):
        trace = letter(explain(side.rule, row, facts, side.period, subject, event_day=facts.get("event_day")))
        found.append((DECISIONS[row["decision"]], row["amount_minor"], trace))
    return found


def _change(active: str, active_minor: int, candidate: str, candidate_minor: int) -> str:
    if DECISIONS[UNDETERMINED] in (active, candidate):
        return "undetermined"
    if active_minor == candidate_minor:
        return "same" if candidate_minor > 0 else "neither"
    if active_minor <= 0 or candidate_minor <= 0:
        return "newly_in" if active_minor <= 0 else "newly_out"
    return CHANGES[2 if candidate_minor > active_minor else 3]
