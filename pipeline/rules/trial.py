"""Running a document's own tests: expected, got, and the first condition or step where they part, with its law."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import polars as pl

from pipeline.money import decimal_text

from .evaluate import DECISIONS, decide, physical_type
from .explain import missing_facts, outcomes
from .figures import fact_text, step_text, used_values
from .periods import Period
from .rule import Case, Condition, Rule, Step
from .terms import Term

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test of a document came out. `differences` holds (what, expected, got); `parted` is the first condition or step where they part.

    A test that expects nothing has not passed: it is `unfinished`.
    """

    name: str
    passed: bool
    differences: tuple[tuple[str, str, str], ...] = ()
    parted: str = ""
    unfinished: bool = False

    def __str__(self) -> str:
        told = "; ".join(part for part in (*self.told(), self.parted) if part)
        return f"test {self.name!r}: {told or 'as expected'}"

    def told(self) -> list[str]:
        """Each difference in words."""
        if self.unfinished:
            return [f"expects nothing yet; {', '.join(f'{what} is {got}' for what, _, got in self.differences)}"]
        return [f"expected {what} {expected}, got {got}" for what, expected, got in self.differences]


def run_tests(rule: Rule) -> list[TestResult]:
    """The tests of a document in its order, decided by the one evaluator."""
    return [result for _, result in sorted(_numbered(rule), key=lambda entry: entry[0])]


def results(rule: Rule) -> Iterator[TestResult]:
    """The tests of a document as they are decided: one period after the other."""
    return (result for _, result in _numbered(rule))


def _numbered(rule: Rule) -> Iterator[tuple[int, TestResult]]:
    """Each test with its place among them; those of one period are decided in one frame."""
    for period, indexes in by_period(rule.tests).items():
        frame = decide(rule, frame_of(rule, [rule.tests[index] for index in indexes]), period)
        for index, row in zip(indexes, frame.iter_rows(named=True), strict=True):
            yield index, _held_against(rule, rule.tests[index], row)


def by_period(cases: Sequence[Case]) -> dict[Period, list[int]]:
    """The tests of each period, by their places in the document."""
    found: dict[Period, list[int]] = {}
    for index, case in enumerate(cases):
        found.setdefault(case.period, []).append(index)
    return found


def frame_of(rule: Rule, cases: Sequence[Case]) -> pl.DataFrame:
    """The facts of tests as the evaluator takes them, a row for each."""
    columns = [pl.Series(fact.name, [case.given.get(fact.name) for case in cases], dtype=physical_type(fact)) for fact in rule.facts]
    if rule.needs_event_day:
        columns.append(pl.Series("event_day", [case.event_day for case in cases], dtype=pl.Int64))
    return pl.DataFrame(columns)


def expects_nothing(case: Case) -> bool:
    """Whether a test still waits for what the law gives."""
    return case.decision is None and case.missing is None and case.refused_by is None and not case.values and not case.made


def _held_against(rule: Rule, case: Case, row: Row) -> TestResult:
    failed = [item for item, state in outcomes(rule, row["conditions"]) if state == ("no" if item in rule.conditions else "yes")]
    got = DECISIONS[row["decision"]]
    if expects_nothing(case):
        held = [("decision", "", got)] + [("amount", "", decimal_text(row["amount_minor"], rule.currency))] * (got == "granted")
        return TestResult(case.name, False, tuple(held), unfinished=True)
    differences = [
        (fact.name, fact_text(rule, fact, case.made[fact.name]), fact_text(rule, fact, case.given.get(fact.name)))
        for fact in rule.facts
        if fact.name in case.made and case.made[fact.name] != case.given.get(fact.name)
    ]
    for step in rule.steps:
        if step.id in case.values and row["step:" + step.id] != case.values[step.id] * step.denominator:
            differences.append((step.id, *_apart(rule, step, Fraction(case.values[step.id]), row["step:" + step.id])))
    if "amount" in case.values and row["amount_minor"] != case.values["amount"]:
        differences.append(("amount", decimal_text(int(case.values["amount"]), rule.currency), decimal_text(row["amount_minor"], rule.currency)))
    if case.decision not in (None, got):
        differences.append(("decision", str(case.decision), got))
    ids = [item.id for item in failed]
    for what, expected, names in (("missing", case.missing, missing_facts(rule, row["missing"])), ("refused_by", case.refused_by, ids)):
        if expected is not None and set(expected) != set(names):
            differences.append((what, ", ".join(expected) or "nothing", ", ".join(names) or "nothing"))
    return TestResult(case.name, not differences, tuple(differences), _parted(rule, case, differences, row, failed) if differences else "")


def _apart(rule: Rule, step: Step, expected: Fraction, got: int | None) -> tuple[str, str]:
    """Two values of a step for people, exactly where they would read the same."""
    texts = step_text(rule, step, expected), step_text(rule, step, got, step.denominator)
    if texts[0] != texts[1] or got is None:
        return texts
    unit = " minor units" if step.term.kind.type == "money" else ""
    return f"{expected}{unit}", f"{Fraction(got, step.denominator)}{unit}"


def _parted(rule: Rule, case: Case, differences: Sequence[tuple[str, str, str]], row: Row, failed: Sequence[Condition]) -> str:
    """The first condition or step at which expected and got part, with what it was calculated from and its law."""
    what = differences[0][0]
    if what in case.made:
        return f"aggregate {what} = {next(fact.source for fact in rule.facts if fact.name == what)}"
    step = next((step for step in rule.steps if step.id == (rule.pay if what == "amount" else what)), None)
    if step is not None and not (failed and what == "amount"):
        return _of(rule, case, row, f"step {step.id} = {step.text}", step, step.term)
    expected = set(case.refused_by or ())
    surprising = [item for item in failed if item.id not in expected]
    if surprising:
        item = surprising[0]
        return _of(rule, case, row, f"refused by {item.id}: {item.text}", item, item.term)
    passed = [item for item in (*rule.conditions, *rule.exclusions) if item.id in expected and item not in failed]
    if passed:
        return _of(rule, case, row, f"not refused by {passed[0].id}: {passed[0].text}", passed[0], passed[0].term)
    missing = missing_facts(rule, row["missing"])
    return f"not known: {', '.join(missing)}" if missing else ""


def _of(rule: Rule, case: Case, row: Row, text: str, item: Condition | Step, term: Term) -> str:
    used = ", ".join(f"{leaf} {value}" for leaf, value in used_values(rule, term, case.given, row, case.period, case.event_day))
    law = f" ({rule.law[item.law].cite})" if item.law else ""
    return text + (f", with {used}" if used else "") + law
