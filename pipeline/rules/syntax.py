"""What is wrong with a text that is no expression: the place in it, what stands there, and how the language writes it."""

from __future__ import annotations

import re
from itertools import pairwise

Slip = tuple[str, str, int]
"""A message, its mend, and the character where it stands."""

_TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|\d[\d_]*(?:\.\d+)?|[^\W\d]\w*(?:\.[^\W\d]\w*)*|<>|=<|=>|[=!<>]=|&&|\|\||//|\*\*|\S")
_CHOICE = "Write: a if condition else b."
_SIGNS = {
    "=": "Write == to compare.", "<>": "Write !=.", "=<": "Write <=.", "=>": "Write >=.", "≤": "Write <=.", "≥": "Write >=.", "≠": "Write !=.",
    "&&": "Write and.", "||": "Write or.", "&": "Write and.", "|": "Write or.", "!": "Write not.", "¬": "Write not.", "?": _CHOICE,
    "×": "Write *.", "·": "Write *.", "÷": "Write /.", "−": "Write - (the minus of the keyboard).", "–": "Write - (the minus of the keyboard).",
    "^": "A power is written out: a * a.", "**": "A power is written out: a * a.", "//": "Division is written /; whole steps are full_steps(a, size).",
    "%": "A percentage is a parameter of type percent, with its law; only a rate is also written 5 %.",
    "“": 'Write straight quotes: "text".', "”": 'Write straight quotes: "text".', "„": 'Write straight quotes: "text".', "’": 'Write straight quotes: "text".',
    ";": "Values are parted by a comma.", "{": "A list is written [a, b].", "}": "A list is written [a, b].",
    "€": "An amount is a parameter, without a sign of its currency.", "$": "An amount is a parameter, without a sign of its currency.",
    "£": "An amount is a parameter, without a sign of its currency.", "¥": "An amount is a parameter, without a sign of its currency.",
}  # fmt: skip
_WORDS = {
    "then": _CHOICE,
    "elif": _CHOICE,
    "endif": _CHOICE,
    "when": _CHOICE,
    "xor": "Write != between two conditions.",
    "mod": "Whole steps are full_steps(a, size).",
}
_JOINING = {"and", "or", "not", "if", "else", "in", "is"}
_BETWEEN = {"+", "-", "*", "/", "<", ">", "==", "!=", "<=", ">=", ","}
WORDS_OF_TRUTH = {"yes", "no", "true", "false", "True", "False", "TRUE", "FALSE"}


def slip(text: str, told: str, offset: int) -> Slip:
    """The first mistake of a text that Python's grammar refuses, else what the grammar says of it at an offset."""
    tokens = [(match[0], match.start()) for match in _TOKEN.finditer(text)]
    if not tokens:
        return "there is no expression", "Write a name, such as that of a fact.", 0
    found = _sign(tokens) or _choice(tokens) or _end(tokens) or _beside(tokens)
    return found or (f"not an expression: {told}", "", min(offset, len(text)))


def _sign(tokens: list[tuple[str, int]]) -> Slip | None:
    for token, start in tokens:
        if token in _SIGNS:
            return f"{token!r} is no sign of the language", _SIGNS[token], start
        if token.lower() in _WORDS:
            return f"{token!r} is no word of the language", _WORDS[token.lower()], start
        if token.lower() in _JOINING and token != token.lower():
            return f"{token!r} is no word of the language", f"Write {token.lower()}.", start
    return None


def _choice(tokens: list[tuple[str, int]]) -> Slip | None:
    words = [token for token, _ in tokens]
    if words[0] in ("if", "else"):
        return f"an expression does not begin with {words[0]!r}", _CHOICE, tokens[0][1]
    if words.count("if") > words.count("else"):
        return "'if' has no 'else'", _CHOICE, next(start for token, start in tokens if token == "if")
    return None


def _end(tokens: list[tuple[str, int]]) -> Slip | None:
    last, start = tokens[-1]
    if last in _BETWEEN or last in _JOINING:
        return f"nothing follows {last!r}", "Write what follows it, or leave it out.", start
    return None


def _beside(tokens: list[tuple[str, int]]) -> Slip | None:
    """Two values without a sign between them."""
    for (one, _), (other, start) in pairwise(tokens):
        if _is_value(one) and _is_value(other):
            numbers = one[0].isdigit() and other[0].isdigit()
            mend = f"A large number is written {one}_{other}." if numbers else "Write + - * / or a comparison; words of a name are joined by _."
            return f"{other!r} follows {one!r} without a sign between them", mend, start
        if (one in _BETWEEN or one in ("and", "or")) and (other in _BETWEEN - {"-", "+"} or other in ("and", "or")):
            return f"{other!r} follows {one!r}", "Leave one of them out, or write what stands between them.", start
    return None


def _is_value(token: str) -> bool:
    return token not in _JOINING and (token[0].isalnum() or token[0] in "_\"'")


def mend_of(source: str) -> str:
    """How to write what Python's grammar has and the language has not; empty where there is no such way."""
    outside = re.sub(r"\"[^\"]*\"|'[^']*'", "", source)
    if re.search(r"\d,\d{3}", outside):
        return f"A large number is written with _: {re.sub(r'(?<=[0-9]),(?=[0-9]{3})', '_', source)}."
    if outside in WORDS_OF_TRUTH:
        return "A fact that is yes or no is itself the condition: write resident, or not resident."
    token = next((match[0] for match in _TOKEN.finditer(outside) if match[0] in _SIGNS), "")
    return _SIGNS.get(token, "Compare with == or !=." if re.search(r"\bis\b", outside) else "")
