"""A policy team with keys, for tests: it submits, simulates, approves and activates rules in a story's installation."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

from story import LAW, Story

from connectors.keys import make_key
from connectors.registries import load_registries
from connectors.store.rule_log import read_log
from pipeline.facts import day
from pipeline.rules import Rule, load_rule
from pipeline.rules.approval import Refusal
from pipeline.rules.life import Logged, lives
from streams.rule_life import Outcome, RuleLife
from streams.settings import SHIPPED, Approvals, Person

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SIMULATION = "5" * 64


def unclaimed(path: Path) -> str:
    """A document without its claims, since proofs take time."""
    return re.sub(r"\nclaims:\n(  - .*\n)+", "\n", path.read_text(encoding="utf-8"))


def variant(limit: int, adult: int = 1_200) -> Rule:
    """The first Economic Impact Payment with another limit above which a case worker looks, and another amount for one adult.

    Where the amount is another one, the document's tests ask for the decision only.
    """
    text = unclaimed(LAW).replace("review_above: 20_000", f"review_above: {limit:_}")
    if adult != 1_200:
        text = text.replace("[1_200, 2_400, 1_200, 1_200]", f"[{adult:_}, 2_400, 1_200, 1_200]")
        text = re.sub(r"expect: \{decision: (\w+)[^}]*\}", r"expect: {decision: \1}", text)
    assert f"review_above: {limit:_}" in text
    assert f"[{adult:_}, 2_400" in text
    return load_rule(text, load_registries(SHIPPED / "registries").catalogue)


class Office:
    """A policy team with its keys, in an installation."""

    def __init__(self, story: Story, keys: Path) -> None:
        keys.mkdir(exist_ok=True)
        self.keys = {name: make_key(keys / f"{name}.pem") for name in ("Anna", "Bo", "Mallory")}
        people = (
            Person(name="Anna", roles=("legal", "finance"), key=self.keys["Anna"].public),
            Person(name="Bo", roles=("finance",), key=self.keys["Bo"].public),
            Person(name="Cleo"),
        )
        settings = story.installation.settings.model_copy(update={"approvals": Approvals(people=people), "rules": ()})
        story.installation = type(story.installation)(settings, story.installation.store, story.installation.registries)
        self.story, self.now = story, NOW

    def by(self, person: str) -> RuleLife:
        return RuleLife(self.story.installation, person, self.now)

    def submitted(self, rule: Rule) -> Rule:
        entry(self.by("Cleo").submit(rule))
        return rule

    def approved(self, rule: Rule) -> Rule:
        """Submitted, simulated and approved by two people in two roles."""
        self.submitted(rule)
        entry(self.by("Cleo").simulated(rule.hash, SIMULATION, cost_minor=rule.budget_minor))
        entry(self.by("Anna").approve(rule.hash, "legal", self.keys["Anna"]))
        entry(self.by("Bo").approve(rule.hash, "finance", self.keys["Bo"]))
        return rule

    def active(self, rule: Rule, **how: object) -> Rule:
        entry(self.by("Cleo").activate(self.approved(rule).hash, **how))  # type: ignore[arg-type]
        return rule

    def forget(self) -> None:
        """The lanes have read no rule yet, as in another process."""
        self.story.installation.rules.clear()

    @property
    def log(self) -> list[Logged]:
        return read_log(self.story.installation.store)

    def deciding(self, benefit: str = "us-eip1", today: date | None = None) -> list[str]:
        """The hashes of the rules that decide, the newest first."""
        return [layer.rule for layer in lives(self.log)[benefit].in_effect(day(today or NOW.date()))]


def entry(outcome: Outcome) -> Logged:
    assert isinstance(outcome, Logged), [str(refused) for refused in outcome]
    return outcome


def codes(outcome: Outcome) -> list[Refusal]:
    assert isinstance(outcome, list), outcome
    return [refused.code for refused in outcome]
