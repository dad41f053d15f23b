"""Why a decision came out as it did: conditions, steps and facts with their source, what would change it and what is missing, each with its law."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import msgspec
import polars as pl

from pipeline.facts import day_date
from pipeline.texts import ENGLISH, Language, capital, has_language, message

from .aggregates import COUNT, members_frame, with_aggregates
from .evaluate import DECISIONS, GRANTED, REFUSED, UNDETERMINED
from .figures import Facts, Row, assumed, choice_text, fact_text, picked_by, step_text, taken_as, used_laws, used_values
from .periods import Period
from .phrases import Phrases
from .remedies import Remedy, remedies
from .rule import Condition, Rule, RuleFact, Step, leaves
from .sources import Source

STATES = ("no", "yes", "unknown")
PROVISIONAL = ("preliminary", "estimated")


class Reason(msgspec.Struct, frozen=True):
    """A condition or an exclusion: how it came out, whether that lets the subject through, and its sentence."""

    id: str
    kind: str
    title: str
    state: str
    passed: bool | None
    text: str
    law: str


class Figure(msgspec.Struct, frozen=True):
    """What a step was calculated from: a fact, a parameter or an earlier step, with its value; of a parameter's value its law, and the keys that picked it."""

    name: str
    title: str
    text: str
    law: str
    keys: str = ""


class Calculated(msgspec.Struct, frozen=True):
    """A step: its value, exactly (money in minor units; None while unknown) and for people, how it is calculated, and from what."""

    id: str
    title: str
    exact: str | None
    value: str
    text: str
    used: tuple[Figure, ...]
    law: str


class UsedFact(msgspec.Struct, frozen=True):
    """A fact as the rule took it: its value plainly (dates as text, money in minor units) and for people, and where it comes from."""

    name: str
    title: str
    type: str
    value: int | bool | str | None
    text: str
    assumed: bool
    provisional: bool
    source: Source | None


class Member(msgspec.Struct, frozen=True):
    """A member of a household as the rule saw them: their facts, of which the household's were made."""

    member: str
    facts: tuple[UsedFact, ...]


class Missing(msgspec.Struct, frozen=True):
    """A fact that the decision waits for: why it is not known, as a code and a sentence, and who could tell it."""

    fact: str
    title: str
    why: str
    registry: str
    teller: str
    text: str


class Change(msgspec.Struct, frozen=True):
    """A fact that alone would turn the refusal into a grant: the nearest such value that was found, and the amount then granted.

    What a rule makes of the members does not change alone where it makes more than one thing of them: there is no amount then.
    """

    fact: str
    title: str
    value: int | bool | str
    value_text: str
    amount_minor: int | None
    text: str


class Explanation(msgspec.Struct, frozen=True):
    """One decision explained, in one language, with the codes that programs read beside the texts; `missing` names the facts of `unknown`."""

    benefit: str
    title: str
    rule: str
    subject: str
    period: str
    period_text: str
    language: str
    decision: str
    amount_minor: int
    amount: str
    currency: str
    headline: str
    reasons: tuple[Reason, ...]
    steps: tuple[Calculated, ...]
    facts: tuple[UsedFact, ...]
    members: tuple[Member, ...]
    missing: tuple[str, ...]
    unknown: tuple[Missing, ...]
    changes: tuple[Change, ...]


def outcomes(rule: Rule, bits: int) -> list[tuple[Condition, str]]:
    """Each condition, then each exclusion, with no, yes or unknown."""
    return [(item, STATES[bits >> 2 * index & 3]) for index, item in enumerate((*rule.conditions, *rule.exclusions))]


def missing_facts(rule: Rule, bits: int) -> list[str]:
    """The names of the facts of a `missing` mask."""
    return [fact.name for index, fact in enumerate(rule.facts) if bits >> index & 1]


def explain(
    rule: Rule, row: Mapping[str, int], facts: Facts, period: Period, subject: str = "", payment_day: int | None = None, event_day: int | None = None,
    language: Language = ENGLISH, sources: Mapping[str, Source] | None = None, members: Sequence[tuple[str, Facts, Mapping[str, Source]]] = (),
) -> Explanation:  # fmt: skip
    """The explanation of one row of `decide` (as a mapping) for the facts it was decided on; `members` are those of a household, with their facts."""
    said = _Saying(rule, row, facts, period, subject or language.tell("the person"), payment_day, event_day, language, sources or {}, members)
    decision = row["decision"]
    amount_minor = row["amount_minor"] if decision == GRANTED else 0
    missing = missing_facts(rule, row["missing"]) if decision == UNDETERMINED else []
    changes = remedies(rule, facts, period, payment_day, event_day) if decision == REFUSED else []
    by_name = {fact.name: fact for fact in rule.facts}
    return Explanation(
        benefit=rule.benefit,
        title=language.words(rule.title),
        rule=rule.hash,
        subject=said.subject,
        period=period.label,
        period_text=said.period_text,
        language=language.code,
        decision=DECISIONS[decision],
        amount_minor=amount_minor,
        amount=language.money(amount_minor, rule.currency),
        currency=rule.currency,
        headline=said.headline(),
        reasons=tuple(said.reason(item, state) for item, state in outcomes(rule, row["conditions"])),
        steps=tuple(said.step(step) for step in rule.steps),
        facts=tuple(said.fact(fact, facts.get(fact.name), said.sources.get(fact.name)) for fact in rule.facts),
        members=tuple(said.member(*member) for member in members),
        missing=tuple(missing),
        unknown=tuple(said.missing(by_name[name]) for name in missing),
        changes=tuple(said.change(remedy, by_name[remedy.fact]) for remedy in changes),
    )


@dataclass(frozen=True, slots=True)
class _Saying:
    """The parts of one explanation, said in one language."""

    rule: Rule
    row: Row
    facts: Facts
    period: Period
    subject: str
    payment_day: int | None
    event_day: int | None
    language: Language
    sources: Mapping[str, Source]
    members: Sequence[tuple[str, Facts, Mapping[str, Source]]]

    @property
    def period_text(self) -> str:
        if self.period.kind == "once":
            return self.language.tell("paid once")
        return self.language.period(self.period.kind, self.period.start, self.period.label)

    def title(self, name: str) -> str:
        return self.language.words(self.rule.titles.get(name, {})) or name.replace("_", " ")

    def choice(self, value: str) -> str:
        fact = next((fact for fact in self.rule.facts if value in fact.words), None)
        return choice_text(fact, value, self.language) if fact else value.replace("_", " ")

    def headline(self) -> str:
        benefit = self.language.words(self.rule.title) + ("" if self.period.kind == "once" else f", {self.period_text}")
        decision = self.row["decision"]
        if decision == REFUSED:
            return self.language.tell("{benefit}: refused for {subject}.", benefit=benefit, subject=self.subject)
        if decision == UNDETERMINED:
            return self.language.tell("{benefit}: undetermined for {subject}. Something that counts is not known.", benefit=benefit, subject=self.subject)
        amount = self.language.money(self.row["amount_minor"] or 0, self.rule.currency)
        told = self.language.tell("{benefit}: granted {amount} for {subject}.", benefit=benefit, amount=amount, subject=self.subject)
        nothing = self.language.tell("Every condition is met, and the calculation leaves nothing to pay.")
        return told if self.row["amount_minor"] else f"{told} {nothing}"

    def reason(self, item: Condition, state: str) -> Reason:
        excludes = item not in self.rule.conditions
        passed = None if state == "unknown" else (state == "yes") is not excludes
        kind, title = "exclusion" if excludes else "condition", self.language.words(item.title)
        text, law = self._sentence(item, state, title), self.rule.law[item.law].cite if item.law else ""
        return Reason(item.id, kind, title or item.id.replace("_", " "), state, passed, text, law)

    def _sentence(self, item: Condition, state: str, title: str) -> str:
        words = {"yes": item.held_words, "no": item.not_held_words}.get(state, {})
        if has_language(words, self.language.code):
            text = _filled(self.language.words(words), self._names())
            return capital(text) if self.subject == self.language.tell("the person") else text
        what = title or Phrases(self.language, self.title, self.choice).expression(item.text)
        outcome = {"yes": message("yes"), "no": message("no")}.get(state, message("not known"))
        return capital(f"{what}: {self.language.tell(outcome)}.")

    def _names(self) -> dict[str, str]:
        names = {"subject": self.subject, "period": self.period_text}
        for name in ("period.start", "period.end", "payment.date"):
            names[name] = self.language.day(self.rule.day(name, self.period, self.payment_day))
        for term in (*(item.term for item in (*self.rule.conditions, *self.rule.exclusions)), *(step.term for step in self.rule.steps)):
            names |= dict(used_values(self.rule, term, self.facts, self.row, self.period, self.event_day, self.language))
        names |= {fact.name: fact_text(self.rule, fact, assumed(self.rule, self.facts)[fact.name], self.language) for fact in self.rule.facts}
        return names | {step.id: self._value(step) for step in self.rule.steps}

    def _value(self, step: Step) -> str:
        return step_text(self.rule, step, self.row["step:" + step.id], step.denominator, self.language)

    def step(self, step: Step) -> Calculated:
        numerator = self.row["step:" + step.id]
        exact = None if numerator is None else str(Fraction(numerator, step.denominator))
        laws = dict(used_laws(self.rule, step.term, self.facts, self.period, self.event_day))
        used = used_values(self.rule, step.term, self.facts, self.row, self.period, self.event_day, self.language)
        keys = {name: ", ".join(f"{self.title(by)} {key}" for by, key in keyed) for name, keyed in picked_by(self.rule, step.term, self.facts, self.language)}
        figures = tuple(Figure(name, self.title(name), text, laws.get(name, ""), keys.get(name, "")) for name, text in used)
        phrases, law = Phrases(self.language, self.title, self.choice), step.law
        written = self.rule.written.get(step.id)
        text = phrases.step(written) if written is not None else step.text
        grid = self.rule.grids.get(step.id)
        if grid is not None and written is not None:
            numerators = {other.id: self.row["step:" + other.id] for other in self.rule.steps}
            held = grid.row({**assumed(self.rule, self.facts), **numerators})
            if held is not None:
                law = grid.laws[held]
                text = self.language.tell("{text}: row {number}, for {whom}", text=text, number=self.language.number(held + 1), whom=phrases.row(written, held))
        return Calculated(step.id, self.title(step.id), exact, self._value(step), text, figures, self.rule.law[law].cite if law else "")

    def member(self, member: str, facts: Facts, sources: Mapping[str, Source]) -> Member:
        read = self.rule.members.facts if self.rule.members is not None else ()
        return Member(member, tuple(self.fact(fact, facts.get(fact.name), sources.get(fact.name)) for fact in read))

    def fact(self, fact: RuleFact, given: int | bool | str | None, source: Source | None) -> UsedFact:
        taken = taken_as(fact, given)
        plain = day_date(int(taken)).isoformat() if fact.type == "date" and taken is not None else taken
        provisional = source is not None and source.status in PROVISIONAL and given is not None
        text = fact_text(self.rule, fact, taken, self.language)
        return UsedFact(fact.name, self.title(fact.name), fact.type, plain, text, taken is not None and given != taken, provisional, source)

    def missing(self, fact: RuleFact) -> Missing:
        source = self.sources.get(fact.name) or Source("", "")
        title = self.title(fact.name)
        if not source.event:
            why, text = "not_told", self.language.tell("{fact} is not known.", fact=title)
        elif source.disputed:
            why, text = "disputed", self.language.tell("{fact} is not known: the registry said two different things under one id.", fact=title)
        elif source.status not in fact.accept:
            why, text = "not_accepted", self.language.tell("{fact} is known only provisionally, and here it counts only when it is final.", fact=title)
        else:
            why, text = "not_usable", self.language.tell("{fact} is not known: what the registry told does not count here.", fact=title)
        if source.title:
            text += " " + self.language.tell("It can be told by: {registry}.", registry=source.title)
        for member, titles in self._unknown_of_members(fact):
            text += " " + self.language.tell("Not known of {member}: {facts}.", member=member, facts=self.language.listed(titles))
        return Missing(fact.name, title, why, source.registry, source.title, capital(text))

    def _unknown_of_members(self, fact: RuleFact) -> Iterator[tuple[str, list[str]]]:
        """Each member who alone leaves an aggregate unknown, with the titles of the facts that are not known of them."""
        if fact.aggregate is None or self.rule.members is None or not self.members:
            return
        alone = members_frame(self.rule, [[facts] for _, facts, _ in self.members])
        homes = pl.DataFrame({COUNT: [1] * len(self.members), "event_day": pl.Series([self.event_day] * len(self.members), dtype=pl.Int64)})
        made = with_aggregates(self.rule, homes, alone, self.period, self.payment_day).get_column(fact.name)
        terms = [term for term in (fact.aggregate.term, fact.aggregate.where) if term is not None]
        read = {str(leaf.value) for term in terms for leaf in leaves(term)}
        read |= {by for name in read if name in self.rule.parameters for by in self.rule.parameters[name].by}
        for (member, facts, _), value in zip(self.members, made, strict=True):
            unknown = [known.name for known in self.rule.members.facts if known.name in read and taken_as(known, facts.get(known.name)) is None]
            if value is None and unknown:
                yield member, [self.title(name) for name in unknown]

    def change(self, remedy: Remedy, fact: RuleFact) -> Change:
        value = fact_text(self.rule, fact, remedy.value, self.language)
        amount, title = self.language.money(remedy.amount_minor, self.rule.currency), self.title(fact.name)
        now = fact_text(self.rule, fact, assumed(self.rule, self.facts)[fact.name], self.language)
        text = self.language.tell("{fact}: {value} instead of {now}. Then {amount} would be granted.", fact=title, value=value, now=now, amount=amount)
        plain = day_date(int(remedy.value)).isoformat() if fact.type == "date" else remedy.value
        alone = fact.aggregate is None or sum(other.aggregate is not None for other in self.rule.facts) == 1
        if not alone:
            text = (
                self.language.tell("{fact}: {value} instead of {now}.", fact=title, value=value, now=now)
                + " "
                + self.language.tell("A member would have to be there, or be another; that may change more than this, so no amount is told.")
            )
        return Change(fact.name, title, plain, value, remedy.amount_minor if alone else None, capital(text))


def _filled(sentence: str, names: Mapping[str, str]) -> str:
    """A sentence of a document with the values of the names in its braces."""
    return "".join(before + ("" if name is None else names.get(name, name)) for before, name, _, _ in string.Formatter().parse(sentence))
