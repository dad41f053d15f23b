"""The languages that decisions are explained in: complete catalogues, and another language by a file alone."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file
from babel.numbers import get_currency_precision, list_currencies
from hypothesis import given
from hypothesis import strategies as st

from connectors.languages import language_codes, load_language
from pipeline.facts import FIRST_DAY, LAST_DAY, day_date
from pipeline.holds import EXPLAINED, LIFTERS
from pipeline.money import MINOR_DIGITS
from pipeline.orders import Kind, State
from pipeline.problems import Malformed
from pipeline.texts import ENGLISH, decimal, in_language, placeholders, read_catalogue
from streams.settings import SHIPPED

LOCALES = SHIPPED / "locales"
CATALOGUES = sorted(LOCALES.glob("*.po"))
CODES = ("final", "preliminary", "estimated", "holds", "withdrawn", "disputed", "correction")
DANISH = load_language("da", LOCALES)


def messages() -> set[str | tuple[str, str]]:
    """Every sentence that the code says in a language, pairs where it depends on a number."""
    found: set[str | tuple[str, str]] = {*CODES, *(name.lower() for kind in (State, Kind) for name in kind.__members__), *LIFTERS.values()}
    for explained in EXPLAINED.values():
        found |= {explained.sentence, explained.lifted_by}
    keywords = {"tell": None, "message": None, "tell_number": (1, 2)}
    for path in (path for package in ("pipeline", "connectors", "streams") for path in (SHIPPED / package).rglob("*.py")):
        if "texts import " in path.read_text(encoding="utf-8") or path.name == "texts.py":
            found.update(message for _, message, _, _ in extract_from_file("python", path, keywords=keywords))
    return found


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_catalogue_translates_every_message_and_no_other(path: Path):
    translated = {entry.id if isinstance(entry.id, str) else tuple(entry.id) for entry in read_catalogue(path.read_text(encoding="utf-8")) if entry.id}
    assert sorted(map(str, messages() - translated)) == []
    assert sorted(map(str, translated - messages())) == []


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_translation_has_the_places_of_its_message_and_is_not_empty(path: Path):
    for entry in read_catalogue(path.read_text(encoding="utf-8")):
        if not entry.id:
            continue
        originals, translations = ((part,) if isinstance(part, str) else part for part in (entry.id, entry.string))
        assert all(translations), entry.id
        assert len(originals) == len(translations), entry.id
        for original, translation in zip(originals, translations, strict=True):
            assert placeholders(translation) == placeholders(original), entry.id


def test_danish_is_shipped():
    assert language_codes(LOCALES) == ["en", "da"]


def test_an_unknown_language_is_refused_with_those_that_exist():
    with pytest.raises(Malformed, match=r"--language: 'dk' is no language that is spoken here\. There are en, da;"):
        load_language("dk", LOCALES)


def test_a_file_in_the_folder_makes_another_language(tmp_path: Path):
    (tmp_path / "xx.po").write_text('msgid "yes"\nmsgstr "jep"\n', encoding="utf-8")
    (tmp_path / "de.po").write_text('msgid "{amount} per year"\nmsgstr "{amount} im Jahr"\n', encoding="utf-8")
    assert language_codes(tmp_path) == ["en", "de", "xx"]
    assert load_language("xx", tmp_path).yes_no(True) == "jep"
    assert load_language("xx", tmp_path).yes_no(False) == "no"
    assert load_language("de", tmp_path).money(123_450, "EUR", "year") == "1.234,50 € im Jahr"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'msgid "yes"\nmsgstr "j\xe6"\n', "is not UTF-8 text at byte"),
        (b'msgid "yes"\nmsgstr "ja {who}"\n', r"names \{who\}, which is not in the English sentence"),
        (b'msgid "yes"\nmsgstr "ja {"\n', "cannot be read"),
        (b"yes: ja\n", "no gettext catalogue"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_its_file(tmp_path: Path, content: bytes, told: str):
    (tmp_path / "da.po").write_bytes(content)
    with pytest.raises(Malformed, match=told) as refused:
        load_language("da", tmp_path)
    assert all(str(problem).startswith(f"{tmp_path / 'da.po'}: ") for problem in refused.value.problems)


def test_values_are_written_as_people_of_the_language_write_them():
    assert DANISH.money(268_850, "DKK") == "2.688,50 kr."
    assert DANISH.money(82_810_000, "DKK", "year") == "828.100,00 kr. om året"
    assert (ENGLISH.money(268_850, "DKK"), ENGLISH.money(1_000_000, "KRW")) == ("2,688.50 DKK", "1,000,000 KRW")
    assert (DANISH.percent(Fraction(51, 2000)), ENGLISH.percent(Fraction(51, 2000))) == ("2,55 %", "2.55%")
    assert (DANISH.percent(Fraction(12, 365)), ENGLISH.percent(Fraction(2, 3))) == ("12/365 (ca. 3,29%)", "2/3 (about 66.67%)")
    assert (DANISH.day(18_993), ENGLISH.day(18_993)) == ("1. januar 2022", "1 January 2022")
    assert (DANISH.period("quarter", 18_993, "2022-Q1"), ENGLISH.period("quarter", 18_993, "2022-Q1")) == ("1. kvartal 2022", "1st quarter 2022")
    assert (DANISH.yes_no(True), DANISH.unknown()) == ("ja", "ikke oplyst")
    assert DANISH.listed(["a", "b", "c"], "or") == "a, b eller c"
    assert DANISH.instant(datetime(2022, 3, 1, 9, 5, tzinfo=UTC)) == "1. marts 2022 09.05.00 UTC"


def test_every_currency_is_one_that_the_forms_of_languages_know():
    assert set(MINOR_DIGITS) <= list_currencies()
    assert all(get_currency_precision(currency) <= digits for currency, digits in MINOR_DIGITS.items())
    assert len(MINOR_DIGITS) > 150


def test_amounts_are_written_with_the_decimals_of_their_currency():
    assert [ENGLISH.money(1_234_567, currency) for currency in ("KWD", "IQD", "HUF", "ISK")] == [
        "1,234.567 KWD",
        "1,234.567 IQD",
        "12,345.67 HUF",
        "1,234,567 ISK",
    ]
    assert [DANISH.money(1_234_567, currency) for currency in ("KWD", "IQD")] == ["1.234,567 KWD", "1.234,567 IQD"]


@given(st.fractions())
def test_a_number_is_written_exactly_or_as_a_fraction(value: Fraction):
    text = decimal(value)
    assert Fraction(text) == value if text else Fraction(ENGLISH.number(value)) == value


@given(st.integers(FIRST_DAY, LAST_DAY))
def test_every_day_can_be_written_in_every_language(number: int):
    assert str(day_date(number).year) in ENGLISH.day(number)
    assert str(day_date(number).day) in DANISH.day(number)


@given(st.fractions(min_value=-(10**20), max_value=10**20), st.sampled_from(sorted(MINOR_DIGITS)))
def test_every_amount_can_be_written_and_differs_from_the_next(minor: Fraction, currency: str):
    for language in (ENGLISH, DANISH):
        assert language.money(minor, currency) != language.money(minor + 1, currency)


def test_the_text_of_a_document_is_taken_in_the_nearest_language():
    words = {"en": "yes", "da": "ja", "de_AT": "jo"}
    assert [in_language(words, code) for code in ("da", "de_AT", "da_DK", "fr")] == ["ja", "jo", "ja", "yes"]
    assert in_language({"": "any", "da": "ja"}, "fr") == "any"
    assert in_language({}, "da") == ""
