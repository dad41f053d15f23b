"""Tables of facts as people hand them in, turned into a rule's columns, and decisions as a table for people."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import polars as pl

from pipeline.problems import Malformed, Problem, suggestion

from .evaluate import DECISIONS, physical_type
from .explain import missing_facts
from .rule import Rule, RuleFact, Step
from .values import read_day, read_fact

MAX_PROBLEMS = 20
UNKNOWN_TEXTS = ("", "unknown")


def fact_table(rule: Rule, given: pl.DataFrame) -> pl.DataFrame:
    """The columns `subject`, one per fact and, where the rule asks for it, `event_day`; Malformed with what cannot be read.

    Whole numbers in a money column are minor units; where any value of the column is text with a decimal point, the whole column is
    read as decimal amounts. Empty is unknown. Other columns of the table are left alone.
    """
    problems: list[Problem] = []
    columns = [_subjects(given, problems)]
    for fact in rule.facts:
        if fact.name not in given.columns:
            near = suggestion(fact.name, given.columns)
            problems.append(
                Problem(fact.name, "the table has no column for this fact" + (f", {near}" if near else ""), "An empty column says that it is unknown.")
            )
            continue
        columns.append(_column(rule, fact, given.get_column(fact.name), problems))
    if rule.needs_event_day:
        columns.append(_event_days(given, problems))
    if problems:
        raise Malformed(problems)
    return pl.DataFrame(columns)


def decision_table(rule: Rule, table: pl.DataFrame, decided: pl.DataFrame) -> pl.DataFrame:
    """`subject, decision, amount_minor, currency, missing` and one column per step: minor units or numbers, as text where not whole."""
    missing = {bits: ", ".join(missing_facts(rule, bits)) for bits in decided.get_column("missing").unique().to_list()}
    return pl.DataFrame(
        [
            table.get_column("subject"),
            decided.get_column("decision").replace_strict(list(range(len(DECISIONS))), DECISIONS, return_dtype=pl.String),
            decided.get_column("amount_minor"),
            pl.Series("currency", [rule.currency]).new_from_index(0, table.height),
            decided.get_column("missing").replace_strict(missing, return_dtype=pl.String),
            *(_step_column(step, decided.get_column(f"step:{step.id}")) for step in rule.steps),
        ]
    )


def _step_column(step: Step, numerators: pl.Series) -> pl.Series:
    if step.denominator == 1:
        return numerators.alias(step.id)
    texts = {value: exact_text(Fraction(value, step.denominator)) for value in numerators.unique().drop_nulls().to_list()}
    return numerators.replace_strict(texts, return_dtype=pl.String, default=None).alias(step.id)


def exact_text(value: Fraction) -> str:
    """``991381.5`` where decimals can say it, else ``1/3``."""
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
        if digits > 18:
            return str(value)
    whole = abs(value * 10**digits).numerator
    text = str(whole) if not digits else f"{whole // 10**digits}.{whole % 10**digits:0{digits}d}"
    return f"-{text}" if value < 0 else text


def _subjects(given: pl.DataFrame, problems: list[Problem]) -> pl.Series:
    if "subject" not in given.columns:
        problems.append(Problem("subject", "the table has no column 'subject'", "Name the column that says who each row is about."))
        return pl.Series("subject", [], dtype=pl.String)
    subjects = given.get_column("subject").cast(pl.String)
    if subjects.null_count():
        problems.append(Problem("subject", f"{subjects.null_count():,} rows have no subject"))
    if subjects.drop_nulls().is_duplicated().any():
        twice = subjects.filter(subjects.is_duplicated()).drop_nulls()[0]
        problems.append(Problem("subject", f"{twice!r} stands in several rows", "Give each subject one row."))
    return subjects


def _column(rule: Rule, fact: RuleFact, column: pl.Series, problems: list[Problem]) -> pl.Series:
    wanted, held = physical_type(fact), column.dtype
    if held == pl.Null or held == wanted or (held.is_integer() and wanted == pl.Int64):
        return column.cast(wanted)
    if held == pl.Date and fact.type == "date":
        return column.to_physical().cast(pl.Int64)
    if held in (pl.String, pl.Categorical, pl.Enum):
        texts = column.cast(pl.String).str.strip_chars()
        decimal = fact.type == "money" and bool(texts.str.contains(".", literal=True).any())

        def read(text: str) -> int | bool | str:
            kind = "number" if fact.type == "money" and not decimal else fact.type
            return text if wanted == pl.String else read_fact(text, kind, rule.currency)

        return _mapped(texts.alias(fact.name), read, wanted, problems)
    mend = "Give money as whole minor units or as text like 1234.50." if fact.type == "money" and held.is_float() else ""
    problems.append(Problem(fact.name, f"the column is {held}, the fact is {fact.type}", mend))
    return pl.Series(fact.name, [], dtype=wanted)


def _event_days(given: pl.DataFrame, problems: list[Problem]) -> pl.Series:
    if "event_date" not in given.columns:
        problems.append(Problem("event_date", "the table has no column 'event_date', which the rule asks for", "Give the date of each row's event."))
        return pl.Series("event_day", [], dtype=pl.Int64)
    column = given.get_column("event_date")
    days = column.to_physical().cast(pl.Int64) if column.dtype == pl.Date else _mapped(column.cast(pl.String), read_day, pl.Int64(), problems)
    if days.null_count():
        problems.append(Problem("event_date", f"{days.null_count():,} rows have no date"))
    return days.alias("event_day")


def _mapped(texts: pl.Series, read: Callable[[str], int | bool | str], wanted: pl.DataType, problems: list[Problem]) -> pl.Series:
    """Each distinct text read once; a problem names the first row that holds it, counted from 1."""
    values: dict[str, int | bool | str] = {}
    for text in texts.unique(maintain_order=True).drop_nulls().to_list():
        if text in UNKNOWN_TEXTS:
            continue
        try:
            values[text] = read(text)
            if abs(int(values[text])) >= 2**63 if wanted == pl.Int64 else False:
                raise ValueError(f"{text!r} does not fit 64 bits")
        except ValueError as error:
            row = int((texts == text).arg_max() or 0) + 1
            if len(problems) < MAX_PROBLEMS:
                problems.append(Problem(f"row {row}, {texts.name}", str(error)))
    if not values:
        return pl.Series(texts.name, [None] * len(texts), dtype=wanted)
    return texts.replace_strict(pl.Series(list(values)), pl.Series(list(values.values()), dtype=wanted), default=None, return_dtype=wanted)
