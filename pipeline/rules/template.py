"""The document that a new rule begins with: it passes every check, and its one test waits for what the law gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from pipeline.facts import day_date
from pipeline.money import decimal_text
from pipeline.problems import Malformed, Problem, suggestion

from .definitions import FactSpec
from .periods import period_with
from .scalars import NAME, BenefitId, PeriodKind

SCHEMA_FILE = "benefit-rule.schema.json"
SCHEMA_LINE = "# yaml-language-server: $schema=%s"
SUBJECTS = ("person", "household", "business")
PERIODS: tuple[str, ...] = get_args(PeriodKind)


@dataclass(frozen=True, slots=True)
class NewRule:
    """What is known of a rule before it is written. `first_day` is the first day in force, `facts` the registries' facts by the rule's own names."""

    benefit: str
    decides_for: str
    period: str
    currency: str
    first_day: int
    facts: Mapping[str, FactSpec]
    yearly: frozenset[str] = frozenset()
    """The names of the facts that a registry tells by calendar year."""

    @property
    def of_members(self) -> frozenset[str]:
        """The facts that are told of a person where the rule decides for a household."""
        return frozenset(name for name, spec in self.facts.items() if self.decides_for == "household" and spec.subject == "person")


def new_rule(benefit: str, decides_for: str, period: str, currency: str, first_day: int, facts: Mapping[str, FactSpec], yearly: Sequence[str] = ()) -> NewRule:
    """The answers held against the language; Malformed with every one that cannot be."""
    problems: list[Problem] = []
    try:
        TypeAdapter(BenefitId).validate_python(benefit)
    except ValidationError:
        problems.append(Problem("BENEFIT", f"{benefit!r} is no benefit id", "Use small letters, digits and -, at most 40.", value=benefit))
    for name, value, known in (("--for", decides_for, SUBJECTS), ("--period", period, PERIODS)):
        if value not in known:
            near = suggestion(value, known)
            message = f"{value!r} is not known here" + (f", {near}" if near else "")
            problems.append(Problem(name, message, f"It is one of {', '.join(known)}.", value=value, expected=f"one of {', '.join(known)}"))
    try:
        decimal_text(0, currency)
    except ValueError as error:
        problems.append(Problem("--currency", str(error), value=currency))
    if not facts:
        problems.append(Problem("--fact", "a rule reads at least one fact", "Say --fact resident=residency.resident."))
    for name, spec in facts.items():
        if not NAME.fullmatch(name):
            problems.append(Problem("--fact", f"{name!r} is no name", "Use small letters, digits and _.", value=name))
        if spec.subject and spec.subject != decides_for and (decides_for, spec.subject) != ("household", "person") and decides_for in SUBJECTS:
            message = f"{spec.name} is told of a {spec.subject}, the rule decides for a {decides_for}"
            problems.append(Problem("--fact", message, f"Say --for {spec.subject}, or another fact.", value=spec.name))
        if spec.type == "money" and spec.currency != currency:
            problems.append(
                Problem("--fact", f"{spec.name} is in {spec.currency}, the rule pays {currency}", f"Say --currency {spec.currency}.", value=spec.name)
            )
    if problems:
        raise Malformed(problems)
    return NewRule(benefit, decides_for, period, currency, first_day, facts, frozenset(yearly))


def template(rule: NewRule, schema: str = SCHEMA_FILE) -> str:
    """The document's text. `schema` is where the JSON Schema lies, as seen from the document."""
    start = day_date(rule.first_day).isoformat()
    own = {name: spec for name, spec in rule.facts.items() if name not in rule.of_members}
    of_members = {name: spec for name, spec in rule.facts.items() if name in rule.of_members}
    conditions = [name for name, spec in own.items() if spec.type == "yes_no"]
    words = rule.benefit.replace("-", " ").capitalize()
    lines = [
        SCHEMA_LINE % schema,
        f"# {words}. What each key says: payout rules schema; every mistake in this document: payout rules check.",
        "format: benefit-rule/1",
        f"benefit: {rule.benefit}",
        f"title: {{en: {words}}}",
        f"in_force: {{from: {start}, to: null}}",
        "law:",
        "  # Every place in the law that the rule rests on, by a short key of your own.",
        '  P1: {cite: "the act, its section and paragraph"}',
        f"decides: {{for: {rule.decides_for}, period: {rule.period}, parameters_at: period.start, currency: {rule.currency}}}",
        *(["facts:"] * bool(own) + [f"  {name}: {_fact(rule, name, spec)}" for name, spec in own.items()]),
        *(_members(rule, of_members) if of_members else ()),
        "parameters:",
        "  # Every number of the law, with its first day and the place that says it.",
        f"  full_amount: {{type: money, law: P1, from: {{{start}: 1}}}}",
        "eligible_when:" + ("" if conditions else " []"),
        *(f'  - {{id: is_{name}, when: {name}, law: P1, not_held: "{{subject}}: {name.replace("_", " ")} is no."}}' for name in conditions),
        "excluded_when: []",
        "amount:",
        "  steps:",
        "    - {id: full, is: full_amount, law: P1}",
        "  pay: full",
        "not_encoded: []",
        "tests:",
        "  # Write what the law gives this person, such as expect: {decision: granted, amount: 1}, and where that is published as source.",
        "  - name: who meets every condition has the full amount",
        f"    given: {{{', '.join(f'{name}: {text}' for name, text in _given(rule))}}}",
        "    expect: {}",
        'approvals: {need: {legal: 1, finance: 1}, author_may_approve: "no"}',
    ]
    return "\n".join(lines) + "\n"


def _members(rule: NewRule, facts: Mapping[str, FactSpec]) -> list[str]:
    """What is read of each member, and a fact of the household made of it."""
    made = {f"total_{name}": f"sum: {name}" for name, spec in facts.items() if spec.type in ("money", "number")}
    made |= {f"all_{name}": f"all: {name}" for name, spec in facts.items() if spec.type == "yes_no"}
    return [
        "members:",
        "  # What is read of each member of the household; conditions and steps use what the aggregates make of it.",
        "  facts:",
        *(f"    {name}: {_fact(rule, name, spec)}" for name, spec in facts.items()),
        "aggregates:",
        *(f"  {name}: {{{how}}}" for name, how in (made or {"number_of_members": "count: members"}).items()),
    ]


def _fact(rule: NewRule, name: str, spec: FactSpec) -> str:
    parts = [f"type: {_type(name, spec)}", f"from: {spec.name}"]
    if name in rule.yearly:
        parts.append(f"year: {'period.year' if rule.period != 'once' else day_date(rule.first_day).year - 1}")
    else:
        parts.append("at: period.start")
    if spec.type in ("money", "number") and spec.range is None:
        parts.append("range: 0..1_000_000")
    return f"{{{', '.join(parts)}}}  # {' '.join(spec.meaning.split())}"


def _type(name: str, spec: FactSpec) -> str:
    if spec.type == "date":
        return "years" if "age" in name.split("_") else "date"
    return "text" if spec.type == "one_of" else spec.type


def _given(rule: NewRule) -> list[tuple[str, str]]:
    given: list[tuple[str, str]] = []
    member: list[tuple[str, str]] = []
    for name, spec in rule.facts.items():
        low, high = spec.range or (0, 1_000_000)
        nearest = min(max(low, 0), high)
        kind = _type(name, spec)
        value = {
            "yes_no": '"yes"',
            "money": decimal_text(nearest, rule.currency),
            "years": "30",
            "date": day_date(rule.first_day).isoformat(),
            "text": f'"{spec.one_of[0]}"' if spec.one_of else "some text",
        }.get(kind, str(nearest))
        (member if name in rule.of_members else given).append((name, value))
    if member:
        given.append(("members", f"[{{{', '.join(f'{name}: {value}' for name, value in member)}}}]"))
    if rule.period != "once":
        given.append(("period", _first_period(rule)))
    return given


def _first_period(rule: NewRule) -> str:
    """The first period that begins in force."""
    period = period_with(rule.period, rule.first_day)
    return (period if period.start == rule.first_day else period_with(rule.period, period.end + 1)).label
