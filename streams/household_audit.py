"""The part of the audit that knows persons, households and businesses apart: who must be decided, and what households must have been told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from connectors.store import members, proof
from pipeline.decisions import ActiveRule
from pipeline.facts import Known, decode_history, encode_history
from pipeline.members import MARK, contributed, needs_of, own
from pipeline.rules import Rule

from .installation import Installation
from .log_ends import log_ends
from .topics import MEMBERS


def told_of_itself(history: bytes) -> bytes:
    """An encoded history without the copies of what was said of members, which is known where it was said; empty where nothing is left."""
    if MARK.encode() not in history:
        return history
    said = own(decode_history(history))
    return encode_history(said) if said else b""


def missing(rule: ActiveRule, known: Mapping[str, bytes], entitled: Set[str]) -> Iterator[str]:
    """The subjects of the rule's kind that have no decision."""
    for subject in known.keys() - entitled:
        if rule.decides(decode_history(known[subject])):
            yield f"{subject} has no decision for {rule.rule.benefit} {rule.period.label}"


def untold(installation: Installation, known: Mapping[str, bytes], rules: Iterable[Rule]) -> tuple[int, Sequence[str]]:
    """How many copies of members' events were looked at, and those that are missing or that nobody said; none are missing while some are on their way."""
    needs = needs_of(rules, installation.registries.catalogue)
    if needs is None:
        return 0, ()
    copies: dict[tuple[str, str], list[Known]] = {}
    checked, violations = 0, []
    for subject, encoded in known.items():
        if MARK.encode() not in encoded:
            continue
        for event in decode_history(encoded):
            registry, mark, member = event.registry.partition(MARK)
            if mark:
                checked += 1
                copies.setdefault((member, subject), []).append(_said(event, registry))
    for (member, household), events in copies.items():
        said = decode_history(known[member]) if member in known else ()
        violations += [f"{household} was told {event.registry}/{event.id} of {member}, which nobody said" for event in events if event not in said]
    if on_their_way(installation):
        return checked, violations
    for subject, encoded in known.items():
        for household, events in contributed(decode_history(encoded), needs).items():
            told = copies.get((subject, household), [])
            violations += [f"{household} was not told {event.registry}/{event.id} of {subject}" for event in events if event not in told]
    return checked, violations


def _said(event: Known, registry: str) -> Known:
    return Known(event.sequence, event.id, registry, event.type, event.time_ms, event.valid_from, event.valid_to, event.status, event.values, event.withdraws)


def on_their_way(installation: Installation) -> int:
    """How many shares of members wait to be published or taken."""
    count, ends = 0, log_ends(installation)
    for connection in installation.store.servers("payout audit"):
        count += members.count(connection)
        for (topic, shard), position in proof.positions(connection).items():
            if topic == MEMBERS:
                count += ends.get((topic, shard), 0) - position
    return count
