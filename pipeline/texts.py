"""The languages people are spoken to in: the sentences of a catalogue, and numbers, money and days as people of the language write them.

English stands in the code; every other language is a message catalogue of its own, which is handed in as text. A sentence that
a catalogue lacks is said in English.
"""

from __future__ import annotations

import io
import string
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fractions import Fraction

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_skeleton
from babel.lists import format_list
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations, Translations

from .facts import day, day_date
from .money import minor_digits, money_text
from .problems import Malformed, Problem

_BRITISH = "en_GB"
_BLANKS = str.maketrans("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}", "  ")


def message(text: str) -> str:
    """Marks a sentence that is said elsewhere, so that the catalogues hold it."""
    return text


def in_language(words: Mapping[str, str], code: str = "en") -> str:
    """The text of a language, else of the language it is a form of, else that of every language, else English, else any; empty where there is none."""
    for language in (code, code.partition("_")[0], "", "en"):
        if words.get(language):
            return words[language]
    return next(iter(words.values()), "")


def has_language(words: Mapping[str, str], code: str) -> bool:
    """Whether there is a text for the language itself, or one for every language."""
    return any(words.get(language) for language in (code, code.partition("_")[0], ""))


def capital(text: str) -> str:
    """A text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def decimal(value: Fraction) -> str:
    """A number in decimal notation, exact; empty where its decimals have no end."""
    rest, digits = value.denominator, 0
    for prime in (2, 5):
        count = 0
        while rest % prime == 0:
            rest, count = rest // prime, count + 1
        digits = max(digits, count)
    if rest != 1:
        return ""
    whole = abs(value.numerator) * 10**digits // value.denominator
    text = str(whole).zfill(digits + 1)
    return ("-" if value < 0 else "") + (f"{text[:-digits]}.{text[-digits:]}" if digits else text)


class Language:
    """One language: `tell` says a sentence of the catalogue, the others write a value."""

    def __init__(self, code: str = "en", sentences: NullTranslations | None = None) -> None:
        self.code = code
        self._sentences = sentences or NullTranslations()
        try:
            self._forms = Locale.parse(_BRITISH if code == "en" else code)
        except (UnknownLocaleError, ValueError):
            self._forms = Locale.parse(_BRITISH)

    def tell(self, sentence: str, /, **values: str) -> str:
        """A sentence in this language, its places filled with texts."""
        return self._sentences.gettext(sentence).format(**values)

    def tell_number(self, one: str, many: str, number: int, /, **values: str) -> str:
        """A sentence about a number of things; `{number}` is that number."""
        return self._sentences.ngettext(one, many, number).format(number=self.number(number), **values)

    def words(self, words: Mapping[str, str]) -> str:
        """The text of a document in this language, else in one that it has."""
        return in_language(words, self.code)

    def number(self, value: Fraction | int) -> str:
        exact = decimal(Fraction(value))
        return self._plain(format_decimal(exact, locale=self._forms, decimal_quantization=False)) if exact else str(value)

    def percent(self, value: Fraction) -> str:
        """A share of one in percent; where no decimals say it, as the fraction that it is, with the nearest hundredth of a percent."""
        exact = decimal(value)
        if exact:
            return self._plain(format_percent(exact, locale=self._forms, decimal_quantization=False))
        nearest = decimal(Fraction(round(value * 10_000), 10_000))
        return self.tell(message("{share} (about {percent})"), share=str(value), percent=self._plain(format_percent(nearest, "#,##0.00%", locale=self._forms)))

    def money(self, minor: Fraction | int, currency: str, per: str = "") -> str:
        """Minor units as an amount; where they are no whole number, with as many decimals as it takes, or, if no decimals say it, the nearest."""
        amount = Fraction(minor)
        exact = decimal(amount / 10 ** minor_digits(currency))
        if amount.denominator != 1 and exact:
            text = f"{self.number(Fraction(exact))} {currency}"
        else:
            nearest = (2 * abs(amount) + 1) // 2 * (-1 if amount < 0 else 1)
            text = self._plain(money_text(nearest, currency, "en" if self.code == "en" else str(self._forms)))
            text = text if exact else self.tell("about {amount}", amount=text)
        return self.tell(_PER[per], amount=text) if per else text

    def day(self, number: int) -> str:
        """A day number as a date."""
        return self._plain(format_date(day_date(number), "long", locale=self._forms))

    def instant(self, at: datetime) -> str:
        """A moment, in UTC."""
        return self._plain(format_datetime(at.astimezone(UTC), "long", locale=self._forms))

    def period(self, kind: str, start: int, label: str) -> str:
        """A quarter or a month by its first day, a week by its number; a year by its label."""
        if kind == "week":
            year, _, week = label.partition("-W")
            return self.tell(message("week {week} of {year}"), week=str(int(week)), year=year)
        if kind not in ("quarter", "month"):
            return label
        return self._plain(format_skeleton("yQQQQ" if kind == "quarter" else "yMMMM", day_date(start), locale=self._forms))

    def listed(self, items: Iterable[str], style: str = "standard") -> str:
        """Items in a row: one, two and three; with the style "or": one, two or three."""
        return self._plain(format_list(list(items), style="or" if style == "or" else "standard", locale=self._forms))

    def yes_no(self, value: bool) -> str:
        return self.tell(message("yes")) if value else self.tell(message("no"))

    def unknown(self) -> str:
        return self.tell(message("not known"))

    def _plain(self, text: str) -> str:
        """Ordinary blanks: what is printed can then be searched and copied."""
        return text.translate(_BLANKS)


_PER = {
    "year": message("{amount} per year"), "quarter": message("{amount} per quarter"), "month": message("{amount} per month"),
    "week": message("{amount} per week"), "day": message("{amount} per day"),
}  # fmt: skip

ENGLISH = Language()


def placeholders(sentence: str) -> set[str]:
    """The names that stand in braces in a sentence; ValueError where the braces cannot be read."""
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


def read_catalogue(text: str) -> Catalog:
    """A message catalogue in the text form of gettext; Malformed with all its problems, each with its line."""
    try:
        catalogue = read_po(io.BytesIO(text.encode()), abort_invalid=True)
    except PoFileError as error:
        raise Malformed([Problem("", f"no gettext catalogue: {error}", "", error.lineno + 1)]) from None
    problems = []
    for entry in catalogue:
        originals, translated = (part if isinstance(part, tuple | list) else (part,) for part in (entry.id, entry.string))
        wanted = placeholders(str(originals[-1])) if entry.id else set()
        for sentence in translated if entry.id else ():
            try:
                foreign = placeholders(sentence or "") - wanted
            except ValueError as error:
                problems.append(Problem(str(originals[0]), f"{sentence!r} cannot be read: {error}", "Write a brace as {{.", entry.lineno or 0))
                continue
            if foreign:
                unknown = ", ".join(f"{{{name}}}" for name in sorted(foreign))
                problems.append(Problem(str(originals[0]), f"{sentence!r} names {unknown}, which is not in the English sentence", "", entry.lineno or 0))
    if problems:
        raise Malformed(problems)
    return catalogue


def language_of(code: str, catalogue: Catalog) -> Language:
    """The language that a catalogue makes."""
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Language(code, Translations(compiled))


def day_number(at: datetime) -> int:
    """The day of a moment, in UTC."""
    return day(at.astimezone(UTC).date())
