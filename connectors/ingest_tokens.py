"""Tokens by which registries are known at the door: made once, kept as hashes, compared in constant time.

An entry reads `REGISTRY:HASH`. A registry may have two while it changes from one token to the next, and one token may stand
for several registries.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from pipeline.problems import Malformed, Problem, suggestion

TOKEN_BYTES = 32
_HASH = re.compile(r"[0-9a-f]{64}")


def new_token() -> str:
    """A token that nobody has."""
    return f"payout_{secrets.token_urlsafe(TOKEN_BYTES)}"


def token_hash(token: str) -> str:
    """What is kept of a token: with so much randomness in it, a plain hash cannot be turned back."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_lines(path: Path) -> list[str]:
    """The entries of a file, one a line; blank lines and lines that begin with # are none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Malformed([Problem(str(path), f"cannot be read: {reason}", "Name a file with lines REGISTRY:HASH; payout events token makes them.")]) from None
    return [line for line in lines if line and not line.startswith("#")]


class Tokens:
    """Which registries a token may write for."""

    def __init__(self, entries: Iterable[str], known: Iterable[str]) -> None:
        names, problems = tuple(known), []
        self._registries: dict[bytes, frozenset[str]] = {}
        for number, entry in enumerate(entries, 1):
            place, (registry, _, digest) = f"ingest.tokens[{number}]", entry.partition(":")
            if registry not in names:
                near = suggestion(registry, names)
                message = f"{registry[:60]!r} is no registry{', ' + near if near else ''}"
                problems.append(Problem(place, message, f"Known are {', '.join(names)}. An entry reads REGISTRY:HASH."))
            elif not _HASH.fullmatch(digest):
                problems.append(Problem(place, f"the hash of {registry!r} is not 64 hexadecimal digits", f"payout events token {registry} makes an entry."))
            else:
                key = bytes.fromhex(digest)
                self._registries[key] = self._registries.get(key, frozenset()) | {registry}
        if problems:
            raise Malformed(problems)

    def __len__(self) -> int:
        return len(self._registries)

    def registries_of(self, token: str) -> frozenset[str]:
        """The registries that a token stands for; none where nobody has it. Takes as long whether it is known or not."""
        given, found = bytes.fromhex(token_hash(token)), frozenset[str]()
        for key, registries in self._registries.items():
            if hmac.compare_digest(key, given):
                found = registries
        return found
