"""The businesses of a country: small ones mostly, and what they lost in the spring of 2020."""

from __future__ import annotations

from datetime import date

import polars as pl

from pipeline.facts import day

from .accounts import account
from .draws import TEN_THOUSAND, Draws, looked_up, quantiles
from .shares import Shares

OPENED, LAST_OPENED = day(date(1985, 1, 1)), day(date(2020, 6, 1))


def businesses(shares: Shares, seed: int, first_block: int, blocks: int) -> pl.DataFrame:
    """The businesses of some blocks, in the order of their numbers; turnover in kroner."""
    drawn, each = shares.businesses, shares.businesses.number
    rows = pl.DataFrame({"business": pl.int_range(first_block * each, (first_block + blocks) * each, dtype=pl.Int64, eager=True)})
    draws = Draws(seed, "business", pl.col("business"))
    before = looked_up(quantiles(tuple(drawn.turnover), 1_000), draws.below("turnover", TEN_THOUSAND))
    lost = looked_up(quantiles(tuple(drawn.lost), 1), draws.below("lost", TEN_THOUSAND))
    closed = draws.chance("closed", drawn.ordered_closed)
    industries = list(drawn.industries)
    return rows.with_columns(
        block=pl.col("business") // each,
        registered_day=OPENED + draws.below("registered", LAST_OPENED - OPENED),
        active=~draws.chance("inactive", drawn.inactive),
        industry=looked_up(industries, draws.one_of("industry", list(drawn.industries.values()))),
        owners=draws.one_of("owners", drawn.owners),
        employees=looked_up(quantiles(tuple(drawn.employees), 1), draws.below("employees", TEN_THOUSAND)),
        turnover_before=before,
        turnover=pl.when(closed & draws.chance("no turnover", 5_000)).then(0).otherwise(before * 4 // 3 * (100 - lost) // 100),
        ordered_closed=closed,
        turnover_known=~draws.chance("turnover unknown", drawn.turnover_unknown),
        turnover_final=draws.chance("turnover final", drawn.turnover_final),
        **account(draws, pl.col("business") * 2 + 1, shares.accounts, seed),
    )
