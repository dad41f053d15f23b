"""A population as the table of a rule's facts, and what the rule decides of it."""

from __future__ import annotations

import msgspec
import polars as pl

from pipeline.registry import Registries
from pipeline.rules import DECISIONS, GRANTED, Period, Rule, RuleFact, decide
from pipeline.rules.aggregates import COUNT, ROW, with_aggregates

from .country import Country, People
from .facts import FactColumns
from .statements import CHILD_BENEFIT, kinds

HOLD = "hold"
"""The column that says why money could not leave: a code of `pipeline.holds`, empty where it could."""

DIMENSIONS = {"person": ("municipality", "role"), "household": ("municipality", "size", "children"), "business": ("industry", "owners")}
"""Further columns, to tell groups apart by."""


class Decided(msgspec.Struct):
    """What a rule decides of a population; `held` counts the granted whose money could not leave, by reason."""

    benefit: str
    period: str
    currency: str
    granted: int = 0
    refused: int = 0
    undetermined: int = 0
    amount_minor: int = 0
    held: dict[str, int] = {}
    held_minor: dict[str, int] = {}


class RuleFacts:
    """The facts of a rule for a period, of everybody it can decide."""

    def __init__(self, rule: Rule, period: Period, country: Country, registries: Registries) -> None:
        self.rule, self.period = rule, period
        known = kinds(country)
        self._kind = known[rule.decides_for]
        self._own = FactColumns(rule, period, [fact for fact in rule.facts if fact.aggregate is None], self._kind, registries)
        self._members = None if rule.members is None else FactColumns(rule, period, [*rule.members.facts, _membership(rule)], known["person"], registries)
        self._pays_heads = rule.decides_for == "household" and "household.head" in rule.payment.to

    def table(self, people: People) -> pl.DataFrame:
        """`subject`, a column for each fact, `hold`, and further columns to tell groups apart by."""
        hears_members = self._members is not None or self._pays_heads
        frame = people.of(self.rule.decides_for).filter(self._own.known | pl.col("named") if hears_members else self._own.known)
        days = [self._own.event_day.alias("event_day")] if self.rule.needs_event_day else []
        taken = {fact.name for fact in self.rule.facts}
        beside = [name for name in DIMENSIONS[self.rule.decides_for] if name not in taken]
        named = [] if self._members is None else ["named"]
        table = frame.select(self._kind.name.alias("subject"), *self._own.columns, *days, self._hold().alias(HOLD), *beside, *named)
        return table if self._members is None else self._with_members(table, people.persons)

    def decide(self, table: pl.DataFrame) -> Decided:
        """What comes of it; the table is one that `table` made."""
        result = decide(self.rule, table, self.period).select("decision", "amount_minor").with_columns(table.get_column(HOLD))
        counted = dict(result.get_column("decision").value_counts().iter_rows())
        granted = result.filter(pl.col("decision") == GRANTED)
        held = granted.filter((pl.col(HOLD) != "") & (pl.col("amount_minor") > 0)).group_by(HOLD).agg(pl.len(), pl.col("amount_minor").sum()).sort(HOLD)
        counts = {name: counted.get(place, 0) for place, name in enumerate(DECISIONS)}
        return Decided(
            self.rule.benefit, self.period.label, self.rule.currency, counts["granted"], counts["refused"], counts["undetermined"],
            int(granted.get_column("amount_minor").sum()),
            {reason: count for reason, count, _ in held.iter_rows()}, {reason: minor for reason, _, minor in held.iter_rows()},
        )  # fmt: skip

    def _hold(self) -> pl.Expr:
        """What holds the money of a row: its own account's fault, of a household the fault of its head."""
        if self._pays_heads:
            died = pl.when("head_died").then(pl.lit("payee_deceased")).otherwise("head_fault")
            return pl.when("head_known").then(died).otherwise(pl.lit("payee_unknown"))
        if self.rule.decides_for == "household":
            return pl.lit("no_account")
        if self.rule.decides_for == "business":
            return pl.col("account_fault")
        of_child = (pl.col("age") < 18) & (pl.col("child") >= 0)
        has_none = of_child if self.rule.benefit != CHILD_BENEFIT else pl.lit(False)
        died = pl.col("died") & pl.col("known")
        return pl.when(died).then(pl.lit("payee_deceased")).when(has_none).then(pl.lit("no_account")).otherwise("account_fault")

    def _with_members(self, table: pl.DataFrame, persons: pl.DataFrame) -> pl.DataFrame:
        """The aggregates of the members, each counted in the household that the registry names for the day."""
        assert self._members is not None
        rows = table.select("subject").with_row_index(ROW).with_columns(pl.col(ROW).cast(pl.Int64))
        named = persons.filter(self._members.known).select(*self._members.columns).rename({_HOUSEHOLD: "subject"}).drop_nulls("subject")
        members = named.join(rows, on="subject", how="inner", maintain_order="left").drop("subject")
        counts = members.group_by(ROW).agg(pl.len().cast(pl.Int64).alias(COUNT))
        counted = table.with_columns(rows.join(counts, on=ROW, how="left", maintain_order="left").get_column(COUNT))
        known = counted.with_columns(pl.when("named").then(pl.col(COUNT).fill_null(0)).alias(COUNT)).drop("named")
        return with_aggregates(self.rule, known, members, self.period).drop(COUNT)


def add(total: Decided, part: Decided) -> Decided:
    """Both together."""
    numbers = {name: getattr(total, name) + getattr(part, name) for name in ("granted", "refused", "undetermined", "amount_minor")}
    held, held_minor = (
        {reason: one.get(reason, 0) + other.get(reason, 0) for reason in sorted({*one, *other})}
        for one, other in ((total.held, part.held), (total.held_minor, part.held_minor))
    )
    return msgspec.structs.replace(total, **numbers, held=held, held_minor=held_minor)


_HOUSEHOLD = ":household"


def _membership(rule: Rule) -> RuleFact:
    assert rule.members is not None
    return RuleFact(_HOUSEHOLD, "text", rule.members.of, rule.members.at)
