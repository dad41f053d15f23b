"""What the registries of Denmark say of a population: one statement for each kind of event, over the rows of persons, households or businesses.

From the same statements come the events (`lines`) and the columns of a rule's facts (`facts`), so that the two agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from pipeline.facts import day

from .country import Country

RESIDENCY, ACCOUNTS = "urn:registry:residency", "urn:registry:account"
BUSINESSES = "urn:registry:business:dk"
BENEFITS, TAX, HOUSEHOLDS = "urn:registry:benefits:dk", "urn:registry:tax:dk", "urn:registry:households:dk"
CHILD_BENEFIT = "dk-child-benefit"
"""A child's account is assigned for this benefit alone."""

PENSIONS = ("disability_pension", "senior_pension", "early_pension", "early_retirement", "flexi_benefit", "state_pension")
FIRST_PAID = {"senior_pension": date(2020, 1, 1), "early_pension": date(2022, 1, 1)}


@dataclass(frozen=True)
class Statement:
    """At most one event about each row: `said` tells about which, `fields` what, by path; a null is not stated.

    Money is in minor units and dates are day numbers, as facts are. `told` is the day of the event.
    """

    type: str
    source: str
    id: str
    sequence: int
    said: pl.Expr
    told: pl.Expr
    fields: Mapping[str, pl.Expr]


@dataclass(frozen=True)
class Kind:
    """One kind of subject: the column of its number, its pseudonym, and what is said of it, an event with a higher sequence later."""

    index: str
    name: pl.Expr
    statements: Sequence[Statement]


def kinds(country: Country) -> dict[str, Kind]:
    """Persons, households and businesses."""
    persons = [*_residency(country), *_accounts("nemkonto-p", pl.col("since"), country.day, _child_benefit()), *_receipts(country), *_assessments(country)]
    return {
        "person": Kind("person", person_name(pl.col("person")), persons),
        "household": Kind("household", household_name(pl.col("household")), _household_statements(country)),
        "business": Kind("business", pl.concat_str(pl.lit("dk-b"), pl.col("business").cast(pl.String).str.zfill(8)), _business_statements(country)),
    }


def _household_statements(country: Country) -> list[Statement]:
    year = country.on.year - 2
    status = pl.when("income_estimated").then(pl.lit("estimated")).otherwise(pl.lit("final"))
    income = {
        "year": pl.lit(year), "status": status, "personal_income": pl.col("personal_income") * 100, "net_capital_income": pl.col("capital") * 100,
    }  # fmt: skip
    built, known = pl.lit(country.day - 3_650), pl.lit(day(date(year + 1, 4, 2)))
    dwelling = {"valid_from": built, "listed_heating": pl.col("listed_heating")}
    return [
        Statement("registry.dk_household.income.v1", HOUSEHOLDS, "income", 1, pl.col("income_known"), known, income),
        Statement("registry.dk_household.dwelling.v1", HOUSEHOLDS, "dwelling", 2, pl.col("heating_known"), built, dwelling),
    ]


def _business_statements(country: Country) -> list[Statement]:
    """What a business is, and what it turned over in two stretches of days that the law of 2020 compares, once they are over."""
    kind, register = "registry.business.company.v1", pl.col("registered_day")
    company = {
        "valid_from": register, "status": pl.lit("final"), "active": pl.col("active"), "registered": register, "industry": pl.col("industry"),
        "owners": pl.col("owners"), "full_time_employees": pl.col("employees"),
    }  # fmt: skip

    def declared(sequence: int, first: date, end: date, status: pl.Expr, **fields: pl.Expr) -> Statement:
        days = {"valid_from": pl.lit(day(first)), "valid_to": pl.lit(day(end)), "status": status}
        said = pl.col("turnover_known") & (register < day(end)) & pl.lit(day(end) <= country.day)
        return Statement(kind, BUSINESSES, "company", sequence, said, pl.lit(day(end)), {**days, **fields})

    sure = pl.when("turnover_final").then(pl.lit("final")).otherwise(pl.lit("estimated"))
    return [
        *_accounts("nemkonto-b", register, country.day, pl.lit(None, pl.String), register <= country.day),
        Statement(kind, BUSINESSES, "company", 1, register <= country.day, register, company),
        declared(2, date(2019, 4, 1), date(2019, 7, 1), pl.lit("final"), turnover=pl.col("turnover_before") * 100),
        declared(3, date(2020, 3, 9), date(2020, 7, 9), sure, turnover=pl.col("turnover") * 100, ordered_closed=pl.col("ordered_closed")),
    ]


def person_name(index: pl.Expr) -> pl.Expr:
    """The pseudonym of a person."""
    return pl.concat_str(pl.lit("dk-"), index.cast(pl.String).str.zfill(8))


def household_name(index: pl.Expr) -> pl.Expr:
    """The pseudonym of a household."""
    return pl.concat_str(pl.lit("dk-h"), index.cast(pl.String).str.zfill(8))


def _residency(country: Country) -> list[Statement]:
    kind, yes, no = "registry.residency.person.v1", pl.lit(True), pl.lit(False)

    def told(sequence: int, said: pl.Expr, on: pl.Expr, **fields: pl.Expr) -> Statement:
        registered = pl.max_horizontal(on, pl.lit(country.day - 3_650))
        stated = {"valid_from": on, "birth_date": pl.col("birth_day"), **fields}
        return Statement(kind, RESIDENCY, "cpr", sequence, pl.col("known") & said, registered, stated)

    now = {
        "resident": yes,
        "municipality": pl.col("municipality"),
        "marital_status": pl.col("marital_status"),
        "household": household_name(pl.col("household")),
        "role": pl.col("role"),
        "guardian": person_name(pl.col("guardian")),
        "protected_address": pl.when("protected_address").then(True),
    }
    before = {
        **now,
        "municipality": pl.when("moved").then("earlier").otherwise("municipality"),
        "household": household_name(pl.when("joined").then("joined_from").otherwise("household")),
        "role": pl.when("joined").then(pl.lit("other")).otherwise("role"),
    }
    changed_on = pl.when("moved").then("moved_day").otherwise("joined_day")
    return [
        told(1, yes, pl.col("since"), **before),
        told(2, pl.col("moved") | pl.col("joined"), changed_on, **now),
        told(3, pl.col("emigrated"), pl.col("emigration_day"), resident=no),
        told(4, pl.col("died"), pl.col("death_day"), death_date=pl.col("death_day"), resident=no),
    ]


def _child_benefit() -> pl.Expr:
    return pl.when((pl.col("age") < 18) & (pl.col("child") >= 0)).then(pl.lit(CHILD_BENEFIT))


def _accounts(id: str, since: pl.Expr, on: int, benefit: pl.Expr, exists: pl.Expr | None = None) -> list[Statement]:
    exists = pl.lit(True) if exists is None else exists
    danish, fault = pl.col("account_is_danish"), pl.col("account_fault")

    def told(sequence: int, said: pl.Expr, at: pl.Expr, status: pl.Expr) -> Statement:
        fields = {
            "account.scheme": pl.when(danish).then(pl.lit("dk")).otherwise(pl.lit("iban")),
            "account.iban": pl.when(~danish).then("account_iban"),
            "account.registration": pl.when(danish).then("account_registration"),
            "account.number": pl.when(danish).then("account_number"),
            "benefit": benefit,
            "status": status,
            "valid_from": at,
            "holder": pl.lit("match"),
        }
        return Statement("registry.account.assignment.v1", ACCOUNTS, id, sequence, said & exists, at, fields)

    opened = pl.max_horizontal(since, pl.lit(on - 3_650))
    first = pl.when(fault == "account_pending").then(pl.lit("pending")).otherwise(pl.lit("active"))
    closed = pl.max_horizontal(since + 1, pl.lit(on - 40))
    return [told(1, fault != "no_account", opened, first), told(2, fault == "account_closed", closed, pl.lit("closed"))]


def _receipts(country: Country) -> list[Statement]:
    """What somebody receives on the day, and for whoever receives nothing or not for long, what they received one and a half years before."""
    names, on = country.shares.benefits(), country.day
    is_pension = pl.col("receives").is_in(PENSIONS)
    first_paid = pl.max_horizontal(*(pl.when(pl.col("receives") == name).then(day(paid)) for name, paid in FIRST_PAID.items()), pl.lit(0))
    since = pl.max_horizontal(pl.when(is_pension).then(on - 1_000 - pl.col("spell_days") * 2).otherwise(on - pl.col("spell_days") // 3), first_paid)
    kind = "registry.benefits.receipt.v1"
    now = {"valid_from": since, **{name: pl.when(pl.col("receives") == name).then(True) for name in names}}
    until = on - 400 - pl.col("spell_days") // 6
    before = {
        "valid_from": until - pl.col("spell_days"),
        "valid_to": until,
        **{name: pl.when(pl.col("received") == name).then(True) for name in names if name not in PENSIONS},
    }
    had = (pl.col("received") != "") & ~pl.col("received").is_in(PENSIONS) & ~is_pension & (pl.col("age") > 20)
    return [
        Statement(kind, BENEFITS, "receipt", 1, had, until - pl.col("spell_days"), before),
        Statement(kind, BENEFITS, "receipt", 2, (pl.col("receives") != "") & (since <= on), since, now),
    ]


def _assessments(country: Country) -> list[Statement]:
    """The guardian's income, told for the child: final for the year before last, preliminary for this one, for some corrected."""
    year, kind = country.on.year, "registry.dk_tax.assessment.v1"
    of_child = (pl.col("age") < 18) & (pl.col("child") >= 0) & pl.col("guardian_base").is_not_null()

    def told(sequence: int, said: pl.Expr, of: int, status: str, on: date, percent: int) -> Statement:
        income = pl.col("guardian_base") * percent
        return Statement(kind, TAX, "tax", sequence, of_child & said, pl.lit(day(on)), {"year": pl.lit(of), "status": pl.lit(status), "income": income})

    return [
        told(1, pl.lit(True), year - 2, "final", date(year - 1, 4, 2), 100),
        told(2, pl.col("tax_known"), year, "preliminary", date(year - 1, 11, 20), 105),
        told(3, pl.col("tax_known") & pl.col("tax_corrected"), year, "preliminary", country.on - timedelta(days=1), 112),
    ]
