"""The languages people are spoken to in."""

from __future__ import annotations

from collections.abc import Mapping


def in_language(words: Mapping[str, str], code: str = "en") -> str:
    """The text of a language, else of the language it is a form of, else that of every language, else English, else any; empty where there is none."""
    for language in (code, code.partition("_")[0], "", "en"):
        if words.get(language):
            return words[language]
    return next(iter(words.values()), "")
