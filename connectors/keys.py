"""Ed25519 keys of people who approve: made once, kept in a file that only its owner can read, or handed in by the environment."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from pipeline.problems import Malformed, Problem

VARIABLE = "PAYOUT_APPROVAL_KEY"
"""Holds a key as PEM text where no file is named."""

MODE = 0o600


class Key:
    """A private key that signs. It never shows itself."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @property
    def public(self) -> str:
        """The public key, as settings have it."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    def sign(self, content: bytes) -> str:
        """The signature in base64."""
        return base64.b64encode(self._private.sign(content)).decode()


def write_private(path: Path, content: bytes) -> None:
    """Writes a new file that only its owner can read; OSError, FileExistsError among it, where that cannot be."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, MODE)
        file.write(content)


def make_key(path: Path) -> Key:
    """A new key in a new file (PEM, PKCS #8) that only its owner can read; Malformed where the file is there already."""
    private = Ed25519PrivateKey.generate()
    try:
        write_private(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except FileExistsError:
        raise Malformed([Problem(str(path), "there is a file already, and a key is never overwritten", "Name another file.")]) from None
    except OSError as error:
        raise Malformed([Problem(str(path), f"cannot be written: {error.strerror}", "Name a file in a folder that exists.")]) from None
    return Key(private)


def read_key(path: Path | None) -> Key:
    """The key of a file, or of the environment where no file is named; Malformed says what is wrong with it, never what stands in it."""
    if path is None:
        text = os.environ.get(VARIABLE, "")
        if not text:
            raise Malformed([Problem("--key", "no key is given", f"Name a key file with --key, or set {VARIABLE}. payout rules keygen makes one.")])
        return _parsed(VARIABLE, text.encode())
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes()
    except OSError as error:
        raise Malformed([Problem(str(path), f"cannot be read: {error.strerror}", "Name a key file; payout rules keygen makes one.")]) from None
    if mode & 0o077:
        raise Malformed(
            [Problem(str(path), f"others can read this key: its mode is {mode:o}", f"Run chmod 600 {path}, and make a new key if it may be known.")]
        )
    return _parsed(str(path), content)


def _parsed(place: str, content: bytes) -> Key:
    try:
        private = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise Malformed([Problem(place, "is no Ed25519 key in PEM without a password", "Make one with payout rules keygen.")])
    return Key(private)
