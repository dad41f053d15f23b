"""The people of a country: blocks of 475 households and their 1,000 members, with everything that is true of them on the day.

A household and a person are known by their numbers; whatever is drawn for one depends on the seed and that number alone.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import polars as pl

from pipeline.facts import day

from .accounts import account
from .businesses import businesses
from .draws import TEN_THOUSAND, Draws, by_age, looked_up, quantiles
from .shares import BLOCK_PERSONS, Bands, Shares

YEAR_DAYS = 365
GROUP = 5
"""So many persons share an account where one is shared."""


class People(NamedTuple):
    """Some blocks of a country: its households, their members, and its businesses, each in the order of their numbers."""

    households: pl.DataFrame
    persons: pl.DataFrame
    businesses: pl.DataFrame

    def of(self, kind: str) -> pl.DataFrame:
        """The rows of one kind of subject: household, person or business."""
        return {"household": self.households, "person": self.persons, "business": self.businesses}[kind]

    def within(self, size: int, block_businesses: int) -> People:
        """Those of the first `size` persons, with households whole."""
        first = pl.col("first") < size
        return People(
            self.households.filter(first),
            self.persons.filter(first),
            self.businesses.filter(pl.col("business") * BLOCK_PERSONS < size * block_businesses),
        )


class Country:
    """The households and persons of a country on a day, by seed."""

    def __init__(self, shares: Shares, seed: int, on: date) -> None:
        self.shares, self.seed, self.on, self.day = shares, seed, on, day(on)
        self._kinds = _kinds(shares)
        self._incomes = pl.concat([quantiles(tuple(band[2:]), 1_000) for band in shares.incomes])
        self._capital = quantiles(tuple(shares.capital), 100)
        self._receipts, self._receipt_band = _receipt_tables(shares.receipts)
        self._unpaired = pl.Series([word for weights in by_age(shares.alone) for word in _hundred(weights, ("unmarried", "divorced", "widowed"))])
        self._income_band = [next(place for place, band in enumerate(shares.incomes) if band[0] <= age <= band[1]) for age in range(121)]

    def people(self, first_block: int, blocks: int) -> People:
        """Everybody of some blocks."""
        households = self._households(first_block, blocks)
        persons = self._persons(households, first_block)
        sums = persons.group_by("household", maintain_order=True).agg(pl.col("taxed", "capital").sum())
        heads = persons.filter(pl.col("member") == 0).select(head_known="known", head_died="died", head_fault="account_fault")
        named = pl.concat([persons.filter("known").get_column("household"), persons.filter(pl.col("known") & pl.col("joined")).get_column("joined_from")])
        households = households.with_columns(
            sums.get_column("taxed").alias("personal_income"),
            sums.get_column("capital"),
            *heads.get_columns(),
            named=pl.col("household").is_in(named.unique().implode()),
        )
        return People(households, persons, businesses(self.shares, self.seed, first_block, blocks))

    def _households(self, first_block: int, blocks: int) -> pl.DataFrame:
        shares, each = self.shares, self.shares.block_households
        draws = Draws(self.seed, "household", pl.col("household"))
        mixed = pl.concat([self._kinds] * blocks).with_columns(household=pl.int_range(first_block * each, (first_block + blocks) * each, dtype=pl.Int64))
        mixed = mixed.with_columns(block=pl.col("household") // each, order=draws.word("order")).sort("block", "order").drop("order")
        frame = mixed.with_columns(household=pl.int_range(first_block * each, (first_block + blocks) * each, dtype=pl.Int64))
        codes, rare = list(shares.municipalities), shares.households_events
        place = draws.one_of("municipality", list(shares.municipalities.values()))
        earlier = draws.one_of("earlier municipality", list(shares.municipalities.values()))
        frame = frame.with_columns(
            municipality=looked_up(codes, place).str.zfill(4),
            earlier=looked_up(codes, earlier).str.zfill(4),
            moved_day=self.day - 1 - draws.below("moved day", YEAR_DAYS),
            joined=draws.chance("joined", rare.member_joined) & (pl.col("couple") * 2 + pl.col("others") >= 2),
            joined_day=self.day - 1 - draws.below("joined day", YEAR_DAYS),
            joined_from=pl.col("block") * each + (pl.col("household") % each + 1 + draws.below("joined from", each - 1)) % each,
            oldest_child=self._age(draws, "oldest child", shares.ages.oldest_child),
            gap=2 + draws.below("gap", 2),
            listed_heating=draws.chance("heating", rare.listed_heating),
            heating_known=~draws.chance("heating known", rare.heating_unknown),
            income_estimated=draws.chance("income estimated", rare.income_estimated),
            income_known=~draws.chance("income known", rare.income_unknown),
        )
        moved = draws.chance("moved", rare.moved_municipality) & (pl.col("earlier") != pl.col("municipality")) & ~pl.col("joined")
        frame = frame.with_columns(moved=moved, size=pl.col("couple") * 2 + pl.col("others") + pl.col("children"))
        return frame.with_columns(first=first_block * BLOCK_PERSONS + pl.col("size").cum_sum() - pl.col("size"))

    def _persons(self, households: pl.DataFrame, first_block: int) -> pl.DataFrame:
        start = first_block * BLOCK_PERSONS
        frame = households.with_columns(member=pl.int_ranges(0, pl.col("size"), dtype=pl.Int64)).explode("member")
        frame = frame.with_columns(person=pl.int_range(start, start + pl.len(), dtype=pl.Int64))
        frame = frame.with_columns(child=pl.col("member") - (pl.col("size") - pl.col("children")))
        draws = Draws(self.seed, "person", pl.col("person"))
        frame = frame.with_columns(age=self._ages(draws)).with_columns(birth_day=self.day - 1 - pl.col("age") * 1461 // 4 - draws.below("birthday", YEAR_DAYS))
        return self._with_money(self._with_life(frame, draws), draws)

    def _ages(self, draws: Draws) -> pl.Expr:
        """Parents follow from their oldest child; couples are drawn by the older one, who is the head."""
        ages, first = self.shares.ages, Draws(self.seed, "person", pl.col("first"))
        child = (pl.col("oldest_child") - pl.col("child") * pl.col("gap")).abs()
        eldest = pl.max_horizontal("oldest_child", (pl.col("children") - 1) * pl.col("gap") - pl.col("oldest_child"))
        mother = eldest + 19 + first.below("mother 1", 12) + first.below("mother 2", 12)
        older = pl.when(pl.col("children") > 0).then(mother + first.below("father", 7)).otherwise(self._age(first, "couple", ages.couple))
        younger = pl.when(pl.col("children") > 0).then(mother).otherwise(older - first.below("younger 1", 5) - first.below("younger 2", 5))
        other = self._age(draws, "others", ages.others)
        alone = pl.when(pl.col("children") > 0).then(mother).when(pl.col("size") > 1).then(other).otherwise(self._age(first, "alone", ages.alone))
        grown_up = (
            pl.when((pl.col("couple") == 1) & (pl.col("member") == 0)).then(older)
            .when((pl.col("couple") == 1) & (pl.col("member") == 1)).then(younger)
            .when(pl.col("member") == 0).then(alone)
            .otherwise(other)
        )  # fmt: skip
        return pl.when(pl.col("child") >= 0).then(child).otherwise(pl.max_horizontal(grown_up, pl.lit(18)))

    @staticmethod
    def _age(draws: Draws, name: str, bands: Bands) -> pl.Expr:
        """An age: a band by its weight, even within it."""
        place = draws.one_of(name, [band[2] for band in bands])
        youngest, width = looked_up([band[0] for band in bands], place), looked_up([band[1] - band[0] + 1 for band in bands], place)
        return youngest + draws.below(f"{name} year", width)

    def _with_life(self, frame: pl.DataFrame, draws: Draws) -> pl.DataFrame:
        """Since when they live here and where, whom with, and what happened to them."""
        events, age, since, a_day = self.shares.events, pl.col("age"), pl.col("since"), YEAR_DAYS - 1

        def happens(name: str, bands: Bands) -> pl.Expr:
            return draws.chance(name, looked_up([rate for [rate] in by_age(bands)], age))

        came = (
            pl.when(happens("immigrated", events.immigrated)).then(self.day - 1 - draws.below("immigrated day", a_day))
            .when(happens("came from abroad", events.came_from_abroad)).then(self.day - 366 - draws.below("came day", 7_300))
            .otherwise(pl.col("birth_day"))
        )  # fmt: skip
        frame = frame.with_columns(since=pl.max_horizontal(came, pl.col("birth_day")))
        frame = frame.with_columns(
            died=happens("died", events.died),
            death_day=pl.max_horizontal(self.day - 1 - draws.below("death day", a_day), since + 1),
            moved=pl.col("moved") & (since < pl.col("moved_day")),
            joined=pl.col("joined") & (since < pl.col("joined_day")) & (pl.col("member") == pl.col("size") - pl.col("children") - 1),
            known=~happens("residence", events.without_residence),
            protected_address=happens("protected", events.protected_address),
            marital_status=self._marital_status(draws),
            role=self._role(),
        )
        emigrated = happens("emigrated", events.emigrated) & ~pl.col("died")
        guardian = pl.when((age < 18) & (pl.col("child") >= 0)).then(pl.col("first") + pl.col("couple"))
        return frame.with_columns(
            emigrated=emigrated,
            emigration_day=pl.max_horizontal(self.day - 1 - draws.below("emigration day", a_day), since + 1),
            moved=pl.col("moved") & ~emigrated & ~pl.col("died"),
            joined=pl.col("joined") & ~emigrated & ~pl.col("died"),
            guardian=guardian,
        )

    def _married(self) -> pl.Expr:
        rate = looked_up([rate for [rate] in by_age(self.shares.married)], pl.col("age"))
        return Draws(self.seed, "household", pl.col("household")).below("married", 100) < rate.first().over("household")

    def _marital_status(self, draws: Draws) -> pl.Expr:
        unpaired = looked_up(self._unpaired, pl.col("age") * 100 + draws.below("alone", 100))
        paired = pl.when(self._married()).then(pl.lit("married")).otherwise(pl.lit("unmarried"))
        is_paired = (pl.col("couple") == 1) & (pl.col("member") < 2)
        return pl.when(pl.col("child") >= 0).then(pl.lit("unmarried")).when(is_paired).then(paired).otherwise(unpaired)

    def _role(self) -> pl.Expr:
        second = pl.when(self._married()).then(pl.lit("spouse")).otherwise(pl.lit("partner"))
        return (
            pl.when(pl.col("child") >= 0).then(pl.lit("child"))
            .when(pl.col("member") == 0).then(pl.lit("head"))
            .when((pl.col("couple") == 1) & (pl.col("member") == 1)).then(second)
            .otherwise(pl.lit("other"))
        )  # fmt: skip

    def _with_money(self, frame: pl.DataFrame, draws: Draws) -> pl.DataFrame:
        """Incomes in kroner, benefits and accounts."""
        band = looked_up(self._income_band, pl.col("age"))
        income = looked_up(self._incomes, band * TEN_THOUSAND + draws.below("income", TEN_THOUSAND)) + draws.below("income kroner", 50)
        capital = looked_up(self._capital, draws.below("capital", TEN_THOUSAND))
        frame = frame.with_columns(
            income=pl.when(pl.col("age") < 15).then(0).otherwise(income),
            capital=pl.when(pl.col("age") < 18).then(0).otherwise(capital),
            **account(draws, pl.col("person") * 2, self.shares.accounts, self.seed),
        )
        after_contribution = pl.col("income") * 92 // 100
        base = after_contribution + pl.max_horizontal(pl.col("capital"), pl.lit(0))
        group = Draws(self.seed, "group", pl.col("person") // GROUP)
        shares_account = group.chance("account shared", self.shares.accounts_shared)
        owner = pl.when(shares_account).then(pl.col("person") // GROUP * GROUP).otherwise(pl.col("person"))
        frame = frame.with_columns(
            taxed=after_contribution,
            account_fault=pl.when(shares_account).then(pl.lit("account_shared")).otherwise("account_fault"),
            owner=owner,
            receives=self._receipt("receipt", draws),
            received=self._receipt("earlier receipt", draws),
            spell_days=30 + draws.below("spell", 900),
            tax_known=~draws.chance("tax known", self.shares.children_tax.income_unknown),
            tax_corrected=draws.chance("tax corrected", self.shares.children_tax.income_corrected),
        )
        is_guardian = pl.col("member") == pl.col("couple")
        return frame.with_columns(
            guardian_base=pl.when(is_guardian).then(base).max().over("household"),
            **{name: pl.col(name).first().over("owner") for name in ("account_registration", "account_number", "account_iban", "account_is_danish")},
        )

    def _receipt(self, name: str, draws: Draws) -> pl.Expr:
        """The benefit that somebody of this age receives, or an empty text."""
        return looked_up(self._receipts, looked_up(self._receipt_band, pl.col("age")) * TEN_THOUSAND + draws.below(name, TEN_THOUSAND))


def _kinds(shares: Shares) -> pl.DataFrame:
    rows = [(kind.couple, kind.others, kind.children) for kind in shares.households for _ in range(kind.number)]
    return pl.DataFrame(rows, schema={"couple": pl.Int64, "others": pl.Int64, "children": pl.Int64}, orient="row")


def _hundred(weights: list[int], words: tuple[str, ...]) -> list[str]:
    """Each word as often as it weighs, a hundred altogether."""
    drawn = [word for word, weight in zip(words, weights, strict=False) for _ in range(weight)]
    return [*drawn, *[words[0]] * (100 - len(drawn))]


def _receipt_tables(bands: list[dict[str, int]]) -> tuple[pl.Series, pl.Series]:
    """Benefits by band and by the ten-thousandth of its people, and the band of each age; the first band is of those who receive none."""
    words = [""] * TEN_THOUSAND
    for band in bands:
        names = [name for name, rate in band.items() if name not in ("from", "to") for _ in range(rate)]
        words += [*names, *[""] * (TEN_THOUSAND - len(names))]
    of_age = [next((place for place, band in enumerate(bands, 1) if band["from"] <= age <= band["to"]), 0) for age in range(121)]
    return pl.Series(words), pl.Series(of_age)
