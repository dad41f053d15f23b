"""Money as integer minor units of a currency, with the number of decimals that ISO 4217 gives the currency."""

from __future__ import annotations

import re
from fractions import Fraction

from babel.numbers import format_currency

_CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP "
        "ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA "
        "MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE "
        "SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
}
MINOR_DIGITS: dict[str, int] = {code: digits for digits, codes in _CODES.items() for code in codes.split()}
"""Decimals of a currency's minor unit (ISO 4217, table A.1): every currency that people are paid in, without funds, metals and units of account."""

_DECIMAL = re.compile(r"[+-]?\d[\d_]*(\.\d+)?")


def minor_digits(currency: str) -> int:
    """Decimals of the currency; ValueError names an unknown one."""
    try:
        return MINOR_DIGITS[currency]
    except KeyError:
        raise ValueError(f"unknown currency {currency!r}, {nearest_currency(currency)}") from None


def nearest_currency(text: str) -> str:
    """What to write in place of a currency that is none."""
    if text.upper() in MINOR_DIGITS:
        return f"a currency is written in capitals: {text.upper()}"
    turned = next((code for code in MINOR_DIGITS if sorted(code) == sorted(text.upper())), "")
    return f"did you mean {turned!r}?" if turned else "write its three letters of ISO 4217, such as EUR"


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
        digits = minor_digits(currency)
        number = format_currency(amount, currency, format="#,##0." + "0" * digits if digits else "#,##0", locale=locale, currency_digits=False)
        return f"{number} {currency}"
    return format_currency(amount, currency, locale=locale, decimal_quantization=False)
