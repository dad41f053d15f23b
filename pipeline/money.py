"""Money as integer minor units of a currency, with the number of decimals that ISO 4217 gives the currency."""

from __future__ import annotations

import re
from fractions import Fraction

from babel.numbers import format_currency

MINOR_DIGITS: dict[str, int] = {
    "AUD": 2, "CAD": 2, "CHF": 2, "CZK": 2, "DKK": 2, "EUR": 2, "GBP": 2, "HKD": 2, "HUF": 2, "INR": 2,
    "ISK": 0, "JPY": 0, "KRW": 0, "NOK": 2, "NZD": 2, "PLN": 2, "RON": 2, "SEK": 2, "SGD": 2, "USD": 2, "XOF": 0,
}  # fmt: skip
"""Decimals of a currency's minor unit (ISO 4217, table A.1)."""

_DECIMAL = re.compile(r"[+-]?\d[\d_]*(\.\d+)?")


def minor_digits(currency: str) -> int:
    """Decimals of the currency; ValueError names an unknown one."""
    try:
        return MINOR_DIGITS[currency]
    except KeyError:
        raise ValueError(f"unknown currency {currency!r}, known: {', '.join(MINOR_DIGITS)}") from None


def parse_minor(text: str, currency: str) -> int:
    """``"1_234.50"`` in DKK is 123450. ValueError where the text is no number or has too many decimals."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount, write it like 1_234.50")
    scale: int = 10 ** minor_digits(currency)
    minor = Fraction(text.replace("_", "")) * scale
    if minor.denominator != 1:
        raise ValueError(f"{text!r} has more decimals than {currency} has ({minor_digits(currency)})")
    return minor.numerator


def decimal_text(amount_minor: int, currency: str) -> str:
    """``-123450`` in DKK is ``"-1234.50"``: the form of files and of JSON, without grouping."""
    digits = minor_digits(currency)
    sign, whole = ("-" if amount_minor < 0 else ""), abs(amount_minor)
    if digits == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole // 10**digits}.{whole % 10**digits:0{digits}d}"


def money_text(amount_minor: int, currency: str, locale: str = "en") -> str:
    """An amount for people, grouped and with its currency: ``"1,234.50 DKK"``, in Danish ``"1.234,50 kr."``.

    English is the language of many countries and so names the currency by its code; any other writes it as its people do.
    """
    from decimal import Decimal  # display only; no amount is computed from it

    amount = Decimal(decimal_text(amount_minor, currency))
    if locale == "en":
        number = format_currency(amount, currency, format="#,##0.00" if minor_digits(currency) else "#,##0", locale=locale, currency_digits=False)
        return f"{number} {currency}"
    return format_currency(amount, currency, locale=locale)
