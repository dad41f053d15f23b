"""Which branches, rows, keys and boundary days of a rule its own tests reach, which they do not, and which nobody can reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import msgspec

from pipeline.documents import parse_document, place_text
from pipeline.facts import LAST_DAY, day_date

from .aggregates import ROW, members_frame, of_each
from .branches import Branch, birthdays, branches, nodes
from .emit import Emitter
from .evaluate import decide, typed_facts
from .grids import written
from .periods import Period, period_with
from .proof import NO_SOLVER, solver_installed
from .rule import Case, Key, Parameter, Rule, RuleFact
from .scalars import Path
from .terms import MONTHS, YES_NO, Term, logical
from .trial import by_period, expects_nothing, frame_of

Place = tuple[Path, str]
"""A place in the document, and what of it no test reaches."""
TIMEOUT_S = 2
"""How long the solver may take for each branch that no test reaches."""


class Unreached(msgspec.Struct, frozen=True):
    """What no test reaches: its place in the document with its line (0 where the text is not at hand), and what it is in words."""

    path: str
    line: int
    text: str


class Coverage(msgspec.Struct, frozen=True):
    """How much of a rule its tests reach. `missing` are branches, rows and keys that no test reaches; `days` the boundary days on which none stands.

    `nobody` are those that the solver proves closed to everybody: they are not counted among the branches. `unproved` says why it was not asked.
    """

    branches: int
    missing: tuple[Unreached, ...]
    days: tuple[Unreached, ...]
    nobody: tuple[Unreached, ...] = ()
    unproved: str = ""

    @property
    def full(self) -> bool:
        """Whether every branch is reached. Boundary days are named, and do not count."""
        return not self.missing

    @property
    def percent(self) -> int:
        """Whole percents of the branches that are reached; 100 only where all are."""
        return 100 if self.full else 100 * (self.branches - len(self.missing)) // self.branches


@dataclass(frozen=True, slots=True, eq=False)
class _Lacking:
    """What no test reaches: its place, and how somebody would reach it, where the solver can be asked."""

    place: Place
    way: Branch | tuple[Parameter, tuple[Key, ...]] | None = None


def branch_coverage(rule: Rule) -> Coverage:
    """What the tests of a rule reach. A test that expects nothing reaches nothing."""
    groups = list(_groups(rule))
    asked = [*branches(rule), *birthdays(rule)]
    reached = {index for group in groups for index in _reached(rule, group, asked)}
    missing = [branch for index, branch in enumerate(asked) if index not in reached]
    counted = sum(not branch.is_day for branch in asked)
    lacking = [_Lacking((branch.path, branch.text), branch) for branch in missing if not branch.is_day]
    for total, found in (_keys(rule, groups), _remainders(rule, groups), _members(rule, groups)):
        counted += total
        lacking += found
    closed, unproved = _closed(rule, lacking)
    open_ = [one for one in lacking if one not in closed]
    days = [(branch.path, branch.text) for branch in missing if branch.is_day] + list(_change_days(rule, groups))
    line = _lines(rule)

    def told(places: Iterable[Place]) -> tuple[Unreached, ...]:
        return tuple(Unreached(place_text(path), line(path), text) for path, text in dict.fromkeys(places))

    missing_, nobody = (told(one.place for one in found) for found in (open_, closed))
    return Coverage(counted - len(closed), missing_, told(days), nobody, unproved)


def _closed(rule: Rule, lacking: Sequence[_Lacking]) -> tuple[list[_Lacking], str]:
    """What nobody can reach, as far as the solver proves it; and why it could not be asked."""
    asked = [one for one in lacking if one.way is not None]
    if not asked:
        return [], ""
    if not solver_installed():
        return [], f"Whether anybody can reach them is not known: {NO_SOLVER}"
    from .proof.nobody import nobody_goes

    closed = nobody_goes(rule, [one.way for one in asked if one.way is not None], TIMEOUT_S)
    return [one for number, one in enumerate(asked) if number in closed], ""


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Tests that one period and one stretch of time without a change of parameters have in common."""

    period: Period
    segment: int
    cases: tuple[Case, ...]


def _groups(rule: Rule) -> Iterator[_Group]:
    cases = [case for case in rule.tests if not expects_nothing(case)]
    for period, indexes in by_period(cases).items():
        by_segment: dict[int, list[Case]] = {}
        for case in (cases[index] for index in indexes):
            on = case.event_day if rule.parameters_at == "event.date" and case.event_day is not None else rule.day(rule.parameters_at, period)
            if rule.in_force[0] <= on <= rule.in_force[1]:
                by_segment.setdefault(rule.segment(on), []).append(case)
        for segment, found in by_segment.items():
            yield _Group(period, segment, tuple(found))


def _reached(rule: Rule, group: _Group, asked: Sequence[Branch]) -> Iterator[int]:
    """The branches that some test of a group goes."""
    table = frame_of(rule, group.cases)
    decided = decide(rule, table, group.period)
    frame = typed_facts(rule, table).with_columns(decided.get_columns())
    days = {name: rule.day(name, group.period) for name in ("period.start", "period.end", "payment.date")}
    emit = Emitter(rule, group.segment, days)
    terms = {str(index): branch.holds for index, branch in enumerate(asked) if branch.holds is not None}
    asking = [emit(term).fill_null(False).any().alias(name) for name, term in terms.items()]
    held = frame.select(asking).row(0, named=True) if asking else {}
    yield from (int(name) for name, some in held.items() if some)
    outcomes = decided.get_column("conditions").to_list()
    for index, branch in enumerate(asked):
        if branch.bits is not None and any(bits >> 2 * branch.bits[0] & 3 == branch.bits[1] for bits in outcomes):
            yield index


def _keys(rule: Rule, groups: Sequence[_Group]) -> tuple[int, list[_Lacking]]:
    """How many values by key there are, and those that no test has the keys of."""
    total, lacking = 0, list[_Lacking]()
    members = rule.members.facts if rule.members is not None else ()
    facts = {fact.name: fact for fact in (*rule.facts, *members)}
    cases = [case for group in groups for case in group.cases]
    for parameter in rule.parameters.values():
        if not parameter.by:
            continue
        of_members = any(fact.name == parameter.by[0] for fact in members)
        people = [member for case in cases for member in case.members or ()] if of_members else [case.given for case in cases]
        filled = [{name: facts[name].assume if one.get(name) is None else one[name] for name in parameter.by} for one in people]
        held = {parameter.row(one) for one in filled}
        total += len(parameter.values[0])
        for row, keys in enumerate(product(*parameter.keys)):
            if row not in held:
                text = ", ".join(f"{by} {_key_text(facts[by], key, rule.currency)}" for by, key in zip(parameter.by, keys, strict=True))
                place: Place = (("parameters", parameter.name, "by"), f"{parameter.name} where {text}")
                lacking.append(_Lacking(place, None if of_members else (parameter, keys)))
    return total, lacking


def _key_text(fact: RuleFact, key: Key, currency: str) -> str:
    if key.value is not None:
        return str(key)
    low, high = (written(fact.type, end, currency) for end in (key.low, key.high))
    return low if key.low == key.high else f"{low} to {high}"


def _members(rule: Rule, groups: Sequence[_Group]) -> tuple[int, list[_Lacking]]:
    """Of each question that an aggregate asks of members: that a member of some test says yes to it, and one says no."""
    asked: list[tuple[Place, Term]] = []
    for fact in rule.facts:
        if fact.aggregate is not None:
            questions = (fact.aggregate.how, fact.aggregate.term), ("where", fact.aggregate.where)
            for key, term in questions:
                if term is not None and term.kind == YES_NO and term.op != "const":
                    path: Path = ("aggregates", fact.name, key)
                    asked += [((path, f"a member with {term}"), term), ((path, f"a member without {term}"), logical("not", [term]))]
    reached = {index for group in groups for index in _told_by_members(rule, group, [term for _, term in asked])} if asked else set[int]()
    return len(asked), [_Lacking(place) for index, (place, _) in enumerate(asked) if index not in reached]


def _told_by_members(rule: Rule, group: _Group, asked: Sequence[Term]) -> Iterator[int]:
    """The numbers of the questions to which some member of a group of tests says yes."""
    frame = typed_facts(of_each(rule), members_frame(rule, [case.members or () for case in group.cases]))
    if rule.needs_event_day:
        frame = frame.with_columns(frame_of(rule, group.cases).get_column("event_day").gather(frame.get_column(ROW)))
    days = {name: rule.day(name, group.period) for name in ("period.start", "period.end", "payment.date")}
    emit = Emitter(of_each(rule), group.segment, days)
    held = frame.select(emit(term).fill_null(False).any().alias(str(number)) for number, term in enumerate(asked)).row(0)
    return (number for number, some in enumerate(held) if some)


def _remainders(rule: Rule, groups: Sequence[_Group]) -> tuple[int, list[_Lacking]]:
    """Of each step that parts a whole: the period that has the remainder, and one of the others."""
    total, lacking = 0, list[_Lacking]()
    for index, step in enumerate(rule.steps):
        spread = rule.written[step.id].spread
        part = next((node for node in nodes(step.term) if node.op == "part"), None) if spread is not None else None
        if spread is None or part is None:
            continue
        months, length = MONTHS[part.args[0].kind.per], MONTHS[rule.period_kind]
        turns = {(day_date(group.period.start).month - 1) % months // length for group in groups}
        wanted = 0 if spread.remainder == "first" else months // length - 1
        total += 2
        for missing, text in ((wanted not in turns, f"the {spread.remainder} period, with the remainder"), (not turns - {wanted}, "a period without it")):
            if missing:
                lacking.append(_Lacking((("amount", "steps", index, "spread"), f"{step.id}: {text}")))
    return total, lacking


def _change_days(rule: Rule, groups: Sequence[_Group]) -> Iterator[Place]:
    """The days, or periods, on both sides of each change of a parameter and at the ends of the rule, on which no test stands."""
    turns: list[tuple[Path, int]] = [(_changed(rule, segment), on) for segment, on in enumerate(rule.segments) if segment]
    ends: list[tuple[Path, int]] = [(("in_force", "from"), rule.in_force[0])]
    if rule.in_force[1] != LAST_DAY:
        ends.append((("in_force", "to"), rule.in_force[1] + 1))
    if rule.parameters_at == "event.date":
        stood = {case.event_day for group in groups for case in group.cases}
        for path, on in (*turns, *ends):
            for number, text in ((on, "an event on"), (on - 1, "an event the day before, on")):
                if number not in stood and rule.in_force[0] <= number <= rule.in_force[1]:
                    yield path, f"{text} {day_date(number)}"
    elif rule.period_kind != "once" and rule.parameters_at != "payment.date":
        labels = {group.period.label for group in groups}
        for path, on in (*turns, *ends):
            first = period_with(rule.period_kind, on)
            while rule.day(rule.parameters_at, first) < on:
                first = period_with(rule.period_kind, first.end + 1)
            for period, text in ((first, "the first period from"), (period_with(rule.period_kind, first.start - 1), "the last period before")):
                in_force = rule.in_force[0] <= rule.day(rule.parameters_at, period) <= rule.in_force[1]
                if period.label not in labels and in_force:
                    yield path, f"{text} {day_date(on)}, {period.label}"


def _changed(rule: Rule, segment: int) -> Path:
    """Where the first parameter stands that changes with a segment."""
    name = next(name for name, parameter in rule.parameters.items() if parameter.values[segment] != parameter.values[segment - 1])
    return "parameters", name, "from"


def _lines(rule: Rule) -> Callable[[Path], int]:
    if not rule.text:
        return lambda path: 0
    root = parse_document(rule.text)
    return lambda path: root.at(*path).line
