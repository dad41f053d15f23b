"""The branches of a rule: each way a condition, a step, a row or a key can go, and the boundary days, as questions that a test can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from . import terms
from .document import Step as StepWritten
from .rule import Condition, Rule, Step, leaves
from .scalars import Path
from .terms import Term

BELOW, AT, ABOVE = "lt", "eq", "gt"
_SAID = {BELOW: "below", AT: "at", ABOVE: "above"}


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One way to go: where it stands in the document, what it is in words, and the yes/no term that says of somebody that they go it.

    `bits` is asked instead of `holds` where the evaluator's own outcome of a condition tells it: the number of the condition, and 0, 1 or 2.
    `is_day` marks a boundary day, which is named but does not count as a branch.
    """

    path: Path
    text: str
    holds: Term | None = None
    bits: tuple[int, int] | None = None
    is_day: bool = False


def branches(rule: Rule) -> Iterator[Branch]:
    """The branches that somebody can go, as far as the ranges of the facts tell."""
    conditions = [("eligible_when", item) for item in rule.conditions] + [("excluded_when", item) for item in rule.exclusions]
    for number, (place, item) in enumerate(conditions):
        path: Path = (place, number if place == "eligible_when" else number - len(rule.conditions), "when")
        yield from _condition(rule, path, number, item)
        yield from _inside(path, item.term, set())
    for index, step in enumerate(rule.steps):
        yield from _step(("amount", "steps", index), step, rule.written[step.id])


def _condition(rule: Rule, path: Path, number: int, item: Condition) -> Iterator[Branch]:
    possible = _possible(item.term)
    for outcome, said in ((1, "held"), (0, "not held"), (2, "unknown")):
        if possible[outcome] if outcome < 2 else may_be_unknown(rule, item.term):
            yield Branch(path, f"{item.id} {said}", bits=(number, outcome))


def _possible(term: Term) -> tuple[bool, bool]:
    """Whether a condition can be no, and whether it can be yes, by the bounds of what it compares."""
    if term.op in ("lt", "le", "gt", "ge") and term.args[0].numeric:
        one, other = term.args
        if term.op in ("gt", "ge"):
            one, other = other, one
        strict = term.op in ("lt", "gt")
        return (one.high >= other.low if strict else one.high > other.low), (one.low < other.high if strict else one.low <= other.high)
    return True, True


def may_be_unknown(rule: Rule, term: Term) -> bool:
    """Whether a term needs a fact for which nothing is assumed."""
    held = {fact.name for fact in rule.facts if fact.assume is None}
    steps = {step.id: step for step in rule.steps}
    for leaf in leaves(term):
        name = str(leaf.value)
        if leaf.op in ("fact", "share") and name in held:
            return True
        if leaf.op == "parameter" and held & set(rule.parameters[name].by):
            return True
        if leaf.op == "step" and may_be_unknown(rule, steps[name].term):
            return True
    return False


def _step(path: Path, step: Step, written: StepWritten) -> Iterator[Branch]:
    term = step.term.args[0] if written.round is not None else step.term
    for key, given, bites, rests in (("cap", written.cap, "gt", "le"), ("floor", written.floor, "lt", "ge")):
        if given is not None:
            inner, bound = term.args
            for op, said in ((bites, "bites"), (rests, "does not bite")):
                yield from _where((*path, key), f"{step.id}: the {key} {given} {said}", op, inner, bound)
            term = inner
    told: set[int] = set()
    if written.taper is not None:
        yield from _taper((*path, "taper"), step.id, written, term, told)
    elif written.scale is not None:
        yield from _scale((*path, "scale"), step.id, written, term, told)
    elif written.table is not None:
        whens = term.args[::2]
        for index, when in enumerate(whens):
            before = [terms.logical("not", [other]) for other in whens[:index]] if written.table.hit == "first" else []
            holds = terms.logical("and", [when, *before]) if before else when
            yield Branch((*path, "table", "rows", index), f"{step.id}: row {index}", holds)
    yield from _inside(path, term, told)


def _taper(path: Path, step: str, written: StepWritten, term: Term, told: set[int]) -> Iterator[Branch]:
    taper = written.taper
    assert taper is not None
    excess = next(node for node in nodes(term) if _is_excess(node))
    told.add(id(excess))
    of, limit = excess.args[0].args
    name = taper.above if taper.from_ is None else taper.from_
    for op in (BELOW, AT, ABOVE) if taper.from_ is None else (BELOW, AT):
        yield from _where(path, f"{step}: {taper.of} {_SAID[op]} {name}", op, of, limit)
    if taper.from_ is not None:
        inside = next(node for node in nodes(term) if node.op == "min" and node.args[0] is excess)
        told.add(id(inside))
        between = terms.logical("and", [terms.compare("gt", of, limit), terms.compare("lt", inside.args[0], inside.args[1])])
        yield Branch(path, f"{step}: {taper.of} between {name} and {taper.until}", between)
        for op in (AT, ABOVE):
            yield from _where(path, f"{step}: {taper.of} {_SAID[op]} {taper.until}", op, *inside.args)


def _scale(path: Path, step: str, written: StepWritten, term: Term, told: set[int]) -> Iterator[Branch]:
    scale = written.scale
    assert scale is not None
    excesses = [node for node in nodes(term) if _is_excess(node)][: len(scale.brackets)]
    told.update(id(node) for node in (*excesses, *(node for node in nodes(term) if node.op == "min" and node.args[0] in excesses)))
    limits = [node.args[0].args for node in excesses]
    yield from _where((*path, "brackets", 0), f"{step}: {scale.of} not above {scale.brackets[0].above}", "le", *limits[0])
    for index, (of, limit) in enumerate(limits):
        held = [terms.compare("gt", of, limit)]
        if index + 1 < len(limits):
            held.append(terms.compare("le", limits[index + 1][0], limits[index + 1][1]))
        text = f"{step}: {scale.of} in the bracket above {scale.brackets[index].above}"
        yield Branch((*path, "brackets", index), text, held[0] if len(held) == 1 else terms.logical("and", held))


def _is_excess(term: Term) -> bool:
    """The part above a limit, as blocks have it."""
    return term.op == "max" and term.args[0].op == "sub" and term.args[1].op == "const" and term.text.startswith("the part of ")


def _inside(path: Path, term: Term, told: set[int]) -> Iterator[Branch]:
    """The ways of `if`, `min`, `max` and what is made of them within an expression."""
    seen: set[str] = set()
    for node in nodes(term):
        if id(node) in told or str(node) in seen:
            continue
        if node.op == "if":
            seen.add(str(node))
            yield Branch(path, f"{node.args[0]}", node.args[0])
            yield Branch(path, f"not {node.args[0]}", terms.logical("not", [node.args[0]]))
        elif node.op in ("min", "max"):
            seen.add(str(node))
            for op in (BELOW, ABOVE):
                yield from _where(path, f"{node}: {node.args[0]} {_SAID[op]} {node.args[1]}", op, *node.args)


def _where(path: Path, text: str, op: str, one: Term, other: Term) -> Iterator[Branch]:
    """A comparison as a branch, unless the bounds of the two say that it never holds."""
    held = terms.compare(op, one, other)
    possible = _possible(held)[1] if op != AT else one.low <= other.high and other.low <= one.high
    if possible:
        yield Branch(path, text, held)


def nodes(term: Term) -> Iterator[Term]:
    """The term and all within it, the first before the later ones."""
    stack = [term]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.args))


_STEP = {"lt": 0, "ge": 0, "le": 1, "gt": 1}


def birthdays(rule: Rule) -> Iterator[Branch]:
    """The days on which a comparison of dates or of full years turns: the day itself and the day before it."""
    conditions = [("eligible_when", index, item.term) for index, item in enumerate(rule.conditions)]
    conditions += [("excluded_when", index, item.term) for index, item in enumerate(rule.exclusions)]
    places: list[tuple[Path, Term]] = [((place, index, "when"), term) for place, index, term in conditions]
    places += [(("amount", "steps", index), step.term) for index, step in enumerate(rule.steps)]
    for path, term in places:
        for node in nodes(term):
            if node.op in _STEP and node.args[1].op == "const" and isinstance(node.args[1].value, Fraction):
                yield from _turn(path, node.args[0], node.args[1].value + _STEP[node.op])
    for name, parameter in rule.parameters.items():
        for by, keys in zip(parameter.by, parameter.keys, strict=True):
            fact = next((fact for fact in rule.facts if fact.name == by and fact.type == "years"), None)
            if fact is not None and fact.range is not None:
                term = terms.named("fact", by, terms.Kind("years"), *fact.range)
                for turn in sorted({key.low for key in keys} | {key.high + 1 for key in keys}):
                    yield from _either_side(("parameters", name, "by", by), term, Fraction(turn))


def _turn(path: Path, term: Term, turn: Fraction) -> Iterator[Branch]:
    if term.op in ("years", "full_months"):
        birth, on = term.args
        named = "birthday" if term.op == "years" else "day"
        for text, shift, whole in ((f"the {named} on which {term} becomes {turn}", -1, turn), (f"the day before {term} becomes {turn}", 1, turn - 1)):
            other = terms.day_term(term.op, birth, Term("add", on.kind, (on, terms.constant(shift, on.kind))))
            here = terms.compare("eq", term, terms.constant(whole, term.kind))
            there = terms.compare("eq", other, terms.constant(whole + shift, term.kind))
            yield Branch(path, text, terms.logical("and", [here, there]), is_day=True)
    elif term.kind.type == "years":
        yield from _either_side(path, term, turn)
    elif term.kind.type == "date":
        for value, text in ((turn, "on the day"), (turn - 1, "on the day before")):
            yield Branch(path, f"{term} {text} of the comparison", terms.compare("eq", term, terms.constant(value, term.kind)), is_day=True)


def _either_side(path: Path, term: Term, turn: Fraction) -> Iterator[Branch]:
    if not term.low < turn <= term.high:
        return
    for value, text in ((turn, f"{term} {turn}, from the birthday on"), (turn - 1, f"{term} {turn - 1}, up to the day before the birthday")):
        yield Branch(path, text, terms.compare("eq", term, terms.constant(value, term.kind)), is_day=True)
