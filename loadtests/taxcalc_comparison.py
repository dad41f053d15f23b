"""The first Economic Impact Payment of 280,005 real tax units, by a rule document here and by Tax-Calculator: unit by unit the same, time beside time.

Tax-Calculator is put into .taxcalc beside this repository, with the hashes of loadtests/taxcalc.lock; the units are those of its own survey file, aged to
2020, which `data/` holds as well. It calculates in floating point, so that its cents are rounded before they are compared.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from connectors.registries import load_registries
from connectors.rule_files import read_rule
from loadtests.bench import RULE, UNITS
from pipeline.rules import ONCE, decide
from streams.shipped import SHIPPED

LOCK = SHIPPED / "loadtests" / "taxcalc.lock"
THEIRS = SHIPPED / ".taxcalc"
BUILDS = re.compile(r"^setuptools==.*(?:\n +.*)*", re.MULTILINE)
STATUSES = {1: "single", 2: "married_joint", 3: "married_separate", 4: "head_of_household", 5: "married_joint"}
"""A surviving spouse (5) has the limits of a joint return."""


def installed() -> Path:
    """The Python that has Tax-Calculator, made where it is missing or of another lock."""
    python, stamp = THEIRS / "bin" / "python", THEIRS / "taxcalc.lock"
    text = LOCK.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == text:
        return python
    Console(stderr=True).print("Setting up Tax-Calculator in .taxcalc; this is done once and takes some minutes.")
    venv.create(THEIRS, clear=True, with_pip=True)
    install = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "install", "--require-hashes"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as builds:
        builds.write("\n".join(BUILDS.findall(text)) + "\n")
        builds.flush()
        subprocess.run([*install, "--requirement", builds.name], check=True)
    subprocess.run([*install, "--no-build-isolation", "--requirement", str(LOCK)], check=True)
    stamp.write_text(text, encoding="utf-8")
    return python


def theirs(folder: Path, rounds: int) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Their units with facts and payment in cents, and the seconds that each part took."""
    out = folder / "taxcalc"
    subprocess.run([str(installed()), str(SHIPPED / "loadtests" / "taxcalc_worker.py"), str(out), str(rounds)], check=True)
    units = pl.read_csv(out.with_suffix(".csv"), schema_overrides={"MARS": pl.Float64, "nu18": pl.Float64})
    found = units.select(
        unit_id=pl.col("RECID").cast(pl.Int64), filing_status=pl.col("MARS").cast(pl.Int64).replace_strict(STATUSES), children=pl.col("nu18").cast(pl.Int64),
        income=_cents("c00100"), payment=_cents("recovery_rebate_credit"),
    )  # fmt: skip
    return found, json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))


def _cents(column: str) -> pl.Expr:
    return (pl.col(column) * 100 + 0.5).floor().cast(pl.Int64)


def ours(rounds: int) -> tuple[pl.DataFrame, dict[str, list[float]]]:
    """Our decisions of the units by a document that says what Tax-Calculator does, and the seconds that each part took."""
    seconds: dict[str, list[float]] = {}
    last = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds.setdefault(what, []).append(now - last)
        last = now

    rule = read_rule(RULE, load_registries(SHIPPED / "registries"))
    lap("check and compile the document")
    units = pl.read_parquet(UNITS)
    facts = units.select(income="agi_cents", filing_status=pl.col("filing_status").cast(pl.String), children_under_18=pl.col("children_under_18"))
    lap("read the units")
    decided = decide(rule, facts, ONCE)
    lap("the payment alone, first time")
    for _ in range(rounds):
        decided = decide(rule, facts, ONCE)
        lap("the payment alone")
    return units.with_columns(decided.get_column("amount_minor").alias("payment"), decided.get_column("decision").alias("decision")), seconds


def main() -> int:
    """Runs both and prints two tables; exit code 1 where a unit is paid differently by more than the cent that floating point may cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="payout-taxcalc-") as folder:
        there, told = theirs(Path(folder), options.rounds)
    here, seconds = ours(options.rounds)
    table = Table("seconds (median)", "here", f"Tax-Calculator {told['version']}", title=f"{here.height:,} tax units")
    for part in (*seconds, *(part for part in told["seconds"] if part not in seconds)):
        table.add_row(part, *(f"{statistics.median(side[part]):.4f}" if part in side else "" for side in (seconds, told["seconds"])))
    console.print(table)
    wrong = compared(console, here, there)
    console.print(f"[red]{wrong:,} units are not the same[/red]" if wrong else "the same for every unit, but for a cent where floating point is not exact")
    return 1 if wrong else 0


def compared(console: Console, here: pl.DataFrame, there: pl.DataFrame) -> int:
    """Prints how many units agree; gives how many do not."""
    both = here.select(
        pl.col("unit_id").cast(pl.Int64), pl.col("filing_status").cast(pl.String), children=pl.col("children_under_18").cast(pl.Int64), income="agi_cents",
        payment=pl.col("payment").cast(pl.Int64),
    ).join(there, on="unit_id", how="full", suffix=" there")  # fmt: skip
    apart = (pl.col("payment") - pl.col("payment there")).abs()
    facts = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name} there")) for name in ("filing_status", "children", "income"))
    counted = both.select(
        facts=facts.sum(), equal=(apart == 0).sum(), cent=(apart == 1).sum(), wrong=((apart > 1).fill_null(True) | ~facts).sum(),
        here=pl.col("payment").sum(), there=pl.col("payment there").sum(),
        paid_here=(pl.col("payment") > 0).sum(), paid_there=(pl.col("payment there") > 0).sum(),
    ).row(0, named=True)  # fmt: skip
    table = Table("unit by unit", "units", title="Results")
    table.add_row("units of both", f"{both.height:,}")
    table.add_row("with the same facts", f"{counted['facts']:,}")
    table.add_row("paid the same to the cent", f"{counted['equal']:,}")
    table.add_row("one cent apart (floating point)", f"{counted['cent']:,}")
    table.add_row("further apart, or of other facts", f"{counted['wrong']:,}")
    table.add_row("dollars here", f"{counted['here'] / 100:,.2f} to {counted['paid_here']:,} units")
    table.add_row("dollars there", f"{counted['there'] / 100:,.2f} to {counted['paid_there']:,} units")
    console.print(table)
    return int(counted["wrong"])


if __name__ == "__main__":
    sys.exit(main())
