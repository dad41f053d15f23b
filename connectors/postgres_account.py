"""Whom a PostgreSQL server runs as, and with what rights: never root, which PostgreSQL refuses."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
NO_SETUID_FIXUP = 1 << 2
CAPABILITY_VERSION = 0x20080522
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


class Unavailable(Exception):
    """The server cannot run; the message says what, where, and what to do about it."""


class ServerAccount:
    """Whom the server runs as: PostgreSQL refuses root, so root hands it to an account without rights."""

    def __init__(self, directory: Path, binaries: Path) -> None:
        self.root = os.geteuid() == 0
        self.name = _account_name(os.geteuid())
        account = _unprivileged(directory / "data") if self.root else None
        self.uid = account.pw_uid if account else os.geteuid()
        self.gid = account.pw_gid if account else os.getegid()
        self.capability = None if account is None or _reachable(directory, binaries) else _capability()

    def give(self, path: Path) -> None:
        """Make the server's user the owner of a path and of everything in it."""
        if self.root:
            for entry in (path, *path.rglob("*")):
                os.chown(entry, self.uid, self.gid, follow_symlinks=False)

    def become(self) -> None:
        """Turn the calling process, just forked, into the server's user; it gets SIGINT (stop) when the keeper dies."""
        if self.root:
            if self.capability is not None:
                prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP)
            os.setgroups([])
            os.setgid(self.gid)
            os.setuid(self.uid)
            if self.capability is not None:
                keep_only(self.capability)
        if sys.platform == "linux":
            prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise Unavailable(f"User id {uid} has no account on this machine, and PostgreSQL needs one. Run as a user with a line in /etc/passwd.") from None


def _unprivileged(data: Path) -> pwd.struct_passwd:
    with suppress(FileNotFoundError, KeyError):
        if (owner := data.stat().st_uid) != 0:
            return pwd.getpwuid(owner)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise Unavailable("PostgreSQL does not run as root, and there is neither a user 'postgres' nor a user 'nobody' to run it as. Run as an ordinary user.")


def _reachable(*paths: Path) -> bool:
    """Whether everybody may pass through the directories on the way to the paths."""
    return all(place.stat().st_mode & 0o001 for path in paths for place in (path.resolve(), *path.resolve().parents))


def _capability() -> int:
    """The capability that lets the server through directories closed to it, for no other purpose (read rather than write)."""
    with suppress(OSError, StopIteration, ValueError):
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm:"))
        for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
            if int(line.split()[1], 16) >> capability & 1:
                return capability
    raise Unavailable(
        "PostgreSQL does not run as root, and other users cannot pass through the directories above the data or the software. "
        "Open them, or run as an ordinary user."
    )


def prctl(option: int, value: int, more: int = 0) -> None:
    """Set an attribute of the calling process (Linux)."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, more, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


def keep_only(capability: int) -> None:
    """Drop every capability but one, and hand that on to the programs the process becomes (Linux)."""
    bits = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)
