"""The language in which a command explains: its option, and the catalogue behind it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.texts import Language

InLanguage = Annotated[str, typer.Option("--language", metavar="LANGUAGE", help="en, da, or another that has a catalogue in the folder of locales.")]


def language_in(folder: Path, code: str) -> Language:
    """The language of an option; Malformed with those that exist where there is none such."""
    from connectors.languages import load_language

    return load_language(code, folder)
