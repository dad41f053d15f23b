"""The languages that an installation speaks: English, and one for each message catalogue in a folder."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.problems import Malformed, Problem, suggestion
from pipeline.texts import ENGLISH, Language, language_of, read_catalogue

_CODE = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?", re.ASCII)


def language_codes(folder: Path) -> list[str]:
    """The languages there are, by their codes; a file da.po is the language da."""
    try:
        found = sorted(path.stem for path in folder.glob("*.po") if _CODE.fullmatch(path.stem) and path.stem != ENGLISH.code)
    except OSError:
        found = []
    return [ENGLISH.code, *found]


def load_language(code: str, folder: Path) -> Language:
    """The language of a code; Malformed where there is none, or where its catalogue cannot be used."""
    if code == ENGLISH.code:
        return ENGLISH
    codes = language_codes(folder)
    if code not in codes:
        near = suggestion(code, codes)
        message = f"{code!r} is no language that is spoken here" + (f", {near}" if near else "")
        raise Malformed([Problem("--language", message, f"There are {', '.join(codes)}; a file {folder.name}/LANGUAGE.po adds one.")])
    path = folder / f"{code}.po"
    try:
        return language_of(code, read_catalogue(path.read_text(encoding="utf-8")))
    except UnicodeDecodeError as error:
        raise Malformed([Problem(str(path), f"is not UTF-8 text at byte {error.start}")]) from None
    except OSError as error:
        raise Malformed([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    except Malformed as malformed:
        raise Malformed([problem.within(str(path)) for problem in malformed.problems]) from None
