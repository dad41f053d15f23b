"""Pseudonyms: the numbers by which a state knows people become keyed hashes at the door, before anything is written.

The document of a registry names the places of such numbers and their kind. A pseudonym is HMAC-SHA-256 of kind and number under the
installation's one key; the same number gets the same pseudonym from every registry, however it is written. Without the key nobody
can tell whose it is, not even by trying all numbers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from connectors.keys import write_private
from pipeline.problems import Malformed, Problem
from pipeline.registry import Event, Registries

from .log_batch import Record

KEY_BYTES = 32
MODE = 0o600
ID_CHARACTERS = 6
PSEUDONYM = re.compile(r"([a-z2-7]{6})-[a-z2-7]{26}")

_SEPARATORS = re.compile(r"[ ./-]")
_NUMBER = re.compile(r"[0-9A-Z]{6,32}")
_WRITTEN = re.compile(r"(?<![\w-])(?:\d{6}-\d{4}|\d{3}-\d{2}-\d{4}|\d{6}-\d{7})(?![\w-])")
"""Civil numbers as people write them in Denmark, the United States and Korea."""

_TELLING = re.compile(r"'[^']*\d[^']*'|\"[^\"]*\d[^\"]*\"|\d[\d ./-]{4,}\d")
MAKE = "payout events keygen FILE makes a key."


class PseudonymKey:
    """The key. It never shows itself; its id tells it from any other."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.id = self._hash(b"payout/key", ID_CHARACTERS)

    def pseudonym(self, kind: str, number: str) -> str:
        """The pseudonym of a number of a kind; ValueError, without the number, where it is none."""
        made = PSEUDONYM.fullmatch(number)
        if made is not None:
            if made[1] != self.id:
                raise ValueError("is a pseudonym made with another key")
            return number
        plain = compact(number)
        if not _NUMBER.fullmatch(plain):
            raise ValueError(f"is no number of the kind {kind}: 6 to 32 digits and letters, with blanks, dots, slashes or hyphens between them")
        return f"{self.id}-{self._hash(f'payout/1|{kind}|{plain}'.encode(), 26)}"

    def _hash(self, content: bytes, characters: int) -> str:
        return base64.b32encode(hmac.digest(self._secret, content, hashlib.sha256)).decode().lower()[:characters]


class Pseudonyms:
    """What replaces the numbers in the events of an installation's registries."""

    def __init__(self, registries: Registries, key: PseudonymKey | None) -> None:
        self._places: dict[str, Mapping[str, str]] = {registry.name: registry.pseudonymise for registry in registries.registries if registry.pseudonymise}
        if self._places and key is None:
            message = f"there is no key, and the registries {', '.join(self._places)} send numbers that must become pseudonyms"
            raise Malformed([Problem("pseudonyms.key_file", message, MAKE)])
        self._key = key
        open_to_view = [registry for registry in registries.registries if not registry.pseudonymise]
        guarded = [registry for registry in registries.registries if registry.pseudonymise]
        self._plain = [f'"{registry.source}"'.encode() for registry in open_to_view]
        self._guarded = [name.encode() for registry in guarded for name in (registry.source, *(event.name for event in registry.events))]

    def record(self, event: Event, raw: bytes) -> Record:
        """The record of an accepted message; Malformed where a number is none, or stands in another place as well."""
        places = self._places.get(event.known.registry)
        if places is None or self._key is None:
            return event.subject.encode(), raw
        message = msgspec.json.decode(raw)
        numbers: dict[str, str] = {}
        problems = []
        for place, kind in places.items():
            holder, name = _holder(message, place)
            if name not in holder:
                continue
            written = holder[name]
            try:
                holder[name] = self._key.pseudonym(kind, written)
            except ValueError as error:
                problems.append(Problem(_shown(place), f"what stands there {error}", "Send the number as it is registered."))
            if holder[name] != written:
                numbers[compact(written)] = _shown(place)
        problems += _left(message, numbers, {_shown(place) for place in places})
        if problems:
            raise Malformed(problems)
        return message["subject"].encode(), msgspec.json.encode(message)

    def withholds(self, raw: bytes) -> bool:
        """Whether a message that was refused must not be kept: it may hold a number, and nobody can say where."""
        if not self._places:
            return False
        return not any(source in raw for source in self._plain) or any(name in raw for name in self._guarded)


def masked(problems: Sequence[Problem]) -> list[Problem]:
    """Problems as they may be shown to others than the sender: without what could be a number."""
    return [
        msgspec.structs.replace(problem, message=_TELLING.sub("…", problem.message), mend=_TELLING.sub("…", problem.mend), value="") for problem in problems
    ]


def compact(number: str) -> str:
    """A number without what people write between its parts."""
    return _SEPARATORS.sub("", number).upper()


def make_key(path: Path) -> PseudonymKey:
    """A new key in a new file that only its owner can read; Malformed where the file is there already."""
    secret = secrets.token_bytes(KEY_BYTES)
    try:
        write_private(path, base64.b64encode(secret) + b"\n")
    except OSError as error:
        mend = "Name another file: a key is never overwritten." if isinstance(error, FileExistsError) else "Name a file in a folder that exists."
        raise Malformed([Problem(str(path), f"cannot be made: {error.strerror}", mend)]) from None
    return PseudonymKey(secret)


def read_key(path: Path | None, text: str, wanted_id: str | None) -> PseudonymKey | None:
    """The key of a file, or of a text where no file is named; None where there is neither.

    Malformed where it is not the key that `wanted_id` names: another key would make another person of everybody.
    """
    place, content = "pseudonyms.key", text.encode()
    if path is not None:
        place = str(path)
        try:
            others, content = stat.S_IMODE(path.stat().st_mode) & 0o007, path.read_bytes()
        except OSError as error:
            raise Malformed([Problem(place, f"cannot be read: {error.strerror}", MAKE)]) from None
        if others:
            raise Malformed([Problem(place, "everybody on this machine can use this key", f"Run chmod o= {path}.")])
    elif not text:
        return None
    try:
        secret = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise Malformed([Problem(place, f"is no key: {KEY_BYTES} bytes in base64", MAKE)])
    key = PseudonymKey(secret)
    if key.id != wanted_id:
        message = f"this is the key {key.id}, set is {wanted_id!r}" if wanted_id else f"the id of the key is not set; this one is {key.id}"
        mend = "Another key gives everybody another pseudonym, and who was paid would be paid again: use the key of this installation."
        raise Malformed([Problem("pseudonyms.key_id", message, mend if wanted_id else f'Set key_id = "{key.id}" under [pseudonyms].')])
    return key


def _holder(message: dict[str, Any], place: str) -> tuple[dict[str, Any], str]:
    """The object in which a place lies, and its name there."""
    if place == "subject":
        return message, place
    group, _, name = place.rpartition(".")
    data = message["data"]
    return (data.get(group, {}) if group else data), name


def _shown(place: str) -> str:
    return place if place == "subject" else f"data.{place}"


def _left(message: dict[str, Any], numbers: Mapping[str, str], replaced: set[str]) -> list[Problem]:
    """The places beside those replaced in which one of the numbers, or a civil number as people write it, still stands."""
    problems = []
    for place, text in _texts("", message):
        if place in replaced:
            continue
        plain = compact(text)
        found = next((where for number, where in numbers.items() if number in plain), None)
        if found is not None:
            problems.append(Problem(place, f"holds the number that stands in {found}, which may be kept nowhere", "Leave it out, or name it otherwise."))
        elif _WRITTEN.search(text):
            problems.append(Problem(place, "holds what is written like a civil number, which may be kept nowhere", "Leave it out."))
    return problems


def _texts(place: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(f"{place}.{name}" if place else name, inner)
