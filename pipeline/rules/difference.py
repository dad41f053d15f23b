"""What changed between two documents of rules, in words: each part that was added, removed or changed, with its law."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from pipeline.documents import Plain, parse_document

from .rule import Rule

_WORDS = {
    "facts": "fact", "parameters": "parameter", "eligible_when": "condition", "excluded_when": "exclusion", "steps": "step", "tests": "test", "law": "law",
}  # fmt: skip
Part = str | dict[str, "Part"]


class Change(msgspec.Struct, frozen=True):
    """One change. `before` is empty where something was added, `after` where it was removed; `law` is cited as the newer document has it."""

    what: str
    place: str
    before: str
    after: str
    law: str

    def __str__(self) -> str:
        head = f"{self.what}{f', {self.place}' if self.place else ''}"
        law = f" ({self.law})" if self.law else ""
        if not self.before:
            return f"{head} added: {self.after}{law}"
        return f"{head} removed: {self.before}{law}" if not self.after else f"{head}: {self.before} -> {self.after}{law}"


def changes(old: Rule, new: Rule) -> list[Change]:
    """Every change from one document to the other, in the order of the newer; none where they say the same."""
    before, after = _parts(old), _parts(new)
    found: list[Change] = []
    for section in dict.fromkeys((*after, *before)):
        one, other = before.get(section), after.get(section)
        if section in _WORDS:
            found += _named(section, one or {}, other or {}, old, new)
        elif section != "format":
            found += [Change(section, place, was, now, "") for place, was, now in _leaves(one, other)]
    return found


def _named(section: str, one: Part, other: Part, old: Rule, new: Rule) -> Iterator[Change]:
    before, after = (part if isinstance(part, dict) else {} for part in (one, other))
    for name in dict.fromkeys((*after, *before)):
        was, now = before.get(name), after.get(name)
        what = f"{_WORDS[section]} {name!r}"
        if was is None or now is None:
            law = _cite(new if was is None else old, was if now is None else now, "")
            yield Change(what, "", "" if was is None else _text(was), "" if now is None else _text(now), law)
            continue
        for place, earlier, later in _leaves(was, now):
            yield Change(what, place, earlier, later, _cite(new, now, place))
    shared = [[name for name in part if name in before and name in after] for part in (before, after)]
    if shared[0] != shared[1] and section == "steps":
        yield Change("the order of the steps", "", ", ".join(shared[0]), ", ".join(shared[1]), "")


def _cite(rule: Rule, part: Part | None, place: str) -> str:
    """The law of a dated value, or else that of the part it stands in."""
    if not isinstance(part, dict):
        return ""
    start = place.removeprefix("from ").split(", ")[0]
    dated = part.get("from")
    value = dated.get(start) if isinstance(dated, dict) else None
    own = value.get("law") if isinstance(value, dict) else None
    law = own if isinstance(own, str) else part.get("law")
    return rule.law[law].cite if isinstance(law, str) and law in rule.law else ""


def _leaves(one: Part | None, other: Part | None, path: str = "") -> Iterator[tuple[str, str, str]]:
    if one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*other, *one)):
            yield from _leaves(one.get(key), other.get(key), f"{path} {key}".strip() if path in ("", "from") else f"{path}, {key}")
    else:
        yield path, "" if one is None else _text(one), "" if other is None else _text(other)


def _text(part: Part) -> str:
    return part if isinstance(part, str) else ", ".join(f"{key}: {_text(inner)}" for key, inner in part.items()) or "nothing"


def _parts(rule: Rule) -> dict[str, Part]:
    plain = parse_document(rule.text).plain()
    assert isinstance(plain, dict)
    amount = plain.pop("amount")
    assert isinstance(amount, dict)
    return {key: _part(value) for key, value in {**plain, "steps": amount["steps"], "pay": amount["pay"]}.items()}


def _part(value: Plain) -> Part:
    """A list of parts with an id or a name by that; a list of values as text; 1_000 and 1000 alike."""
    if isinstance(value, Mapping):
        return {key: _part(inner) for key, inner in value.items()}
    if isinstance(value, list):
        named = {_id(item, index): item for index, item in enumerate(value)}
        if any(isinstance(item, dict) for item in value):
            return {key: _part({name: inner for name, inner in item.items() if name not in ("id", "name")} if isinstance(item, dict) else item)
                    for key, item in named.items()}  # fmt: skip
        return f"[{', '.join(_text(_part(item)) for item in value)}]"
    return value.replace("_", "") if re.fullmatch(r"[+-]?\d[\d_]*(\.\d+)?", value, re.ASCII) else value


def _id(item: Plain, index: int) -> str:
    known = item.get("id", item.get("name")) if isinstance(item, dict) else None
    return known if isinstance(known, str) else f"row {index}"
