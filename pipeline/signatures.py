"""People who sign: their public keys as text, and whether a signature is theirs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from enum import Enum

import msgspec


class Approver(msgspec.Struct, frozen=True):
    """A person whom the installation knows: the roles they approve in, and their public key (base64; empty: they sign nothing)."""

    name: str
    roles: tuple[str, ...] = ()
    key: str = ""


People = Mapping[str, Approver]
"""Everybody known, by name."""


def public_key(text: str) -> bytes:
    """The 32 bytes of a public key as it is written in settings; ValueError holds anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise ValueError(f"{text!r} is no public key: write the base64 of 32 bytes that payout rules keygen prints")
    return raw


class Fault(Enum):
    """What speaks against a signature."""

    FOREIGN = "made with another key than the person's"
    WRONG = "does not fit what it is said to sign"


def fault(known: Approver, key: str, signature: str, signed: bytes) -> Fault | None:
    """What speaks against a signature that is said to be this person's; None where it is."""
    if key != known.key or not known.key:
        return Fault.FOREIGN
    return None if fits(key, signature, signed) else Fault.WRONG


def fits(key: str, signature: str, signed: bytes) -> bool:
    """Whether a signature (base64) is that of a public key (base64) over these bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key(key)).verify(base64.b64decode(signature, validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return True
