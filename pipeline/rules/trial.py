"""Running a document's own tests: expected, got, and the first step where they part."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from pipeline.money import decimal_text

from .evaluate import DECISIONS, decide, physical_type
from .explain import missing_facts, outcomes, step_text, used_values
from .rule import Case, Rule


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test of a document came out. `differences` holds (what, expected, got); `parted` is the first of them in the order of the calculation."""

    name: str
    passed: bool
    differences: tuple[tuple[str, str, str], ...] = ()
    parted: str = ""

    def __str__(self) -> str:
        told = "; ".join(f"expected {what} {expected}, got {got}" for what, expected, got in self.differences)
        return f"test {self.name!r}: {told}{f'; {self.parted}' if self.parted else ''}" if told else f"test {self.name!r}: as expected"


def run_tests(rule: Rule) -> list[TestResult]:
    """The tests of a document, each decided by the one evaluator."""
    return [_run(rule, case) for case in rule.tests]


def _run(rule: Rule, case: Case) -> TestResult:
    table = pl.DataFrame([pl.Series(fact.name, [case.given.get(fact.name)], dtype=physical_type(fact)) for fact in rule.facts])
    if rule.needs_event_day:
        table = table.with_columns(pl.lit(case.event_day, dtype=pl.Int64).alias("event_day"))
    row = decide(rule, table, case.period).row(0, named=True)
    failed = [item.id for item, state in outcomes(rule, row["conditions"]) if state == ("no" if item in rule.conditions else "yes")]
    differences = []
    for step in rule.steps:
        if step.id in case.values and row["step:" + step.id] != case.values[step.id] * step.denominator:
            differences.append((step.id, step_text(rule, step, case.values[step.id]), step_text(rule, step, row["step:" + step.id], step.denominator)))
    if "amount" in case.values and row["amount_minor"] != case.values["amount"]:
        differences.append(("amount", decimal_text(int(case.values["amount"]), rule.currency), decimal_text(row["amount_minor"], rule.currency)))
    got = DECISIONS[row["decision"]]
    if case.decision not in (None, got):
        differences.append(("decision", str(case.decision), got))
    for what, expected, held in (("missing", case.missing, missing_facts(rule, row["missing"])), ("refused_by", case.refused_by, failed)):
        if expected is not None and set(expected) != set(held):
            differences.append((what, ", ".join(expected) or "nothing", ", ".join(held) or "nothing"))
    return TestResult(case.name, not differences, tuple(differences), _parted(rule, case, differences, row, failed))


def _parted(rule: Rule, case: Case, differences: list[tuple[str, str, str]], row: dict[str, int], failed: list[str]) -> str:
    """The first step at which expected and got part, with what it was calculated from."""
    if not differences:
        return ""
    what = rule.pay if differences[0][0] == "amount" else differences[0][0]
    step = next((step for step in rule.steps if step.id == what), None)
    if step is None or (failed and differences[0][0] == "amount"):
        return f"refused by {', '.join(failed)}" if failed else ""
    used = ", ".join(f"{leaf} {value}" for leaf, value in used_values(rule, step.term, case.given, row, case.period, case.event_day))
    return f"step {step.id} = {step.text}" + (f", with {used}" if used else "")
