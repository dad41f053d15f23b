"""`payout audit`: the proof that nobody was missed and nobody paid twice, one line per invariant, over store, log and bank journal."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from connectors.sandbox_bank import read_journal
from connectors.store import budgets, proof
from pipeline.budgets import budget_year
from pipeline.decisions import ActiveRule, Outcome
from pipeline.facts import History, decode_history
from pipeline.orders import State, end_to_end_id, fingerprint, order_id
from pipeline.rules import parse_period
from pipeline.rules.life import WHOLE, place_in_share

from .household_audit import missing, told_of_itself, untold
from .installation import Installation
from .log_ends import log_ends

EXAMPLES = 5
_T = TypeVar("_T")


class Check(msgspec.Struct):
    """One invariant as it stands: `checked` things looked at, `violations` among them with some `examples`."""

    id: str
    name: str
    ok: bool
    checked: int
    violations: int
    examples: list[str]


class Digest(msgspec.Struct, frozen=True):
    """What is known and what is owed, each in 32 bytes that depend on nothing else: no order, shard, restart or clock."""

    facts: str
    owed: str


class Audit(msgspec.Struct):
    """The whole proof."""

    ok: bool
    checks: list[Check]
    digest: Digest


def audit(installation: Installation, *, journal: Path | None = None, replay: bool = False, progress: Callable[[str], None] = lambda name: None) -> Audit:
    """Examines everything, read-only; `replay` also replays the input log into an empty store of another shape."""
    from .replay import check_beginning, replayed

    if replay:
        check_beginning(installation)  # before everything else is looked at
    with ThreadPoolExecutor(1) as beside:
        # The servers examine their rows while this process decides everybody again.
        examined = [beside.submit(_examined, installation, invariant) for invariant in proof.INVARIANTS]
        progress("the log reaches the positions")
        log = _log(installation)
        progress("order identities")
        identities = _identities(installation)
        progress("decisions repeated")
        decided, digest = _decided(installation)
        checks = []
        for invariant, check in zip(proof.INVARIANTS, examined, strict=True):
            progress(invariant.name)
            checks.append(check.result())
        checks += [log, identities, *decided]
    if journal is not None:
        progress("bank journal")
        checks.append(_bank(installation, journal))
    if replay:
        progress("replay")
        again = replayed(installation)
        violations = [
            f"{name}: {ours} here, {theirs} replayed"
            for name, ours, theirs in (("facts", digest.facts, again.facts), ("owed", digest.owed, again.owed))
            if ours != theirs
        ]
        checks.append(_check("replay", "the input log replayed with other shards and in another order gives the same facts and the same owed", 2, violations))
    return Audit(all(check.ok for check in checks), checks, digest)


def _check(identity: str, name: str, checked: int, violations: Iterable[str]) -> Check:
    listed = list(violations)
    return Check(identity, name, not listed, checked, len(listed), listed[:EXAMPLES])


def _examined(installation: Installation, invariant: proof.Invariant) -> Check:
    checked = violations = 0
    examples: list[str] = []
    for connection in installation.store.servers("payout audit"):
        about, broken, some = proof.examine(connection, invariant, EXAMPLES)
        checked, violations, examples = checked + about, violations + broken, examples + some
    return Check(invariant.id, invariant.name, violations == 0, checked, violations, examples[:EXAMPLES])


def _log(installation: Installation) -> Check:
    checked, violations, ends = 0, [], log_ends(installation)
    for connection in installation.store.servers("payout audit"):
        for (topic, shard), position in sorted(proof.positions(connection).items()):
            checked += 1
            end = ends.get((topic, shard), 0)
            if position > end:
                violations.append(f"{topic} shard {shard}: position {position} lies beyond the log's end {end}; records are missing from the log")
    return _check("log", "the log holds every record up to the positions", checked, violations)


def _identities(installation: Installation) -> Check:
    checked, violations = 0, []
    for connection in installation.store.servers("payout audit"):
        for identity, print_, benefit, subject, period, sequence, kind, amount_minor, currency, _, _ in proof.order_keys(connection):
            checked += 1
            if identity != order_id(benefit, subject, period, sequence) or print_ != fingerprint(kind, amount_minor, currency):
                violations.append(f"{subject} {benefit} {period} order {sequence}: its id or fingerprint is not that of its content")
    return _check("identity", "every order's id and fingerprint follow from its key and content", checked, violations)


def _decided(installation: Installation) -> tuple[list[Check], Digest]:
    """Decides everybody again from the facts and the stored documents, and sums the digests on the way."""
    gc.disable()  # a nation of rows makes no cycles, and looking for them costs a fifth of the time
    try:
        return _decided_anew(installation)
    finally:
        gc.enable()


def _decided_anew(installation: Installation) -> tuple[list[Check], Digest]:
    facts, owed, checked = Sum(), Sum(), 0
    everybody: dict[str, bytes] = {}
    rules: dict[tuple[int, str], ActiveRule] = {}
    violations: list[str] = []
    missed: list[str] = []
    limited: set[tuple[str, str]] = set()
    for connection in installation.store.servers("payout audit"):
        known: dict[str, bytes] = {}
        for subject, history in proof.histories(connection):
            known[subject] = history
            told = told_of_itself(history)
            if told:
                facts.add(subject.encode() + b"\x1f" + told)
        everybody.update(known)
        by_rule: dict[tuple[int, str], list[Outcome]] = {}
        entitled: dict[tuple[str, str], set[str]] = {}
        for subject, benefit, period, currency, decision, owed_minor, rule_id, receipt in proof.levels(connection):
            checked += 1
            owed.add(f"{benefit}\x1f{subject}\x1f{period}\x1f{decision}\x1f{owed_minor}\x1f{currency}".encode())
            by_rule.setdefault((rule_id, period), []).append((subject, decision, owed_minor, receipt))
            entitled.setdefault((benefit, period), set()).add(subject)
        standing = proof.standing(connection)
        rules.update(_rules(installation, proof.documents(connection), {*by_rule, *((rule_id, period) for _, period, rule_id, _ in standing)} - rules.keys()))
        for benefit, period, rule_id, share in standing:
            decided = known if share == WHOLE else {subject: known[subject] for subject in known if place_in_share(benefit, subject) < share}
            active = rules[rule_id, period]
            missed += missing(active, decided, entitled.get((benefit, period), set()))
            year = budget_year(active.rule, active.period)
            limited |= {(benefit, year)} if year is not None else set()
        for rule, levels in by_rule.items():
            violations += _otherwise_decided(rules[rule], levels, known)
    told_of_members = untold(installation, everybody, [active.rule for active in rules.values()])
    return [
        _check("complete", "every known person, household or business is granted, refused or undetermined for every active benefit", len(everybody), missed),
        _check("members", "every household has been told what was said of its members, and nothing else", *told_of_members),
        _check("decided", "deciding everybody again from the facts gives what is kept", checked, violations),
        _check("budgets", "no budget is passed, and what waits for one waits for a reason", *budgets.unlawful(installation.store, limited)),
    ], Digest(facts.hex(), owed.hex())


def _rules(installation: Installation, documents: Mapping[int, str], wanted: Iterable[tuple[int, str]]) -> dict[tuple[int, str], ActiveRule]:
    catalogue = installation.registries.catalogue
    return {(rule_id, period): ActiveRule(installation.rule(documents[rule_id]), parse_period(period), catalogue) for rule_id, period in wanted}


def _otherwise_decided(active: ActiveRule, levels: Sequence[Outcome], known: Mapping[str, bytes]) -> Iterator[str]:
    """The entitlements that deciding again would not give."""
    for chunk in _chunks(levels, 20_000):
        asked: list[tuple[str, History]] = [(outcome[0], decode_history(known[outcome[0]])) for outcome in chunk if outcome[0] in known]
        again = {outcome[0]: outcome for outcome in active.decide(asked)}
        yield from (_otherwise(kept, again.get(kept[0])) for kept in chunk if again.get(kept[0]) != kept)


def _otherwise(kept: Outcome, again: Outcome | None) -> str:
    if again is None:
        return f"{kept[0]}: an entitlement without facts"
    what = "for other reasons" if again[:3] == kept[:3] else f"decided {again[1]} with {again[2]} minor units now"
    return f"{kept[0]}: kept as decision {kept[1]} with {kept[2]} minor units, {what}"


def digest_of(installation: Installation) -> Digest:
    """What is known and owed in an installation."""
    return _decided(installation)[1]


def _bank(installation: Installation, journal: Path) -> Check:
    executed: dict[str, tuple[int, str]] = {}
    violations: list[str] = []
    for entry in read_journal(journal):
        if entry.outcome != "executed":
            continue
        if entry.end_to_end_id in executed:
            violations.append(f"{entry.end_to_end_id} was executed twice at the bank")
        executed[entry.end_to_end_id] = (entry.amount_minor, entry.currency)
    checked = len(executed)
    unseen = dict(executed)
    for connection in installation.store.servers("payout audit"):
        for identity, _, _, subject, _, sequence, _, amount_minor, currency, state, attempt in proof.order_keys(connection):
            name = end_to_end_id(identity, attempt)
            paid = unseen.pop(name, None)
            if paid is not None and paid != (amount_minor, currency):
                violations.append(f"{name}: the bank executed {paid}, the order is {(amount_minor, currency)}")
            if paid is None and state in (State.SETTLED, State.RETURNED):
                violations.append(f"{name}: order {sequence} of {subject} is {State(state).name.lower()}, the bank never executed it")
            if paid is not None and state in (State.HELD, State.CANCELLED, State.REJECTED):
                violations.append(f"{name}: the bank executed it, order {sequence} of {subject} is {State(state).name.lower()}")
    violations += [f"{name}: the bank executed an order that is not known here" for name in unseen]
    return _check("bank", "no order was executed twice at the bank, and every executed one is known here and the reverse", checked, violations)


class Sum:
    """A digest of a set: the sum of its members' SHA-256 modulo 2^256, so that no order is needed."""

    def __init__(self) -> None:
        self._total = 0

    def add(self, member: bytes) -> None:
        """Adds a member."""
        self._total += int.from_bytes(hashlib.sha256(member).digest(), "big")

    def hex(self) -> str:
        """The digest in hexadecimal."""
        return f"{self._total % 2**256:064x}"


def _chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
