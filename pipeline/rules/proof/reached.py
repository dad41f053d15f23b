"""That everything a rule says is reached by somebody: conditions hold and fail, and branches, rows, brackets and keys are taken; and no two rows at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.facts import day_date
from pipeline.rules.rule import Key, Parameter, Rule, leaves
from pipeline.rules.terms import Term

from .arithmetic import Truth, compared, every, negated, some
from .encode import Seen
from .findings import FAILS, NOT_DECIDED, PROVED, Finding
from .people import Somebody, read
from .questions import FOUND, NOBODY, Question, somebody_of
from .stretches import stretches


@dataclass(frozen=True, slots=True)
class Target:
    """Something that somebody should reach, and when that is so; `refuted` turns it round: nobody may."""

    what: str
    place: str
    text: str
    message: str
    reached: Truth
    refuted: bool = False


def prove_reached(rule: Rule, timeout_s: int) -> list[Finding]:
    """A finding for every condition, branch, row, bracket and key; each is proved where somebody in some stretch reaches it."""
    parts = stretches(rule)
    found: dict[tuple[str, str, str], Finding] = {}
    for stretch in parts:
        somebody = somebody_of(rule, stretch)
        question = Question([somebody], max(1, timeout_s * 1_000 // len(parts)))
        targets = [target for target in targets_of(somebody) if _open(found.get((target.what, target.place, target.text)), target)]
        models: list[object] = []
        for target in targets:
            found[target.what, target.place, target.text] = _reached(question, target, models, found.get((target.what, target.place, target.text)), timeout_s)
    decided = {stretch.segment for stretch in parts}
    return [*found.values(), *_never_used(rule, decided)]


def _open(known: Finding | None, target: Target) -> bool:
    """Whether another stretch can still change what is known."""
    return known is None or (known.outcome == PROVED) is target.refuted


def _reached(question: Question, target: Target, models: list[object], before: Finding | None, timeout_s: int) -> Finding:
    def told(outcome: str, message: str = "", show: bool = False) -> Finding:
        return Finding(target.what, target.place, target.text, outcome, message, question.ordinary(target.reached) if show else ())

    if not target.refuted and any(read(model, target.reached) for model in models):
        return told(PROVED)
    answer = question.ask(target.reached)
    if answer == FOUND:
        models.append(question.model)
        question.people[0].person(question.model)
        return told(FAILS, target.message, show=True) if target.refuted else told(PROVED)
    if answer != NOBODY:
        return told(NOT_DECIDED, f"not decided in {timeout_s} s")
    if before is not None and before.outcome == NOT_DECIDED:
        return before
    return told(PROVED) if target.refuted else told(FAILS, target.message)


def targets_of(somebody: Somebody) -> Iterator[Target]:
    """Everything that a rule says of somebody in a stretch."""
    rule, decided = somebody.rule, somebody.decided
    yield Target("payment", "amount.pay", "somebody is granted the benefit", "nobody ever is", decided.granted)
    for place, items in (("eligible_when", rule.conditions), ("excluded_when", rule.exclusions)):
        for index, item in enumerate(items):
            seen = decided.conditions[item.id]
            yield Target("condition", f"{place}[{index}]", f"{item.id} can hold: {item.text}", "it never holds", every(seen.known, seen.value))
            yield Target("condition", f"{place}[{index}]", f"{item.id} can fail: {item.text}", "it never fails", every(seen.known, negated(seen.value)))
            yield from _branches(somebody, item.term, f"{place}[{index}].when", True)
    for index, step in enumerate(rule.steps):
        among = True if step.id in asked(rule)[0] else decided.passing
        place = f"amount.steps[{index}]"
        if step.id in rule.grids:
            yield from _rows(somebody, step.id, place, among)
        else:
            yield from _brackets(somebody, step.id, place, among)
        yield from _branches(somebody, step.term, place, among)
    yield from _keys(somebody)


def asked(rule: Rule) -> tuple[set[str], set[str]]:
    """The steps and the parameters that conditions ask for, of everybody and not only of those who pass."""
    steps, parameters = set(), set()
    stack = [item.term for item in (*rule.conditions, *rule.exclusions)]
    terms = {step.id: step.term for step in rule.steps}
    while stack:
        for leaf in leaves(stack.pop()):
            if leaf.op == "step" and str(leaf.value) not in steps:
                steps.add(str(leaf.value))
                stack.append(terms[str(leaf.value)])
            elif leaf.op == "parameter":
                parameters.add(str(leaf.value))
    return steps, parameters


def branches(somebody: Somebody, term: Term, among: Truth) -> Iterator[tuple[Term, Truth]]:
    """Every condition of an `if` in a term, with who comes to it."""
    stack: list[tuple[Term, Truth]] = [(term, among)]
    while stack:
        node, here = stack.pop()
        if node.op == "if":
            yield node.args[0], here
            when = somebody.encoder(node.args[0])
            stack += [(node.args[2], every(here, when.known, negated(when.value))), (node.args[1], every(here, when.known, when.value)), (node.args[0], here)]
        elif node.op == "table":
            for (_, held), value in zip(_taken(somebody, node), node.args[1::2], strict=True):
                stack.append((value, every(here, held)))
        else:
            stack += [(arg, here) for arg in node.args]


def _branches(somebody: Somebody, term: Term, place: str, among: Truth) -> Iterator[Target]:
    for when, here in branches(somebody, term, among):
        seen = somebody.encoder(when)
        yield Target("branch", place, f"somebody has {when}", "nobody ever has", every(here, seen.known, seen.value))
        yield Target("branch", place, f"somebody has not {when}", "everybody has", every(here, seen.known, negated(seen.value)))


def _taken(somebody: Somebody, table: Term) -> Iterator[tuple[Seen, Truth]]:
    """Of each row of a table its condition, and whether it is the row that holds."""
    before: Truth = True
    for when in table.args[::2]:
        seen = somebody.encoder(when)
        yield seen, every(before, seen.known, seen.value)
        before = every(before, seen.known, negated(seen.value))


def table_of(term: Term) -> Term | None:
    """The table in the term of a step, below its floor, cap and rounding."""
    while term.op != "table" and term.args:
        term = term.args[0]
    return term if term.op == "table" else None


def _rows(somebody: Somebody, step: str, place: str, among: Truth) -> Iterator[Target]:
    table = table_of(somebody.encoder.steps[step].term)
    assert table is not None
    rows = list(_taken(somebody, table))
    for index, (_, held) in enumerate(rows):
        text = f"somebody has row {index}: {table.args[2 * index]}" if str(table.args[2 * index]) != "yes_no" else f"somebody has row {index}"
        yield Target("row", f"{place}.table.rows[{index}]", text, "nobody ever has", every(among, held))
    if somebody.rule.grids[step].hit == "only_one" and len(rows) > 1:
        twice, before = False, False
        for seen, _ in rows:
            holds = every(seen.known, seen.value)
            twice, before = some(twice, every(before, holds)), some(before, holds)
        yield Target("rows", f"{place}.table.rows", f"no two rows of {step} hold at once", "two hold", twice, refuted=True)


def limits(term: Term) -> list[tuple[Term, Term]]:
    """Where the part of an income above a limit begins to count in a taper or a scale: the income and each limit."""
    found: list[tuple[Term, Term]] = []
    stack = [term]
    while stack:
        node = stack.pop()
        if node.op == "max" and node.args[0].op == "sub" and node.args[1].op == "const" and node.args[1].low == 0:
            of, limit = node.args[0].args
            found += [(of, limit)] if not found or of is found[0][0] else []
        else:
            stack += reversed(node.args)
    return found


def _brackets(somebody: Somebody, step: str, place: str, among: Truth) -> Iterator[Target]:
    written = somebody.rule.written.get(step)
    if written is None or (written.taper is None and written.scale is None):
        return
    block, what = ("scale", "bracket") if written.scale is not None else ("taper", "taper")
    for index, (of, limit) in enumerate(limits(somebody.encoder.steps[step].term)):
        one, other = somebody.encoder(of), somebody.encoder(limit)
        over = compared("gt", one.value * limit.den, other.value * of.den)
        at = f"{place}.{block}" + (f".brackets[{index}]" if block == "scale" else "")
        yield Target(what, at, f"somebody has {of} above {limit}", "nobody ever has", every(among, one.known, other.known, over))


def _keys(somebody: Somebody) -> Iterator[Target]:
    rule = somebody.rule
    everybody = asked(rule)[1]
    used = {str(leaf.value) for term in _terms(rule) for leaf in leaves(term) if leaf.op == "parameter"}
    for name, parameter in rule.parameters.items():
        if not parameter.by or name not in used:
            continue
        among = True if name in everybody else somebody.decided.passing
        known = [somebody.encoder.facts[by].known for by in parameter.by]
        for keys in parameter.rows():
            held = every(among, *known, *map(somebody.encoder.holds, parameter.by, keys))
            yield Target("key", f"parameters.{name}", f"somebody has {_keyed(parameter, keys)}", "nobody ever has", held)


def _terms(rule: Rule) -> list[Term]:
    return [item.term for item in (*rule.conditions, *rule.exclusions)] + [step.term for step in rule.steps]


def _keyed(parameter: Parameter, keys: tuple[Key, ...]) -> str:
    return " and ".join(f"{by} {key}" for by, key in zip(parameter.by, keys, strict=True))


def _never_used(rule: Rule, decided: set[int]) -> Iterator[Finding]:
    """Dates of parameters that no period uses."""
    for segment, first in enumerate(rule.segments):
        if segment not in decided:
            text = f"a period is decided by the values from {day_date(first)}"
            yield Finding("parameter", "parameters", text, FAILS, f"none is: no {rule.parameters_at} falls between them and the next")


__all__ = ["Target", "asked", "branches", "limits", "prove_reached", "table_of", "targets_of"]
