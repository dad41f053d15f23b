"""The comparison with Tax-Calculator counts what differs, and its lock can be installed."""

from __future__ import annotations

import io
import re

import polars as pl
import pytest
from rich.console import Console

from loadtests.taxcalc_comparison import BUILDS, LOCK, compared

HERE = pl.DataFrame({"unit_id": [1, 2], "filing_status": ["single", "single"], "children_under_18": [0, 1], "agi_cents": [5, 6], "payment": [120_000, 170_000]})
THERE = pl.DataFrame({"unit_id": [1, 2], "filing_status": ["single", "single"], "children": [0, 1], "income": [5, 6], "payment": [120_000, 170_000]})


@pytest.mark.parametrize(("cents", "wrong"), [(0, 0), (1, 0), (-1, 0), (2, 1), (None, 1)])
def test_a_unit_that_is_paid_more_than_a_cent_apart_is_wrong(cents: int | None, wrong: int):
    there = THERE.with_columns(payment=pl.when(pl.col("unit_id") == 2).then(pl.col("payment") + pl.lit(cents, pl.Int64)).otherwise(pl.col("payment")))
    assert compared(Console(file=io.StringIO()), HERE, there) == wrong


def test_a_unit_of_one_side_alone_is_wrong():
    assert compared(Console(file=io.StringIO()), HERE.head(1), THERE) == 1


def test_a_unit_of_other_facts_is_wrong():
    assert compared(Console(file=io.StringIO()), HERE, THERE.with_columns(income=pl.lit(7))) == 2


def test_the_lock_pins_everything_with_hashes_and_what_builds_it_stands_in_it():
    text = LOCK.read_text(encoding="utf-8")
    pinned = re.findall(r"^[a-z0-9][\w.-]*==\S+ \\$", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^\S+==", text, re.MULTILINE))
    assert "taxcalc==6.8.0 \\" in pinned
    assert "://" not in text
    assert len(BUILDS.findall(text)) == 1
    assert "--hash=sha256:" in BUILDS.findall(text)[0]
