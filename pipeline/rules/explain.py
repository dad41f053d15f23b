"""Why a decision came out as it did: conditions, steps and facts, what would change it, what is missing, in sentences with the law cited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

import msgspec

from pipeline.facts import day_date
from pipeline.money import money_text

from .evaluate import DECISIONS, GRANTED, REFUSED, UNDETERMINED
from .periods import Period
from .rule import Condition, Rule, RuleFact, Step, leaves
from .terms import Term

Facts = Mapping[str, int | bool | str | None]
STATES = ("no", "yes", "unknown")


class Reason(msgspec.Struct, frozen=True):
    """A condition or an exclusion: how it came out, whether that lets the subject through, and its sentence."""

    id: str
    kind: str
    state: str
    passed: bool | None
    text: str
    law: str


class Calculated(msgspec.Struct, frozen=True):
    """A step: its value, the expression, what it was calculated from, and the law of each parameter's value."""

    id: str
    value: str
    text: str
    used: dict[str, str]
    law: str
    laws: dict[str, str]


class Explanation(msgspec.Struct, frozen=True):
    """One decision explained. `change` names conditions each of which alone would change a refusal, `missing` the facts that stand in the way."""

    benefit: str
    title: str
    rule: str
    subject: str
    period: str
    decision: str
    amount_minor: int
    currency: str
    reasons: tuple[Reason, ...]
    steps: tuple[Calculated, ...]
    facts: dict[str, str]
    missing: tuple[str, ...]
    change: tuple[str, ...]

    def text(self) -> str:
        """The explanation in sentences."""
        amount = f" {money_text(self.amount_minor, self.currency)}" if self.decision == "granted" else ""
        lines = [f"{self.title}, {self.period}: {self.decision}{amount} for {self.subject}."]
        lines += [f"  {_mark(reason.passed)} {reason.text}{_law(reason.law)}" for reason in self.reasons]
        if self.decision != "refused":
            lines += [f"  {step.id} = {step.value}: {step.text}{_used(step)}{_law(step.law)}" for step in self.steps]
        if self.missing:
            lines.append(f"It cannot be decided before this is known: {', '.join(self.missing)}.")
        if len(self.change) == 1:
            lines.append(f"Only this stands in the way: {self.change[0]}. Were it otherwise, the decision would not be a refusal.")
        elif self.decision == "refused":
            lines.append("More than one condition stands in the way; no single one would change the decision.")
        return "\n".join([*lines, f"Rule {self.rule[:12]}."])


def _mark(passed: bool | None) -> str:
    return {True: "+", False: "-", None: "?"}[passed]


def _law(cite: str) -> str:
    return f" ({cite})" if cite else ""


def _used(step: Calculated) -> str:
    laws = {name: _law(cite) for name, cite in step.laws.items() if cite != step.law}
    told = ", ".join(f"{name} {value}{laws.get(name, '')}" for name, value in step.used.items())
    return f", with {told}" if told else ""


def outcomes(rule: Rule, bits: int) -> list[tuple[Condition, str]]:
    """Each condition, then each exclusion, with no, yes or unknown."""
    return [(item, STATES[bits >> 2 * index & 3]) for index, item in enumerate((*rule.conditions, *rule.exclusions))]


def missing_facts(rule: Rule, bits: int) -> list[str]:
    """The names of the facts of a `missing` mask."""
    return [fact.name for index, fact in enumerate(rule.facts) if bits >> index & 1]


def fact_text(rule: Rule, fact: RuleFact, value: int | bool | str | None) -> str:
    """A fact's value for people."""
    if value is None:
        return "unknown"
    if fact.type == "money":
        return money_text(int(value), rule.currency) + (f" per {fact.per}" if fact.per else "")
    if fact.type == "yes_no":
        return "yes" if value else "no"
    if fact.type == "date":
        return day_date(int(value)).isoformat()
    return f"{value} %" if fact.type == "percent" else str(value)


def term_text(rule: Rule, term: Term, value: Fraction | str | bool | None) -> str:
    """A value of the kind of a term, for people; exact, as a fraction where it is no decimal amount."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if term.kind.type == "date":
        return day_date(int(value)).isoformat()
    if term.kind.type == "money":
        whole = money_text(round(value), rule.currency) + (f" per {term.kind.per}" if term.kind.per else "")
        return whole if value.denominator == 1 else f"{whole} (exactly {value} minor units)"
    if term.kind.type == "ratio" and (value * 100).denominator == 1:
        return f"{value * 100} %"
    return str(value)


def step_text(rule: Rule, step: Step, value: Fraction | int | None, denominator: int = 1) -> str:
    """A step's value for people."""
    return term_text(rule, step.term, None if value is None else Fraction(value) / denominator)


def used_values(rule: Rule, term: Term, facts: Facts, row: Mapping[str, int], period: Period, event_day: int | None = None) -> Iterator[tuple[str, str]]:
    """What a term was calculated from: facts, parameters and earlier steps with their values."""
    by_name = {fact.name: fact for fact in rule.facts}
    steps = {step.id: step for step in rule.steps}
    segment = _segment(rule, period, event_day)
    for leaf in leaves(term):
        name = str(leaf.value)
        if leaf.op in ("fact", "share"):
            yield name, fact_text(rule, by_name[name], facts.get(name))
        elif leaf.op == "step":
            yield name, step_text(rule, steps[name], row["step:" + name], steps[name].denominator)
        elif leaf.op == "parameter":
            held = rule.parameters[name].row(_assumed(rule, facts))
            if held is not None:
                yield name, term_text(rule, leaf, rule.parameters[name].values[segment][held])
            elif all(facts.get(by) is not None for by in rule.parameters[name].by):
                yield name, "none"


def used_laws(rule: Rule, term: Term, facts: Facts, period: Period, event_day: int | None = None) -> Iterator[tuple[str, str]]:
    """The law of each parameter's value that a term was calculated from."""
    segment = _segment(rule, period, event_day)
    for leaf in leaves(term):
        parameter = rule.parameters[str(leaf.value)] if leaf.op == "parameter" else None
        held = None if parameter is None else parameter.row(_assumed(rule, facts))
        if parameter is not None and held is not None and parameter.laws[segment][held]:
            yield parameter.name, rule.law[parameter.laws[segment][held]].cite


def _segment(rule: Rule, period: Period, event_day: int | None) -> int:
    on = event_day if rule.parameters_at == "event.date" and event_day is not None else None
    return rule.segment(rule.day(rule.parameters_at, period) if on is None else on)


def explain(
    rule: Rule, row: Mapping[str, int], facts: Facts, period: Period, subject: str = "the person", payment_day: int | None = None, event_day: int | None = None,
    language: str = "en",
) -> Explanation:  # fmt: skip
    """The explanation of one row of `decide` (as a mapping) for the facts it was decided on."""
    names = _names(rule, row, facts, period, subject, payment_day)
    reasons = tuple(_reason(rule, item, state, names) for item, state in outcomes(rule, row["conditions"]))
    failed = [reason for reason in reasons if reason.passed is False]
    return Explanation(
        benefit=rule.benefit,
        title=rule.title.get(language) or next(iter(rule.title.values())),
        rule=rule.hash,
        subject=subject,
        period=period.label,
        decision=DECISIONS[row["decision"]],
        amount_minor=row["amount_minor"] if row["decision"] == GRANTED else 0,
        currency=rule.currency,
        reasons=reasons,
        steps=tuple(_calculated(rule, step, row, facts, period, event_day) for step in rule.steps),
        facts={fact.name: fact_text(rule, fact, facts.get(fact.name)) for fact in rule.facts},
        missing=tuple(missing_facts(rule, row["missing"])) if row["decision"] == UNDETERMINED else (),
        change=(failed[0].text.rstrip("."),) if row["decision"] == REFUSED and len(failed) == 1 else (),
    )


def _names(rule: Rule, row: Mapping[str, int], facts: Facts, period: Period, subject: str, payment_day: int | None) -> dict[str, str]:
    names = {"subject": subject, "period": period.label}
    for name in ("period.start", "period.end", "payment.date"):
        names[name] = day_date(rule.day(name, period, payment_day)).isoformat()
    names |= {fact.name: fact_text(rule, fact, facts.get(fact.name)) for fact in rule.facts}
    return names | {step.id: step_text(rule, step, row["step:" + step.id], step.denominator) for step in rule.steps}


def _reason(rule: Rule, item: Condition, state: str, names: Mapping[str, str]) -> Reason:
    excludes = item not in rule.conditions
    passed = None if state == "unknown" else (state == "yes") is not excludes
    sentence = {"yes": item.held, "no": item.not_held}.get(state, "")
    for name, value in names.items():
        sentence = sentence.replace("{" + name + "}", value)
    law = rule.law[item.law].cite if item.law else ""
    return Reason(item.id, "exclusion" if excludes else "condition", state, passed, sentence or f"{item.id} ({item.text}): {state}.", law)


def _calculated(rule: Rule, step: Step, row: Mapping[str, int], facts: Facts, period: Period, event_day: int | None) -> Calculated:
    value = step_text(rule, step, row["step:" + step.id], step.denominator)
    used = dict(used_values(rule, step.term, facts, row, period, event_day))
    laws, law, text = dict(used_laws(rule, step.term, facts, period, event_day)), step.law, step.text
    if step.id in rule.grids:
        held = rule.grids[step.id].row({**_assumed(rule, facts), **{other.id: row["step:" + other.id] for other in rule.steps}})
        if held is not None:
            law, text = rule.grids[step.id].laws[held], f"{step.text}, which is row {held}"
    return Calculated(step.id, value, text, used, rule.law[law].cite if law else "", laws)


def _assumed(rule: Rule, facts: Facts) -> Facts:
    """The facts, with what the rule assumes for those that are unknown."""
    return {fact.name: fact.assume if facts.get(fact.name) is None else facts[fact.name] for fact in rule.facts}
