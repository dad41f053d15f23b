"""How a bank file is taken apart: streamed, with no entities and no network, every fault a problem with its line."""

from __future__ import annotations

import io
import re
import sys
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


class Table:
    """Many like elements as rows of texts: `row` is an XPath below some element, `parts` are XPaths below the row, all with the prefix p.
    In `row`, ``$upto`` stands for the number of rows to take.

    Taken part by part, which is several times as fast as row by row. Parts are only put side by side where it is proved
    that every row has each of them exactly once; of the others each is looked up in its row, "" where it is missing.
    """

    def __init__(self, namespace: str, row: str, parts: Sequence[str]) -> None:
        self._names = {"p": namespace}
        self._row, self._parts = row, tuple(parts)
        self._rows = self._path(row)
        self._all, self._one, self._having = (
            {part: self._path(form.format(row=row, part=part)) for part in parts} for form in ("{row}/{part}", "{part}", "{row}[{part}]")
        )
        self._proofs: dict[tuple[str, ...], Any] = {}

    def of(self, root: Element, upto: int = sys.maxsize) -> tuple[list[Element], list[tuple[str, ...]]]:
        """The rows' elements, for their lines, and their texts."""
        found = self._rows(root, upto=upto)
        values: dict[str, list[str]] = {part: self._all[part](root, upto=upto) for part in self._parts}
        whole = tuple(part for part in self._parts if len(values[part]) == len(found))
        if whole and self._proof(whole)(root, upto=upto) != len(found):
            whole = ()
        for part in self._parts:
            if part not in whole:
                values[part] = self._looked_up(root, part, found, upto) if values[part] else [""] * len(found)
        return found, list(zip(*(values[part] for part in self._parts), strict=True))

    def _proof(self, parts: tuple[str, ...]) -> Any:
        """Counts the rows that have each of the parts exactly once."""
        if parts not in self._proofs:
            conditions = " and ".join(f"count({part})=1" for part in parts)
            self._proofs[parts] = self._path(f"count({self._row}[{conditions}])")
        return self._proofs[parts]

    def _looked_up(self, root: Element, part: str, rows: list[Element], upto: int) -> list[str]:
        having = {element: str(self._one[part](element)[0]) for element in self._having[part](root, upto=upto)}
        return [having.get(element, "") for element in rows]

    def _path(self, path: str) -> Any:
        return etree.XPath(path, namespaces=self._names, smart_strings=False)


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


class Reading:
    """One file being read: where its elements are, and every problem found so far."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
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

    def money(self, element: Element, place: str, text: str, currency: str) -> int | None:
        """An amount in minor units; None where the file leaves it out or has it wrong."""
        if not text and not currency:
            return None
        try:
            return minor_of(text.strip(), currency)
        except ValueError as fault:
            self.problem(element, place, str(fault))
            return None

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
