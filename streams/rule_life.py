"""The life of rules as a policy team moves it: each step is judged by the log as it stands, and then appended or refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

from msgspec import UNSET

from connectors.keys import Key
from connectors.store.rule_log import RuleLog, currencies, writing
from pipeline.facts import day
from pipeline.rules import Rule, run_tests
from pipeline.rules.approval import (
    Refusal,
    Refused,
    approval_bytes,
    authorship_bytes,
    budget_bytes,
    find,
    judge_approval,
    judge_approvals,
    judge_author,
    judge_budget,
    judge_cost,
)
from pipeline.rules.life import (
    WHOLE,
    Activated,
    Approved,
    BudgetSet,
    Document,
    Entry,
    Layer,
    Life,
    Logged,
    Resumed,
    Retired,
    RolledBack,
    Simulated,
    Submitted,
    Suspended,
    after,
    lives,
)
from pipeline.standing import layers_by_period, period_at, periods_of

from .installation import Installation

Outcome = Logged | list[Refused]
"""The entry that was appended, or why nothing was."""

Named = str | Rule
"""A document by the beginning of its hash, or as it is in a file now."""


class RuleLife:
    """The steps of a rule's life in an installation, made by one person at one instant."""

    def __init__(self, installation: Installation, person: str, now: datetime) -> None:
        self._installation, self._person, self._now = installation, person, now
        self._people = installation.settings.approvals.by_name()
        self._today = day(now.date())

    # A document on its way.

    def submit(self, rule: Rule, key: Key | None = None) -> Outcome:
        """Hands a document in; it is kept in the log whole. The same document again changes nothing and gives its first entry."""
        untested = untested_by_itself(rule)
        if untested:
            return untested
        public, signature = (key.public, key.sign(authorship_bytes(rule.benefit, rule.hash, self._person))) if key else ("", "")
        refused = judge_author(self._person, self._people, rule.benefit, rule.hash, public, signature)
        if refused:
            return refused
        with writing(self._installation.store) as log:
            known = next((entry for entry in log.entries if isinstance(entry.entry, Submitted) and entry.entry.rule == rule.hash), None)
            return known or self._append(log, Submitted(rule.benefit, rule.hash, rule.text, public, signature))

    def simulated(self, named: Named, simulation: str, against: str = "", candidate: str = "", cost_minor: int | None = None) -> Outcome:
        """Records the result of a what-if of `candidate` by its hash, with what it costs against its budget; approvals sign the hash.

        The same result again changes nothing.
        """
        with writing(self._installation.store) as log:
            found = _found(log, named)
            if isinstance(found, Refused):
                return [found]
            life, document = found
            if candidate not in ("", document.rule):
                return [Refused(Refusal.OTHER_SIMULATION, f"It is of the document {candidate[:12]}, not of {document.rule[:12]}.")]
            if document.simulation == simulation:
                return next(logged for logged in reversed(log.entries) if isinstance(logged.entry, Simulated) and logged.entry.rule == document.rule)
            return self._append(log, Simulated(life.benefit, document.rule, simulation, against, UNSET if cost_minor is None else cost_minor))

    def approve(self, named: Named, role: str, key: Key, valid_days: int | None = None) -> Outcome:
        """Approves a document with its last simulation, in a role, by a signature that is good for some days."""
        with writing(self._installation.store) as log:
            found = _found(log, named)
        if isinstance(found, Refused):
            return [found]
        life, document = found
        rule = self._installation.restored(life, document.rule)
        unready = unready_to_approve(rule)  # takes seconds where claims are proved, so nobody waits for the log meanwhile
        expires = self._today + (valid_days or self._installation.settings.approvals.valid_days)
        signed = approval_bytes(life.benefit, document.rule, document.simulation, role, self._person, expires)
        approval = Approved(life.benefit, document.rule, document.simulation, role, expires, key.public, key.sign(signed))
        with writing(self._installation.store) as log:
            stands = lives(log.entries)[life.benefit].documents[document.rule]
            refused = [*unready, *judge_approval(stands, rule, self._logged(log, approval), self._people, self._today)]
            return refused or self._append(log, approval)

    # What decides.

    def activate(self, named: Named, *, at: date | None = None, share: int = WHOLE, first: str = "", last: str | None = None) -> Outcome:
        """Lets an approved document decide from a day on, for a share of the subjects in basis points, for some periods.

        Where no period is named, a benefit per month, quarter or year is decided from the period of that day on.
        """
        from_day = self._today if at is None else day(at)
        with writing(self._installation.store) as log:
            found = _found(log, named)
            if isinstance(found, Refused):
                return [found]
            life, document = found
            rule = self._installation.restored(life, document.rule)
            begin = first or period_at(rule.period_kind, from_day).label
            entry = Activated(life.benefit, document.rule, from_day, share, begin, _last(begin, first, last))
            return self._judged(life, document, rule, entry) or self._append(log, entry)

    def _judged(self, life: Life, document: Document, rule: Rule, entry: Activated) -> list[Refused]:
        """Why a document cannot be activated so."""
        settings = self._installation.settings.approvals
        refused = [*untested_by_itself(rule), *judge_approvals(document, rule, self._people, settings.need, self._today), *judge_cost(document, rule)]
        layer = Layer(entry.rule, 0, entry.from_day, entry.share, entry.first, entry.last)
        ahead = max(self._today, entry.from_day, rule.in_force[0] if entry.last == "" else 0) + 366
        if not any(True for _ in periods_of(layer, rule, ahead)):
            refused.append(Refused(Refusal.NO_PERIOD, f"Asked for: {entry.first} to {entry.last or 'further notice'}."))
        ordered = currencies(self._installation.store, life.benefit) - {rule.currency}
        if ordered:
            refused.append(Refused(Refusal.CURRENCY_DIFFERS, f"{', '.join(sorted(ordered))} before, {rule.currency} now."))
        for standing in life.layers if life.retired_from is None else ():
            same = (standing.rule, standing.first, standing.last) == (entry.rule, entry.first, entry.last)
            if same and standing.share > entry.share:
                refused.append(Refused(Refusal.SHARE_SHRINKS, f"{standing.share / 100:g} % already."))
            elif same and standing.share == entry.share and standing.from_day <= entry.from_day and standing.rule == life.layers[-1].rule:
                refused.append(Refused(Refusal.ALREADY_ACTIVE))
        return list(dict.fromkeys(refused))

    def suspend(self, benefit: str, why: str = "") -> Outcome:
        """Goes on deciding and lets nothing leave."""
        with writing(self._installation.store) as log:
            life = self._active(log, benefit)
            if life is None:
                return [Refused(Refusal.NOT_ACTIVE, benefit)]
            return [Refused(Refusal.ALREADY_SUSPENDED, benefit)] if life.suspended else self._append(log, Suspended(benefit, why))

    def resume(self, benefit: str) -> Outcome:
        """Lets leave what was suspended."""
        with writing(self._installation.store) as log:
            life = self._active(log, benefit)
            return self._append(log, Resumed(benefit)) if life is not None and life.suspended else [Refused(Refusal.NOT_SUSPENDED, benefit)]

    def set_budget(self, benefit: str, amount: int | Callable[[str], int], why: str, role: str, key: Key, year: str | None = None) -> Outcome:
        """Sets what may be spent on a benefit, in a year or in all, until a document says another budget; what was held for it is looked at again.

        The amount is in minor units, or what gives them for the benefit's currency.
        """
        with writing(self._installation.store) as log:
            life = self._active(log, benefit)
            if life is None:
                return [Refused(Refusal.NOT_ACTIVE, benefit)]
            document = life.documents[life.newest(self._today) or life.layers[-1].rule]
            rule = self._installation.restored(life, document.rule)
            if rule.limits.budget is None:
                return [Refused(Refusal.NO_BUDGET, f"{benefit} {document.rule[:12]}.")]
            of = "" if rule.limits.budget.per == "once" else year or f"{self._now.year:04}"
            if year not in (None, of):
                return [Refused(Refusal.NO_BUDGET, f"{benefit} {document.rule[:12]} has one budget for all years; leave the year out.")]
            amount_minor = amount if isinstance(amount, int) else amount(rule.currency)
            said = budget_bytes(benefit, of, amount_minor, rule.currency, why, role, self._person)
            entry = BudgetSet(benefit, of, amount_minor, rule.currency, why, role, key.public, key.sign(said))
            need = self._installation.settings.approvals.need
            return judge_budget(document, rule, entry, self._person, self._people, need) or self._append(log, entry)

    def rollback(self, benefit: str, to: str = "") -> Outcome:
        """Brings back the layers as they stood when an older rule was activated; what was only scheduled is void."""
        with writing(self._installation.store) as log:
            life = self._active(log, benefit)
            if life is None:
                return [Refused(Refusal.NOT_ACTIVE, benefit)]
            target = self._target(life, to)
            if isinstance(target, Refused):
                return [target]
            entry = RolledBack(benefit, target.rule, target.number, self._today)
            less = self._covers_less(life, after(life, self._logged(log, entry)))
            return [Refused(Refusal.OLDER_COVERS_LESS, less)] if less else self._append(log, entry)

    def _target(self, life: Life, to: str) -> Layer | Refused:
        """The layer to go back to."""
        if not to:
            return life.older(self._today) or Refused(Refusal.NOTHING_OLDER, life.benefit)
        named = find({life.benefit: life}, to)
        if named is None:
            return Refused(Refusal.NOT_SUBMITTED, to)
        if named[1].rule == life.newest(self._today):
            return Refused(Refusal.ALREADY_ACTIVE, to)
        return life.held_at(named[1].rule, self._today) or Refused(Refusal.NEVER_ACTIVE, to)

    def _covers_less(self, before: Life, then: Life) -> str:
        """The periods for which fewer people would be decided than now."""
        rules = {layer.rule: self._installation.restored(life, layer.rule) for life in (before, then) for layer in life.in_effect(self._today)}
        now, later = (layers_by_period(life, rules, self._today) for life in (before, then))
        less = [period.label for period, layers in now.items() if _share(layers) > _share(later.get(period, ()))]
        return f"Periods: {', '.join(less)}." if less else ""

    def retire(self, benefit: str) -> Outcome:
        """Opens no further period; those that are open go on being corrected."""
        with writing(self._installation.store) as log:
            life = self._active(log, benefit)
            if life is None:
                return [Refused(Refusal.NOT_ACTIVE, benefit)]
            return [Refused(Refusal.ALREADY_RETIRED, benefit)] if life.retired_from is not None else self._append(log, Retired(benefit, self._today + 1))

    @staticmethod
    def _active(log: RuleLog, benefit: str) -> Life | None:
        life = lives(log.entries).get(benefit)
        return life if life is not None and life.layers else None

    def _logged(self, log: RuleLog, entry: Entry) -> Logged:
        return Logged(len(log.entries) + 1, int(self._now.timestamp() * 1000), self._person, entry)

    def _append(self, log: RuleLog, entry: Entry) -> Logged:
        return log.append(entry, self._person, int(self._now.timestamp() * 1000))


def untested_by_itself(rule: Rule) -> list[Refused]:
    """Why the document's own tests do not carry it."""
    failed = [str(result) for result in run_tests(rule) if not result.passed]
    if rule.tests and not failed:
        return []
    return [Refused(Refusal.OWN_TESTS_FAIL, "; ".join(failed) or "It has no tests.")]


def unready_to_approve(rule: Rule) -> list[Refused]:
    """Why nobody can approve the document yet, whoever they are: its tests, the branches that they reach, and its claims."""
    from pipeline.rules.coverage import branch_coverage
    from pipeline.rules.proof import PROVED, claims_hold

    refused = untested_by_itself(rule)
    coverage = branch_coverage(rule)
    if not coverage.full:
        named = "; ".join(f"{unreached.path}: {unreached.text}" for unreached in coverage.missing[:3])
        unknown = f". {coverage.unproved}" if coverage.unproved else ""
        refused.append(Refused(Refusal.BRANCHES_UNTESTED, f"{coverage.percent} % are reached. {len(coverage.missing)} are not: {named}{unknown}"))
    unproved = [f"{finding.place} ({finding.text}): {finding.message or finding.outcome}" for finding in claims_hold(rule) if finding.outcome != PROVED]
    return [*refused, *([Refused(Refusal.CLAIMS_UNPROVED, "; ".join(unproved))] if unproved else [])]


def _found(log: RuleLog, named: Named) -> tuple[Life, Document] | Refused:
    """The submitted document; a file that says something else than what was submitted is told apart from one that never was."""
    known = lives(log.entries)
    found = find(known, named if isinstance(named, str) else named.hash)
    if found is not None:
        return found
    if isinstance(named, Rule) and named.benefit in known:
        return Refused(
            Refusal.DOCUMENT_CHANGED, f"The file's hash is {named.hash[:12]}; submitted are {', '.join(rule[:12] for rule in known[named.benefit].documents)}."
        )
    return Refused(Refusal.NOT_SUBMITTED, named if isinstance(named, str) else named.hash[:12])


def _last(begin: str, first: str, last: str | None) -> str:
    """The last period: the one named, else that of a single named period, else none."""
    if last is not None:
        return last
    return begin if first or begin == "once" else ""


def _share(layers: tuple[Layer, ...]) -> int:
    return max((layer.share for layer in layers), default=0)
