"""What the members of a household contribute to it: copies of what the registries said of them, kept in the household's own history.

A copy is the event itself under the registry's name and the member's, ``residency@p-17``, so that a household's history is a set of events
like every other: joined in any order, any number of times, disputed and withdrawn as the event itself is. What a member contributes follows
from their history alone and only grows, so nothing depends on the order in which changes reach a household.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from .accounts import ASSIGNMENT
from .facts import History, Known, Question, Reader
from .problems import Malformed, Problem
from .registry import FactSpec
from .rules import Rule

MARK = "@"
"""Between a registry and a member; no registry's name has it."""

HOUSEHOLD, ROLE, HEAD = "residency.household", "residency.role", "head"


class Needs(msgspec.Struct, frozen=True):
    """What household rules need to hear of their members: the facts that name a household, the registries, and whether heads are paid."""

    homes: tuple[str, ...]
    registries: tuple[str, ...]
    pays_heads: bool

    @property
    def name(self) -> str:
        """The needs as text, the same for the same needs."""
        return " ".join((*self.homes, *self.registries, "heads" if self.pays_heads else ""))


def needs_of(rules: Iterable[Rule], catalogue: Mapping[str, FactSpec]) -> Needs | None:
    """What these rules together need of members; None where no rule looks at any."""
    homes: set[str] = set()
    registries: set[str] = set()
    pays_heads = False
    for rule in rules:
        if rule.members is not None:
            homes.add(rule.members.of)
            registries |= {catalogue[name].registry for name in (rule.members.of, *(fact.source for fact in rule.members.facts))}
        if rule.decides_for == "household" and "household.head" in rule.payment.to:
            pays_heads = True
            homes.add(rule.members.of if rule.members is not None else HOUSEHOLD)
            registries |= {catalogue[name].registry for name in (*homes, ROLE)}
    return Needs(tuple(sorted(homes)), tuple(sorted(registries)), pays_heads) if homes else None


class Share(msgspec.Struct, frozen=True, tag_field="is", tag="event"):
    """A message from a member's shard to a household's: an event of the member that the household has not been told before."""

    household: str
    member: str
    event: Known


class ToldAll(msgspec.Struct, frozen=True, tag_field="is", tag="told_all"):
    """A message from one shard to each: everybody whom it knew has told their households what these needs ask for."""

    needs: str
    shard: int


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Share | ToldAll)


def encode_share(share: Share | ToldAll) -> bytes:
    """A share, or the word that there are no more, as a message."""
    return _ENCODER.encode(share)


def decode_share(raw: bytes) -> Share | ToldAll:
    """The share of a message, or the word that there are no more; Malformed where it is neither."""
    try:
        share: Share | ToldAll = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed([Problem("", f"this is no share of a member: {error}", "Only lanes write to this topic.")]) from None
    if isinstance(share, ToldAll):
        return share
    if not share.household or not share.member or MARK in share.event.registry:
        raise Malformed([Problem("event", "a share holds a member's own event, for a household that is named", "Only lanes write to this topic.")])
    return share


def copy_of(share: Share) -> Known:
    """The event as the household's history keeps it."""
    return msgspec.structs.replace(share.event, registry=f"{share.event.registry}{MARK}{share.member}")


def contributed(history: History, needs: Needs) -> dict[str, list[Known]]:
    """What a person with this history contributes, by household: every household that any of their events ever named."""
    history = own(history)
    homes: dict[str, None] = {}
    headed: set[str] = set()
    head_somewhere = False
    for event in history:
        named = [str(event.values[home]) for home in needs.homes if home in event.values]
        homes.update(dict.fromkeys(named))
        if event.values.get(ROLE) == HEAD:
            headed.update(named)
            head_somewhere = head_somewhere or not named
    if not homes:
        return {}
    told = [event for event in history if event.registry in needs.registries]
    if not needs.pays_heads or not (headed or head_somewhere):
        return dict.fromkeys(homes, told)
    registries = {*needs.registries, *(event.registry for event in history if event.type == ASSIGNMENT)}
    with_accounts = [event for event in history if event.registry in registries]
    return {home: with_accounts if head_somewhere or home in headed else told for home in homes}


def news(member: str, before: History, after: History, needs: Needs) -> list[Share]:
    """What the households of a person are to be told after a change of their history."""
    told = {home: {id(event) for event in events} for home, events in contributed(before, needs).items()}
    after_all = contributed(after, needs)
    return [Share(home, member, event) for home, events in after_all.items() for event in events if id(event) not in told.get(home, ())]


def own(history: History) -> History:
    """What the registries said of the subject itself."""
    if not any(MARK in event.registry for event in history):
        return history
    return tuple(event for event in history if MARK not in event.registry)


def by_member(history: History) -> dict[str, History]:
    """What the registries said of each member of a household, as the member's own history has it."""
    found: dict[str, list[Known]] = {}
    for event in history:
        registry, mark, member = event.registry.partition(MARK)
        if mark:
            found.setdefault(member, []).append(msgspec.structs.replace(event, registry=registry))
    return {member: tuple(found[member]) for member in sorted(found)}


class Heads:
    """Finds the head of a household on a day: the one member who lives there as its head."""

    def __init__(self, home: str, catalogue: Mapping[str, FactSpec]) -> None:
        self._specs = catalogue[home], catalogue[ROLE]
        self._reader = self._asking(0)
        self._day = 0

    def _asking(self, day: int) -> Reader:
        return Reader([Question(spec.name, spec.registry, day, None, spec.timeless) for spec in self._specs])

    def of(self, household: str, members: Mapping[str, History], day: int) -> Sequence[str]:
        """The members who are head on the day: one, or none, or more where the registry contradicts itself."""
        if day != self._day:
            self._reader, self._day = self._asking(day), day
        return [member for member, history in members.items() if self._reader.read(history)[0] == [household, HEAD]]
