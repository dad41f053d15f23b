"""Which rule decides whom now: of each benefit and period the standing rules, from the layers that the log of rules left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .facts import FIRST_DAY, History, Known
from .rules import ONCE, Period, Rule, parse_period
from .rules.life import WHOLE, Layer, Life, place_in_share
from .rules.periods import period_with

if TYPE_CHECKING:
    from .budgets import Budget
    from .decisions import ActiveRule


class Standing:
    """The rules that decide one benefit and period: the newest for its share of the subjects, the older ones for the rest.

    `run` names the layers: when it changes, everybody already known is decided again. While `suspended` nothing is released; of a `budget` no
    more than its limit is.
    """

    budget: Budget | None = None

    def __init__(self, layers: Sequence[tuple[ActiveRule, int]], *, run: str = "", suspended: bool = False) -> None:
        self.layers, self.run, self.suspended = tuple(layers), run, suspended
        self.newest = self.layers[0][0]
        self.benefit_period_id = self.newest.benefit_period_id
        self.share = max(share for _, share in self.layers)
        self._alone = self.newest if self.layers[0][1] == WHOLE else None
        self.rules = {active.rule_id: active for active, _ in self.layers}

    @property
    def rule(self) -> Rule:
        """The newest rule."""
        return self.newest.rule

    @property
    def period(self) -> Period:
        """The period that is decided."""
        return self.newest.period

    def rule_of(self, subject: str) -> ActiveRule | None:
        """The rule that decides a subject; None where no rule is active for them yet."""
        if self._alone is not None:
            return self._alone
        place = place_in_share(self.newest.rule.benefit, subject)
        return next((active for active, share in self.layers if place < share), None)

    def split(self, subjects: Sequence[str]) -> list[tuple[ActiveRule, Sequence[str]]]:
        """The subjects by the rule that decides them, in their order; who is decided by none is left out."""
        if self._alone is not None:
            return [(self._alone, subjects)]
        found: dict[int, list[str]] = {}
        for subject in subjects:
            rule = self.rule_of(subject)
            if rule is not None:
                found.setdefault(rule.rule_id, []).append(subject)
        return [(self.rules[rule_id], asked) for rule_id, asked in found.items()]

    def is_asked(self, subject: str, before: History, after: History, fresh: Sequence[Known]) -> bool:
        """Whether new events can change what is decided of a subject."""
        rule = self.rule_of(subject)
        return rule is not None and rule.is_asked(before, after, fresh)


def layers_by_period(life: Life, rules: Mapping[str, Rule], today: int) -> dict[Period, tuple[Layer, ...]]:
    """For each period that is open on a day the layers that decide it, the newest first, down to the first that decides everybody."""
    found: dict[Period, list[Layer]] = {}
    for layer in life.in_effect(today):
        for period in periods_of(layer, rules[layer.rule], today if life.retired_from is None else min(today, life.retired_from - 1)):
            above = found.setdefault(period, [])
            if not above or max(other.share for other in above) < layer.share:
                above.append(layer)
    return {period: tuple(layers) for period, layers in sorted(found.items(), key=lambda entry: (entry[0].start, entry[0].label))}


def run_name(layers: Sequence[Layer]) -> str:
    """The name of the activation run that brings everybody under these layers."""
    return " ".join(f"{layer.number}:{layer.share}" for layer in layers)


def periods_of(layer: Layer, rule: Rule, until: int) -> Iterator[Period]:
    """The periods of a layer that have begun by a day and for which the rule can decide."""
    period = parse_period(layer.first)
    last = parse_period(layer.last).start if layer.last else until
    while period.start <= min(last, until):
        if decides(rule, period):
            yield period
        if period == ONCE:
            return
        period = period_at(rule.period_kind, period.end + 1)


def decides(rule: Rule, period: Period) -> bool:
    """Whether the rule is in force for a period."""
    try:
        rule.segment(rule.day("period.start", period))
        if rule.parameters_at != "event.date":
            rule.segment(rule.day(rule.parameters_at, period))
    except ValueError:
        return False
    return True


def period_at(kind: str, on: int) -> Period:
    """The period of a kind in which a day lies."""
    return ONCE if on == FIRST_DAY else period_with(kind, on)
