"""Tables of facts as people hand them in, turned into a rule's columns, and decisions as a table for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import polars as pl

from pipeline.money import money_text
from pipeline.problems import Malformed, Problem, suggestion

from .aggregates import COUNT, ROW, with_aggregates
from .evaluate import DECISIONS, physical_type
from .explain import missing_facts
from .periods import Period
from .rule import Rule, RuleFact, Step
from .values import read_day, read_fact

MAX_PROBLEMS = 20
UNKNOWN_TEXTS = ("", "unknown")


def fact_table(rule: Rule, given: pl.DataFrame, period: Period | None = None, members: pl.DataFrame | None = None) -> pl.DataFrame:
    """The columns `subject`, one per fact and, where the rule asks for it, `event_day`; Malformed with what cannot be read.

    Whole numbers in a money column are minor units; where any value of the column is text with a decimal point, the whole column is
    read as decimal amounts. Empty is unknown. Other columns of the table are left alone.

    What a rule makes of the members of a household stands in columns of its own, or is made for `period` of `members`, a table with a column
    `household` and one per fact of a member, or of lists in the column `members` of `given`. Households that neither names are unknown.
    """
    problems: list[Problem] = []
    columns = [_subjects(given, problems)]
    told = members if members is not None else _listed(given)
    makes = rule.members is not None and told is not None
    for fact in rule.facts:
        if makes and fact.aggregate is not None:
            if fact.name in given.columns:
                problems.append(Problem(fact.name, "the column follows from the members that are given", "Leave it out."))
            continue
        if fact.name not in given.columns:
            near = suggestion(fact.name, given.columns)
            mend = "Give a table of members, or the column itself." if fact.aggregate is not None else "An empty column says that it is unknown."
            problems.append(Problem(fact.name, "the table has no column for this fact" + (f", {near}" if near else ""), mend))
            continue
        columns.append(_column(rule, fact, given.get_column(fact.name), problems))
    if rule.needs_event_day:
        columns.append(_event_days(given, problems))
    people = _people(rule, columns[0], told, problems) if makes and told is not None else None
    if problems:
        raise Malformed(problems)
    table = pl.DataFrame(columns)
    if people is None:
        return table
    if period is None:
        raise ValueError("what is made of members is made for a period")
    counted = _counts(table, people, given, members is None)
    return with_aggregates(rule, counted, people, period).drop(COUNT)


@dataclass(frozen=True, slots=True)
class MoneyColumn:
    """How a money column of a table was read, and from what amount to what; None where it holds none."""

    column: str
    read_as: Literal["minor units", "amounts"]
    lowest_minor: int | None
    highest_minor: int | None
    currency: str

    def __str__(self) -> str:
        if self.lowest_minor is None or self.highest_minor is None:
            return f"{self.column}: unknown in every row"
        lowest, highest = (money_text(end, self.currency) for end in (self.lowest_minor, self.highest_minor))
        return f"{self.column}: read as {self.read_as}, {lowest.removesuffix(' ' + self.currency)} to {highest}"


def money_columns(rule: Rule, given: pl.DataFrame, members: pl.DataFrame | None = None) -> list[MoneyColumn]:
    """How `fact_table` reads each money column of a table that it can read, and of its members."""
    told = members if members is not None else _listed(given)
    found = [_money_column(rule, fact, given.get_column(fact.name), "") for fact in rule.facts if fact.type == "money" and fact.name in given.columns]
    if told is not None and rule.members is not None:
        of_members = (fact for fact in rule.members.facts if fact.type == "money" and fact.name in told.columns)
        found += [_money_column(rule, fact, told.get_column(fact.name), "members, ") for fact in of_members]
    return found


def _money_column(rule: Rule, fact: RuleFact, column: pl.Series, place: str) -> MoneyColumn:
    read = _column(rule, fact, column, []).drop_nulls()
    as_amounts = column.dtype in (pl.String, pl.Categorical, pl.Enum) and _has_decimals(column.cast(pl.String))
    ends: list[int] = [*read.sort().head(1), *read.sort().tail(1)]
    lowest, highest = (ends[0], ends[-1]) if ends else (None, None)
    return MoneyColumn(place + fact.name, "amounts" if as_amounts else "minor units", lowest, highest, rule.currency)


def _has_decimals(texts: pl.Series) -> bool:
    return bool(texts.str.contains(".", literal=True).any())


def _listed(given: pl.DataFrame) -> pl.DataFrame | None:
    """The members that stand as lists in the table itself, a row for each."""
    if COUNT not in given.columns or not isinstance(given.schema[COUNT], pl.List):
        return None
    lines = given.select(pl.col("subject").cast(pl.String).alias("household") if "subject" in given.columns else pl.lit("").alias("household"), pl.col(COUNT))
    lines = lines.filter(pl.col(COUNT).list.len() > 0).explode(COUNT)
    return lines.unnest(COUNT) if isinstance(lines.schema[COUNT], pl.Struct) else lines.drop(COUNT)


def _people(rule: Rule, subjects: pl.Series, told: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame | None:
    """The members with the number of their household's row and their facts in physical form."""
    assert rule.members is not None
    if "household" not in told.columns:
        problems.append(Problem("members, household", "the table of members has no column 'household'", "Name the column that says where each member belongs."))
        return None
    columns = []
    for fact in rule.members.facts:
        if fact.name in told.columns:
            columns.append(_column(rule, fact, told.get_column(fact.name), problems))
        elif told.height:
            near = suggestion(fact.name, told.columns)
            message = "the members have no column for this fact" + (f", {near}" if near else "")
            problems.append(Problem(f"members, {fact.name}", message, "An empty column says that it is unknown."))
        else:
            columns.append(pl.Series(fact.name, [], dtype=physical_type(fact)))
    homes = told.get_column("household").cast(pl.String)
    rows = pl.DataFrame({"household": homes}).join(
        pl.DataFrame({"household": subjects, ROW: pl.int_range(len(subjects), eager=True)}).unique("household"),
        on="household",
        how="left",
        maintain_order="left",
    )
    strange = rows.filter(pl.col(ROW).is_null())
    if strange.height:
        first = int(rows.get_column(ROW).is_null().arg_max() or 0)
        problems.append(Problem(f"members, row {first + 1}", f"there is no household {homes[first]!r}", "Give it a row in the table of facts."))
    return None if problems else pl.DataFrame([rows.get_column(ROW).cast(pl.Int64), *columns])


def members_of(rule: Rule, given: pl.DataFrame, members: pl.DataFrame | None, household: str) -> list[tuple[str, dict[str, int | bool | str | None]]]:
    """The members of one household in a table that `fact_table` can read, each by the column `member` or else by number, with their facts."""
    told = members if members is not None else _listed(given)
    if told is None or rule.members is None:
        return []
    columns = [_column(rule, fact, told.get_column(fact.name), []) for fact in rule.members.facts if fact.name in told.columns]
    rows = pl.DataFrame(columns).filter(told.get_column("household").cast(pl.String) == household)
    named = told.filter(pl.col("household").cast(pl.String) == household)
    names = named.get_column("member").cast(pl.String).to_list() if "member" in told.columns else [str(number) for number in range(1, rows.height + 1)]
    return list(zip(names, rows.iter_rows(named=True), strict=True))


def _counts(table: pl.DataFrame, people: pl.DataFrame, given: pl.DataFrame, listed: bool) -> pl.DataFrame:
    """The table with the number of members of each household, null where nobody said who they are."""
    if listed:
        return table.with_columns(given.get_column(COUNT).list.len().cast(pl.Int64).alias(COUNT))
    counts = people.group_by(ROW).len(COUNT)
    rows = pl.DataFrame({ROW: pl.int_range(table.height, eager=True)}).join(counts, on=ROW, how="left", maintain_order="left")
    return table.with_columns(rows.get_column(COUNT).cast(pl.Int64))


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
        decimal = fact.type == "money" and _has_decimals(texts)

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
