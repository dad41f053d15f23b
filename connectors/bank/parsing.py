"""How a bank file is taken apart: streamed, with no entities and no network, every fault a problem with its line."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any

from lxml import etree

from pipeline.money import MINOR_DIGITS, parse_minor
from pipeline.problems import Malformed, Problem, suggestion

Element = Any  # lxml has no types of its own
_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{0,17})?")
ISO = "urn:iso:std:iso:20022:tech:xsd:"
_OPTIONS = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False, "remove_comments": True, "remove_pis": True}


def message_name(data: bytes, readable: Sequence[str]) -> str:
    """The message's name, like ``pain.002.001.12``; Malformed where it is none of the readable ones or no ISO 20022 message at all."""
    if not data.strip():
        raise Malformed([Problem("", "the file is empty", "ask the bank to send it again")])
    try:
        _, root = next(iter(etree.iterparse(io.BytesIO(data), events=("start",), **_OPTIONS)))
    except etree.XMLSyntaxError as fault:
        raise Malformed([_broken(fault)]) from None
    if root.getroottree().docinfo.doctype:
        raise Malformed([Problem("", "the file has a document type declaration", "bank files carry none; treat the file as hostile", 1, 1)])
    namespace, _, name = str(root.tag).rpartition("}")
    namespace = namespace.removeprefix("{")
    found = namespace.removeprefix(ISO)
    if name != "Document" or found not in readable:
        mend = f"readable are {', '.join(ISO + known for known in readable)}"
        raise Malformed([Problem("Document", f"the root is <{name}> of {namespace!r}", mend, root.sourceline, 1)])
    return found


def elements(data: bytes, tags: Sequence[str]) -> Iterator[Element]:
    """Every element of these tags when it is complete. Who has read one clears it."""
    try:
        for _, element in etree.iterparse(io.BytesIO(data), events=("end",), tag=list(tags), **_OPTIONS):
            yield element
    except etree.XMLSyntaxError as fault:
        raise Malformed([_broken(fault)]) from None


def document(data: bytes) -> Element:
    """The root of a file that fits into memory; `message_name` has looked at it before."""
    try:
        return etree.fromstring(data, etree.XMLParser(**_OPTIONS))
    except etree.XMLSyntaxError as fault:
        raise Malformed([_broken(fault)]) from None


def rows(root: Element, namespace: str, row: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The texts of many like elements, a tuple for each, with "" where a part is missing; `row` and `columns` are XPaths with the prefix p.

    Taken column by column, which is several times as fast as element by element. Columns are only put side by side where
    it is proved that every element has each part exactly once; the others are looked up one by one.
    """

    def ask(path: str) -> Any:
        return etree.XPath(path, namespaces={"p": namespace}, smart_strings=False)

    elements_found = ask(row)(root)
    values: dict[str, list[str]] = {column: ask(f"{row}/{column}")(root) for column in columns}
    whole = [column for column in columns if len(values[column]) == len(elements_found)]
    proof = " and ".join(f"count({column})=1" for column in whole)
    proved = bool(whole) and ask(f"count({row}[{proof}])")(root) == len(elements_found)
    for column in columns:
        if not values[column]:
            values[column] = [""] * len(elements_found)
        elif not (proved and column in whole):
            one = ask(column)
            values[column] = [next(iter(one(element)), "") for element in elements_found]
    return list(zip(*(values[column] for column in columns), strict=True))


def minor_of(text: str, currency: str) -> int:
    """An amount of a bank file in minor units; ValueError says what is wrong with it."""
    digits = MINOR_DIGITS.get(currency)
    if digits is None:
        raise ValueError(f"{currency!r} is not a known currency{_dashed(suggestion(currency, MINOR_DIGITS))}")
    whole, _, decimals = text.partition(".")
    if len(decimals) == digits and (whole + decimals).isdecimal() and text.isascii():
        return int(whole + decimals)
    if "_" in text or "-" in text:
        raise ValueError(f"{text!r} is not an amount")
    return parse_minor(text, currency)


def total_of(sums: Mapping[str, int]) -> Fraction:
    """Minor units per currency as one control sum, which ISO 20022 adds up irrespective of currencies."""
    return sum((Fraction(minor, 10 ** MINOR_DIGITS.get(currency, 0)) for currency, minor in sums.items()), Fraction(0))


def text_of(element: Element | None) -> str:
    return (element.text or "") if element is not None else ""


class Reading:
    """One file being read: where its elements are, and every problem found so far."""

    def __init__(self, namespace: str) -> None:
        self._prefix = f"{{{namespace}}}"
        self.problems: list[Problem] = []

    def path(self, path: str) -> str:
        """``GrpHdr/MsgId`` with its namespace, as lxml wants it."""
        return self._prefix + path.replace("/", "/" + self._prefix)

    def problem(self, element: Element, place: str, message: str, mend: str = "ask the bank for a right file") -> None:
        self.problems.append(Problem(place, message, mend, element.sourceline or 1, 1))

    def text(self, element: Element, path: str) -> str:
        return (element.findtext(self.path(path)) or "").strip()

    def day(self, element: Element, path: str) -> date | None:
        """The day of an ISODate, an ISODateTime or a choice of both; None where there is none."""
        text = self.text(element, path) or self.text(element, f"{path}/Dt") or self.text(element, f"{path}/DtTm")
        try:
            return date.fromisoformat(text[:10]) if text else None
        except ValueError:
            self.problem(element, path, f"{text!r} is not a day")
            return None

    def money(self, element: Element | None, place: str) -> tuple[int | None, str]:
        """Amount and currency of an element with ``Ccy``; (None, "") where there is none."""
        if element is None:
            return None, ""
        currency = element.get("Ccy", "")
        try:
            return minor_of(text_of(element).strip(), currency), currency
        except ValueError as fault:
            self.problem(element, place, str(fault))
            return None, ""

    def same(self, element: Element, place: str, found: str, wanted: str, what: str) -> None:
        """A name in the file must be the one that was expected, where both are known."""
        if found and wanted and found != wanted:
            self.problem(element, place, f"the file is for {what} {found!r}, not {wanted!r}", "put it where it belongs; nothing of it was taken")

    def tally(self, element: Element, place: str, said: str, counted: Fraction | int) -> None:
        """A count or a control sum that the file gives must be what its lines add up to."""
        if said and (not _NUMBER.fullmatch(said) or Fraction(said) != counted):
            self.problem(element, place, f"the file says {said!r}, its lines add up to {_plain(Fraction(counted))}")


def _plain(number: Fraction) -> str:
    scaled = number * 10**5  # no ISO 20022 amount has more decimals
    whole, decimals = divmod(abs(int(scaled)), 10**5)
    text = f"{'-' if number < 0 else ''}{whole}.{decimals:05d}"
    return text.rstrip("0").rstrip(".")


def _dashed(text: str) -> str:
    return f", {text}" if text else ""


def _broken(fault: etree.XMLSyntaxError) -> Problem:
    line, column = fault.position
    return Problem("", f"the file is cut off or is no XML: {fault.msg}", "ask the bank to send it again", line or 1, column or 1)
