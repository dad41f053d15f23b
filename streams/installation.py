"""An installation opened for work: its store, its log, its registries and the rules in force, from the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from msgspec.structs import replace

from connectors.embedded_postgres import EmbeddedPostgres
from connectors.registries import load_registries
from connectors.rule_files import read_rule
from connectors.segment_log import create_topic
from connectors.store import proof
from connectors.store.rule_log import read_log
from connectors.store.rulebook import enlist
from connectors.store.servers import Store
from pipeline import budgets
from pipeline.accounts import AccountPolicy
from pipeline.decisions import ActiveRule
from pipeline.facts import day
from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries
from pipeline.rules import Period, Rule, load_rule, parse_period
from pipeline.rules.life import WHOLE, Life, lives
from pipeline.standing import Standing, layers_by_period, run_name

from .settings import Settings
from .topics import all_topics, lane_topics


@dataclass(frozen=True, slots=True)
class Installation:
    """What every command works with."""

    settings: Settings
    store: Store
    registries: Registries
    rules: dict[str, Rule] = field(default_factory=dict, repr=False, compare=False)
    """The rules that were read, by their text."""

    @property
    def log_directory(self) -> Path:
        """The segment log."""
        return self.settings.home / "log"

    @property
    def bank_directory(self) -> Path:
        """Files to and from the bank."""
        return self.settings.home / "bank"

    @property
    def topics(self) -> tuple[str, ...]:
        """What the lanes take."""
        return lane_topics(self.registries)

    @property
    def policy(self) -> AccountPolicy:
        """What the account registry allows."""
        return AccountPolicy()

    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset to take of every topic and shard."""
        return {key: offset for connection in self.store.servers("payout positions") for key, offset in proof.positions(connection).items()}

    def trusted(self) -> list[ActiveRule]:
        """The documents of the settings, which decide without approval; Malformed where they are not trusted, or two decide the same benefit and period."""
        rules: dict[int, ActiveRule] = {}
        if self.settings.rules and not self.settings.trust_rules:
            mend = "Submit, approve and activate them (payout rules submit). For development and demos: trust_rules = true."
            raise Malformed([Problem("rules", f"nobody has approved the documents {', '.join(map(str, self.settings.rules))}", mend)])
        for path in self.settings.rules:
            active = self._activate(path)
            if active.benefit_period_id in rules:
                what = f"{active.rule.benefit} {active.period.label} is decided by two documents"
                raise Malformed([Problem(str(path), what, "Name one document for each benefit and period in the setting `rules`.")])
            rules[active.benefit_period_id] = active
        return list(rules.values())

    def standing(self, today: date) -> list[Standing]:
        """What decides on a day: of each benefit and period the rules that the log left, and the documents that are trusted without it."""
        found = {active.benefit_period_id: Standing([(active, WHOLE)]) for active in self.trusted()}
        for benefit in {standing.rule.benefit for standing in found.values()}:
            budgets.assign([standing for standing in found.values() if standing.rule.benefit == benefit])
        for life in lives(read_log(self.store)).values():
            for standing in self.standing_of(life, day(today)):
                if standing.benefit_period_id in found:
                    what = f"{life.benefit} {standing.period.label} is decided by a trusted document and by an activated one"
                    raise Malformed([Problem("rules", what, "Leave the trusted document out of the setting `rules`.")])
                found[standing.benefit_period_id] = standing
        return list(found.values())

    def standing_of(self, life: Life, today: int, store: Store | None = None) -> list[Standing]:
        """What decides one benefit on a day, enlisted in the store, or in another one."""
        rules = {layer.rule: self.restored(life, layer.rule) for layer in life.in_effect(today)}
        found = [
            Standing(
                [(activate(store or self.store, rules[layer.rule], period, self.registries), layer.share) for layer in layers],
                run=run_name(layers),
                suspended=life.suspended,
            )
            for period, layers in layers_by_period(life, rules, today).items()
        ]
        budgets.assign(found, life)
        return found

    def restored(self, life: Life, rule_hash: str) -> Rule:
        """A rule restored from the log; Malformed where its text is not the document that was submitted, or cannot be read any more."""
        place = f"rule log: {life.benefit} {rule_hash[:12]}"
        try:
            found = self.rule(life.documents[rule_hash].text)
        except Malformed as malformed:
            raise Malformed([replace(problem, place=f"{place}: {problem.place}") for problem in malformed.problems]) from None
        if found.hash != rule_hash:
            raise Malformed([Problem(place, f"its text gives the hash {found.hash[:12]}: it is not the document that was submitted")])
        return found

    def rule(self, text: str) -> Rule:
        """The rule of a document, which is read once."""
        found = self.rules.get(text)
        if found is None:
            found = self.rules[text] = load_rule(text, self.registries.catalogue)
        return found

    def standing_rules(self, other: Store, today: date) -> list[Standing]:
        """What has decided here, enlisted in another store: what a replay must decide by."""
        documents: dict[tuple[str, str], str] = {}
        for connection in self.store.servers("payout rules"):
            documents.update(proof.standing_documents(connection))
        found = [standing for life in lives(read_log(self.store)).values() for standing in self.standing_of(life, day(today), other)]
        logged = {(standing.rule.benefit, standing.period.label) for standing in found}
        found += [
            Standing([(activate(other, self.rule(document), parse_period(period), self.registries), WHOLE)])
            for (benefit, period), document in documents.items()
            if (benefit, period) not in logged
        ]
        return found

    def _activate(self, path: Path) -> ActiveRule:
        file, _, label = str(path).partition("@")
        rule, period = read_rule(Path(file), self.registries), parse_period(label or "once")
        if period.kind != rule.period_kind:
            raise Malformed(
                [Problem(str(path), f"{rule.benefit} is decided per {rule.period_kind}", f"Name the period after the path: {file}@2022-Q1 or {file}@2022.")]
            )
        return activate(self.store, rule, period, self.registries)


def activate(store: Store, rule: Rule, period: Period, registries: Registries) -> ActiveRule:
    """A rule that decides for a period, known to the store."""
    numbers = enlist(store, rule_hash=rule.hash, benefit=rule.benefit, document=rule.text, period=period.label, currency=rule.currency)
    return ActiveRule(rule, period, registries.catalogue, rule_id=numbers.rule_id, benefit_period_id=numbers.benefit_period_id)


@contextmanager
def opened(settings: Settings, *, provision: bool = True) -> Iterator[Installation]:
    """The installation of the settings; an embedded one is started, and provisioned the first time."""
    with ExitStack() as stack:
        registries = load_registries(settings.registries)
        urls = [url.get_secret_value() for url in settings.store_urls]
        if not urls:
            settings.home.mkdir(parents=True, exist_ok=True)
            urls = [stack.enter_context(EmbeddedPostgres(settings.home / "store")).url]
        store = Store.provision(urls, settings.shards) if provision and not settings.store_urls else Store.open(urls)
        for topic in all_topics(registries) if not settings.kafka.servers else ():
            create_topic(settings.home / "log", topic, store.shards)
        yield Installation(settings, store, registries)
