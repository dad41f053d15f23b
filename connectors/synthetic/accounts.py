"""Accounts of a population: one for each subject, with valid check digits, and what is planted in them."""

from __future__ import annotations

import polars as pl

from .draws import TEN_THOUSAND, Draws, looked_up, steps
from .shares import AccountFaults

ACCOUNT_FAULTS = ("no_account", "account_closed", "account_pending", "account_invalid")
_PRIME = 9_999_999_967


def account(draws: Draws, number: pl.Expr, faults: AccountFaults, seed: int) -> dict[str, pl.Expr]:
    """An account of one's own (a prime keeps the numbers apart), and what is wrong with it: one thing at most."""
    rates = [getattr(faults, fault) for fault in ACCOUNT_FAULTS]
    fault = looked_up([*ACCOUNT_FAULTS, ""], looked_up(steps([*rates, TEN_THOUSAND - sum(rates)]), draws.below("account fault", TEN_THOUSAND)))
    registration = 1_000 + draws.below("bank", 8_999)
    own = (number * 104_729 + seed % 1_000_003 * 7_919) % _PRIME
    national = registration * 10_000_000_000 + own
    # ISO 13616: 98 less the remainder of the digits with DK written as 1320 and two noughts behind them.
    check = 98 - (national % 97 * (1_000_000 % 97) + 132_000 % 97) % 97
    wrong = pl.when(fault == "account_invalid").then(check % 97 + 2).otherwise(check)
    return {
        "account_fault": fault,
        "account_registration": registration.cast(pl.String),
        "account_number": own.cast(pl.String).str.zfill(10),
        "account_iban": pl.concat_str(pl.lit("DK"), wrong.cast(pl.String).str.zfill(2), national.cast(pl.String)),
        "account_is_danish": draws.chance("account written", faults.account_written_as_danish) & (fault != "account_invalid"),
    }
