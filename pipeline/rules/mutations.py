"""Small mistakes made in a rule document on purpose, one at a time, to see whether its own tests notice each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import msgspec

from pipeline.documents import Node, parse_document, place_text
from pipeline.facts import LAST_DAY, day, day_date
from pipeline.problems import Malformed

from .check import rule_of
from .definitions import FactSpec
from .periods import ONCE, period_with
from .rule import Rule
from .scalars import Path
from .slips import Slip, expression_slips, key_slips, shifted_keys, value_slips
from .trial import results

_MODES = ("half_up", "up", "down")
MAX_UNDECIDED = 10
_SWAPPED = {"started": "full", "full": "started", "first": "last", "last": "first", "yes": "no", "no": "yes", "true": "false", "false": "true"}


@dataclass(frozen=True, slots=True)
class Edit:
    """What stands at a path instead: the text of a value, or of the key itself. `slip` is the part of a value that is changed, if not the whole."""

    path: Path
    text: str
    is_key: bool = False
    slip: Slip | None = None


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mistake: what it changes. The first edit says where it is."""

    edits: tuple[Edit, ...]


class Outcome(msgspec.Struct, frozen=True):
    """One mistake and what noticed it: a test by its name, the check itself, or nothing (empty). `harmless`: the solver proves that nobody can notice it."""

    path: str
    line: int
    column: int
    was: str
    now: str
    noticed_by: str
    harmless: bool = False


def mutate(text: str, catalogue: Mapping[str, FactSpec], timeout_s: int = 0) -> Iterator[Outcome | int]:
    """First how many mistakes there are to make in a document, then each with what notices it.

    Where there is a `timeout_s`, the solver is asked so long about each mistake that no test notices whether anybody could; after ten that it has not
    decided in time it is asked no more.
    """
    root, lines = parse_document(text), text.splitlines()
    rule = rule_of(root, catalogue)
    found = list(mutations(root, rule))
    yield len(found)
    undecided = 0
    for mutation in found:
        changed = rule_with(root, mutation, catalogue)
        noticed, harmless = _noticed(changed), False
        if not noticed and changed is not None and timeout_s and undecided < MAX_UNDECIDED:
            from .proof.alike import alike

            same = alike(rule, changed, timeout_s)
            undecided += same is None
            harmless = same is True
        yield msgspec.structs.replace(_outcome(root, lines, mutation.edits[0], noticed), harmless=harmless)


def _outcome(root: Node, lines: list[str], edit: Edit, noticed_by: str) -> Outcome:
    node, place = root.at(*edit.path), place_text(edit.path)
    if edit.is_key:
        key = str(edit.path[-1])
        return Outcome(place, *root.at(*edit.path[:-1]).key_marks[key], key, edit.text, noticed_by)
    if edit.slip is None:
        return Outcome(place, node.line, node.column, str(node.value), edit.text, noticed_by)
    return Outcome(place, *_within(lines, node, edit.slip.start), edit.slip.was, edit.slip.now, noticed_by)


def _within(lines: list[str], node: Node, offset: int) -> tuple[int, int]:
    """The line and column of a character of a value, which may go on over several lines, each break read as one space."""
    line, column = node.line, node.column + node.quoted
    while line < len(lines) and column - 1 + offset > len(lines[line - 1].rstrip()):
        offset -= len(lines[line - 1].rstrip()) - (column - 1) + 1
        column = len(lines[line]) - len(lines[line].lstrip()) + 1
        line += 1
    return line, column + offset


def noticed_by(root: Node, mutation: Mutation, catalogue: Mapping[str, FactSpec]) -> str:
    """What notices a mistake: a test by its name, the check, or nothing (empty)."""
    return _noticed(rule_with(root, mutation, catalogue))


def _noticed(rule: Rule | None) -> str:
    if rule is None:
        return "the check"
    return next((f"test {result.name!r}" for result in results(rule) if not result.passed), "")


def rule_with(root: Node, mutation: Mutation, catalogue: Mapping[str, FactSpec]) -> Rule | None:
    """The rule with a mistake; None where the check refuses it. The document is whole again afterwards."""
    before = [_swap(root, edit) for edit in mutation.edits]
    try:
        return rule_of(root, catalogue)
    except Malformed:
        return None
    finally:
        for edit, value in zip(reversed(mutation.edits), reversed(before), strict=True):
            holder = root.at(*edit.path[:-1]) if edit.is_key else root.at(*edit.path)
            holder.value = value


def _swap(root: Node, edit: Edit) -> str | list[Node] | dict[str, Node]:
    """Makes an edit; gives what stood there."""
    if not edit.is_key:
        node = root.at(*edit.path)
        before, node.value = node.value, edit.text
        return before
    holder = root.at(*edit.path[:-1])
    before = holder.value
    assert isinstance(before, dict)
    holder.value = {edit.text if key == edit.path[-1] else key: value for key, value in before.items()}
    return before


def mutations(root: Node, rule: Rule) -> Iterator[Mutation]:
    """Every mistake that could make a difference, in the order of the document."""
    yield from _days_in_force(rule)
    for name, node in _entries(root, "facts"):
        if isinstance(node.at("if_missing", "assume").value, str) and node.at("if_missing").value != "hold":
            yield from _values(root, ("facts", name, "if_missing", "assume"))
    for name, node in _entries(root, "aggregates"):
        for key in ("count", "sum", "any", "all", "min", "max", "where"):
            if key in node.value and node.at(key).value != "members":
                yield from _expressions(root, ("aggregates", name, key))
        if "if_none" in node.value:
            yield from _values(root, ("aggregates", name, "if_none"))
    for name, node in _entries(root, "parameters"):
        yield from _parameter(root, rule, ("parameters", name), node)
    for place in ("eligible_when", "excluded_when"):
        for index in range(len(root.at(place).value) if place in root.value else 0):
            yield from _expressions(root, (place, index, "when"), condition=True)
    for index in range(len(rule.steps)):
        yield from _step(root, rule, ("amount", "steps", index))


def _entries(root: Node, key: str) -> list[tuple[str, Node]]:
    node = root.at(key)
    return list(node.value.items()) if isinstance(node.value, dict) and node is not root else []


def _values(root: Node, path: Path) -> Iterator[Mutation]:
    """The mistakes of a written value; of lists, those of each value in them."""
    node = root.at(*path)
    if isinstance(node.value, list):
        for index in range(len(node.value)):
            yield from _values(root, (*path, index))
    elif isinstance(node.value, str):
        texts = [_SWAPPED[node.value]] if node.value in _SWAPPED else value_slips(node.value)
        for text in texts:
            yield Mutation((Edit(path, text),))


def _expressions(root: Node, path: Path, condition: bool = False) -> Iterator[Mutation]:
    node = root.at(*path)
    if isinstance(node.value, str):
        for slip in expression_slips(node.value, condition):
            yield Mutation((Edit(path, slip.of(node.value), slip=slip),))


def _days_in_force(rule: Rule) -> Iterator[Mutation]:
    """The ends of the days in force, a day short, where a decision falls on the day that is lost."""
    if rule.period_kind == "once" and rule.parameters_at != "event.date":
        return
    for key, on, shorter in (("from", rule.in_force[0], 1), ("to", rule.in_force[1], -1)):
        if on != LAST_DAY and _decides_on(rule, on):
            yield Mutation((Edit(("in_force", key), (day_date(on) + timedelta(days=shorter)).isoformat()),))


def _shifted_days(rule: Rule, path: Path, on: int, is_key: bool = False) -> Iterator[Mutation]:
    """A first day that is a day earlier and a day later, where a decision is made by the day between."""
    for later in (-1, 1):
        if _decides_on(rule, on + min(later, 0)):
            text = (day_date(on) + timedelta(days=later)).isoformat()
            yield Mutation((Edit(path, text, is_key),))


def _decides_on(rule: Rule, on: int) -> bool:
    """Whether parameters may be asked for on a day."""
    if not rule.in_force[0] <= on <= rule.in_force[1]:
        return False
    if rule.parameters_at == "event.date":
        return True
    if rule.period_kind == "once":
        return rule.day(rule.parameters_at, ONCE) == on
    return rule.day(rule.parameters_at, period_with(rule.period_kind, on)) == on


def _parameter(root: Node, rule: Rule, path: Path, node: Node) -> Iterator[Mutation]:
    starts = {key: day(date.fromisoformat(key)) for key, _ in _entries(node, "from")}
    for by, keys in _entries(node, "by"):
        texts = [str(item.value) for item in _listed(keys)]
        for index in range(len(texts) - 1):
            for first, second in shifted_keys(texts[index], texts[index + 1]):
                yield Mutation((Edit((*path, "by", by, index), first), Edit((*path, "by", by, index + 1), second)))
    held = {max((start for start in starts.values() if start <= on), default=None) for on in _segments(rule)}
    for key, start in starts.items():
        place: Path = (*path, "from", key)
        yield from _shifted_days(rule, place, start, is_key=True)
        if start in held:
            value = root.at(*place)
            yield from _values(root, (*place, "value") if isinstance(value.value, dict) else place)


def _segments(rule: Rule) -> tuple[int, ...]:
    """The first days of the stretches of time that some decision can be made in."""
    if rule.period_kind == "once" and rule.parameters_at != "event.date":
        return (rule.segments[rule.segment(rule.day(rule.parameters_at, ONCE))],)
    return rule.segments


def _step(root: Node, rule: Rule, path: Path) -> Iterator[Mutation]:
    node = root.at(*path)
    kinds: dict[str, tuple[Path, ...]] = {
        "is": ((),),
        "taper": (("of",), ("above",), ("rate",), ("each", "size"), ("each", "count"), ("from",), ("until",), ("take",), ("spread",)),
        "spread": (("of",), ("remainder",), ("to",)),
        "floor": ((),),
        "cap": ((),),
    }
    for key, inner in kinds.items():
        for rest in inner:
            place: Path = (*path, key, *rest)
            if key in node.value and root.at(*place) is not root.at(*place[:-1]):
                yield from _values(root, place) if root.at(*place).value in _SWAPPED else _expressions(root, place)
    if "scale" in node.value:
        for index in range(len(node.at("scale", "brackets").value)):
            for key in ("above", "rate"):
                yield from _expressions(root, (*path, "scale", "brackets", index, key))
    if "table" in node.value:
        for index, row in enumerate(_listed(node.at("table", "rows"))):
            yield from _row(root, (*path, "table", "rows", index), row)
    term = rule.steps[int(path[-1])].term
    if "round" in node.value and not (term.args[0].den == 1 and term.value == 1):
        mode = node.at("round", "mode").value
        yield from (Mutation((Edit((*path, "round", "mode"), other),)) for other in _MODES if other != mode)


def _listed(node: Node) -> list[Node]:
    return node.value if isinstance(node.value, list) else []


def _row(root: Node, path: Path, row: Node) -> Iterator[Mutation]:
    for name, cell in _entries(row, "when"):
        for place in [(*path, "when", name, index) for index in range(len(cell.value))] if isinstance(cell.value, list) else [(*path, "when", name)]:
            text = str(root.at(*place).value)
            yield from (Mutation((Edit(place, other),)) for other in ([_SWAPPED[text]] if text in _SWAPPED else key_slips(text)))
    yield from _expressions(root, (*path, "gives"))
