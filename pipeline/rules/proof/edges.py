"""The edges of a rule: every comparison, key, limit, floor and cap, with who stands just inside of it and who just outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.rules.rule import Parameter, Rule, leaves
from pipeline.rules.terms import Term, named

from .arithmetic import Truth, Whole, choose, compared, every, negated
from .people import Somebody
from .reached import asked, branches, limits, table_of

INSIDE, OUTSIDE, UNKNOWN = "just inside", "just outside", "unknown"


@dataclass(frozen=True, slots=True)
class Edge:
    """A side of an edge: who stands there, and the distance from it, as little as can be, where it is a number. `terms` are what it is made of."""

    text: str
    side: str
    there: Truth
    distance: Whole | None
    terms: tuple[Term, ...]
    step: str = ""


def edges(somebody: Somebody, eligible: bool = True) -> Iterator[Edge]:
    """Every edge of what a rule says of somebody in a stretch; those of steps are among the people who pass the conditions, or among all."""
    rule, passing = somebody.rule, somebody.decided.passing if eligible else True
    for items, wanted in ((rule.conditions, True), (rule.exclusions, False)):
        for item in items:
            others = every(*(_passed(somebody, other.id) for other in (*rule.conditions, *rule.exclusions) if other.id != item.id))
            for atom, here in atoms(somebody, item.term, others if eligible else True):
                yield from _sides(somebody, atom, _said(item.id, atom), here, item.id, wanted)
    for step in rule.steps:
        if step.id in rule.grids:
            yield from _rows(somebody, step.id, passing)
        for of, limit in limits(step.term) if _has_limits(rule, step.id) else ():
            yield from _around(somebody, of, limit, f"{step.id}, {of} above {limit}", passing, step.id)
        for when, here in branches(somebody, step.term, passing):
            for atom, there in atoms(somebody, when, here):
                yield from _sides(somebody, atom, _said(step.id, atom), there, step.id)
        yield from _bounds(somebody, step.id, passing)
    yield from _keys(somebody, passing)


def unknowns(somebody: Somebody, eligible: bool = True) -> Iterator[Edge]:
    """For each condition who passes all others while it is unknown whether this one holds; or of whom it is unknown, whatever the others."""
    rule = somebody.rule
    for item in (*rule.conditions, *rule.exclusions):
        others = every(*(_passed(somebody, other.id) for other in (*rule.conditions, *rule.exclusions) if other.id != item.id))
        there = every(others if eligible else True, negated(somebody.decided.conditions[item.id].known))
        yield Edge(item.id, UNKNOWN, there, None, (), item.id)


def _passed(somebody: Somebody, name: str) -> Truth:
    seen = somebody.decided.conditions[name]
    excluded = any(item.id == name for item in somebody.rule.exclusions)
    return every(seen.known, negated(seen.value) if excluded else seen.value)


def _has_limits(rule: Rule, step: str) -> bool:
    written = rule.written.get(step)
    return written is not None and (written.taper is not None or written.scale is not None)


def atoms(somebody: Somebody, term: Term, here: Truth) -> Iterator[tuple[Term, Truth]]:
    """The parts of a condition that are not made of others, each with who comes to it: those for whom the other parts let it decide."""
    if term.op == "not":
        yield from atoms(somebody, term.args[0], here)
    elif term.op in ("and", "or"):
        for index, arg in enumerate(term.args):
            rest = (somebody.encoder(other) for place, other in enumerate(term.args) if place != index)
            let = every(*(every(seen.known, seen.value if term.op == "and" else negated(seen.value)) for seen in rest))
            yield from atoms(somebody, arg, every(here, let))
    elif term.op != "const":
        yield term, here


def _sides(somebody: Somebody, atom: Term, text: str, here: Truth, step: str, wanted: bool = True) -> Iterator[Edge]:
    """Both sides of a part of a condition: where it lets people through, and where it does not."""
    seen = somebody.encoder(atom)
    distance = _distance(somebody, atom)
    for holds in (wanted, not wanted):
        there = every(here, seen.known, seen.value if holds else negated(seen.value))
        side = INSIDE if holds == wanted else OUTSIDE
        yield Edge(text, side, there, distance, (atom,), step)


def _distance(somebody: Somebody, atom: Term) -> Whole | None:
    """How far the two things compared are from each other."""
    if atom.op not in ("eq", "ne", "lt", "le", "gt", "ge") or atom.args[0].kind.type in ("text", "yes_no"):
        return None
    one, other, _ = somebody.encoder.both(atom)
    return _apart(one, other)


def _apart(one: Whole, other: Whole) -> Whole:
    return choose(compared("ge", one, other), one - other, other - one)


def _around(somebody: Somebody, of: Term, limit: Term, text: str, among: Truth, step: str) -> Iterator[Edge]:
    one, other = somebody.encoder(of), somebody.encoder(limit)
    left, right = one.value * limit.den, other.value * of.den
    for side, op in ((INSIDE, "gt"), (OUTSIDE, "le")):
        yield Edge(text, side, every(among, one.known, other.known, compared(op, left, right)), _apart(left, right), (of, limit), step)


def _bounds(somebody: Somebody, step: str, among: Truth) -> Iterator[Edge]:
    """The floor and the cap of a step, and every other least and greatest that is not the limit of a taper or a scale."""
    stack = [somebody.encoder.steps[step].term]
    while stack:
        node = stack.pop()
        if node.op in ("max", "min"):
            limit = _has_limits(somebody.rule, step) and node.op == "max" and node.args[0].op == "sub" and node.args[1].op == "const"
            if limit:
                continue
            one, other, known = somebody.encoder.both(node)
            text = f"{step}, {node.args[0]} {'at least' if node.op == 'max' else 'at most'} {node.args[1]}"
            for side, op in ((INSIDE, "ge" if node.op == "max" else "le"), (OUTSIDE, "lt" if node.op == "max" else "gt")):
                yield Edge(text, side, every(among, known, compared(op, one, other)), _apart(one, other), node.args, step)
        if node.op not in ("if", "table"):
            stack += node.args


def _rows(somebody: Somebody, step: str, among: Truth) -> Iterator[Edge]:
    """Who has a row of a table, and of each part of its condition who just has it not."""
    table = table_of(somebody.encoder.steps[step].term)
    assert table is not None
    before: Truth = among
    for index, when in enumerate(table.args[::2]):
        seen, text = somebody.encoder(when), f"{step}, row {index}"
        yield Edge(text, INSIDE, every(before, seen.known, seen.value), None, (when, table.args[2 * index + 1]), step)
        for atom, here in atoms(somebody, when, before):
            yield from _sides(somebody, atom, _said(text, atom), here, step)
        before = every(before, seen.known, negated(seen.value))


def _said(name: str, atom: Term) -> str:
    words = _words(atom)
    return name if words == name else f"{name}, {words}"


def _words(atom: Term) -> str:
    signs = {"eq": "is", "ne": "is not", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
    if str(atom) != "yes_no" or len(atom.args) != 2:
        return str(atom)
    other = atom.args[1]
    return f"{atom.args[0]} {signs[atom.op]} {other if str(other) != str(other.kind) else other.value}"


def _keys(somebody: Somebody, passing: Truth) -> Iterator[Edge]:
    """The ends of the keys by which parameters are given."""
    rule = somebody.rule
    used = {str(leaf.value) for step in rule.steps for leaf in leaves(step.term) if leaf.op == "parameter"} | asked(rule)[1]
    for name, parameter in rule.parameters.items():
        if not parameter.by or name not in used:
            continue
        among = every(passing, *(somebody.encoder.facts[by].known for by in parameter.by))
        for by, keys in zip(parameter.by, parameter.keys, strict=True):
            value = somebody.encoder.facts[by].value
            for key in keys:
                ends = [(str(key), True)] if key.value is not None else [(str(end), compared("eq", value, end)) for end in dict.fromkeys((key.low, key.high))]
                for end, at in ends:
                    text = f"{name}, {by} {end}"
                    there = every(among, somebody.encoder.holds(by, key), at)
                    yield Edge(text, INSIDE, there, None, _values(parameter), "")


def _values(parameter: Parameter) -> tuple[Term, ...]:
    return (named("parameter", parameter.name, parameter.kind, 0, 0, parameter.den),)
