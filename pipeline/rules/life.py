"""The life of a rule as a pure fold of its log: what was submitted, simulated, approved, activated, suspended, rolled back, retired and budgeted.

The log is the only truth. A document is in it whole, so every rule that decides can be restored from it. Of each benefit the fold keeps
the layers that decide: the newest for its share of the subjects, the older ones for the rest. Only what was activated can become a layer,
a rollback brings back the layers as they stood when an older rule was activated, and coverage never shrinks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import msgspec

WHOLE = 10_000
"""Everybody, in basis points."""


class Submitted(msgspec.Struct, frozen=True, tag="submitted", tag_field="what"):
    """A document was handed in by its author, whole. The signature of an author with a key is over `pipeline.rules.approval.authorship`."""

    benefit: str
    rule: str
    document: str
    key: str = ""
    signature: str = ""


class Simulated(msgspec.Struct, frozen=True, tag="simulated", tag_field="what"):
    """A what-if of the document has a result, by its hash; `against` is the rule it was compared with (empty: nothing).

    `cost_minor` is what the result says the document costs while its budget must last; unset, and so not written, where it has no budget.
    """

    benefit: str
    rule: str
    simulation: str
    against: str = ""
    cost_minor: int | msgspec.UnsetType = msgspec.UNSET


class Approved(msgspec.Struct, frozen=True, tag="approved", tag_field="what"):
    """A person approved a document with its simulation, in a role, until a day (its number)."""

    benefit: str
    rule: str
    simulation: str
    role: str
    expires: int
    key: str
    signature: str


class Activated(msgspec.Struct, frozen=True, tag="activated", tag_field="what"):
    """The document decides from a day on, for a share of the subjects, the periods from `first` to `last` (empty: each as it begins)."""

    benefit: str
    rule: str
    from_day: int
    share: int = WHOLE
    first: str = "once"
    last: str = "once"


class Suspended(msgspec.Struct, frozen=True, tag="suspended", tag_field="what"):
    """The benefit is decided, and nothing of it leaves."""

    benefit: str
    why: str = ""


class Resumed(msgspec.Struct, frozen=True, tag="resumed", tag_field="what"):
    """What was suspended leaves again."""

    benefit: str


class RolledBack(msgspec.Struct, frozen=True, tag="rolled_back", tag_field="what"):
    """The layers are those that stood when the activation with number `activation` was logged; it activated `rule`."""

    benefit: str
    rule: str
    activation: int
    from_day: int


class Retired(msgspec.Struct, frozen=True, tag="retired", tag_field="what"):
    """No further period of the benefit is opened; those that are open go on being corrected."""

    benefit: str
    from_day: int


class BudgetSet(msgspec.Struct, frozen=True, tag="budget_set", tag_field="what"):
    """A person set what may be spent on the benefit in a year (empty: in all), signed in a role; it holds until a document says another budget."""

    benefit: str
    year: str
    amount_minor: int
    currency: str
    why: str
    role: str
    key: str
    signature: str


Entry = Submitted | Simulated | Approved | Activated | Suspended | Resumed | RolledBack | Retired | BudgetSet

_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def encode_entry(entry: Entry) -> str:
    """An entry as the log keeps it; equal entries give equal texts."""
    return _ENCODER.encode(entry).decode()


def decode_entry(text: str) -> Entry:
    """The entry that `encode_entry` wrote."""
    return _DECODER.decode(text)


class Logged(msgspec.Struct, frozen=True):
    """An entry in its place: its number (from 1, without gap), the instant, and the person who made it."""

    number: int
    at_ms: int
    person: str
    entry: Entry


def chain(before: bytes, logged: Logged) -> bytes:
    """The link of an entry: a digest over it and the link before, so that an entry cannot change without every later link."""
    said = "\x1f".join((str(logged.number), str(logged.at_ms), logged.person, encode_entry(logged.entry)))
    return sha256(before + said.encode()).digest()


@dataclass(frozen=True, slots=True)
class Document:
    """A submitted document: who wrote it, its text, and its results and approvals in the order of the log."""

    rule: str
    author: str
    text: str
    number: int
    simulations: tuple[str, ...] = ()
    approvals: tuple[Logged, ...] = ()
    cost_minor: int | None = None
    """What the last simulation says it costs, where it has a budget."""

    @property
    def simulation(self) -> str:
        """The last simulation: what approvals must sign."""
        return self.simulations[-1] if self.simulations else ""


@dataclass(frozen=True, slots=True)
class Layer:
    """A document that decides a share of the subjects from a day on; `number` is that of its activation."""

    rule: str
    number: int
    from_day: int
    share: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Life:
    """One benefit as its log left it. `layers` are what was activated and not rolled back, in the order of the log."""

    benefit: str
    documents: Mapping[str, Document] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    stood: Mapping[int, tuple[Layer, ...]] = field(default_factory=dict)
    suspended: bool = False
    retired_from: int | None = None
    number: int = 0
    """The last entry that changed what decides: the number under which everybody known is decided again."""
    budgets: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """(number of the entry, amount_minor) of the last budget that a person set, by year."""

    def in_effect(self, today: int) -> tuple[Layer, ...]:
        """The layers that hold on a day, the newest first: by the day from which they hold, then by the order of the log."""
        held = [layer for layer in self.layers if layer.from_day <= today]
        return tuple(sorted(held, key=lambda layer: (layer.from_day, layer.number), reverse=True))

    def scheduled(self, today: int) -> tuple[Layer, ...]:
        """The layers that will hold later."""
        return tuple(layer for layer in self.layers if layer.from_day > today)

    def newest(self, today: int) -> str:
        """The hash of the newest rule that holds, or nothing."""
        layers = self.in_effect(today)
        return layers[0].rule if layers else ""

    def older(self, today: int) -> Layer | None:
        """The layer to which a rollback goes: the newest of another rule than the one that holds now."""
        layers = self.in_effect(today)
        return next((layer for layer in layers if layer.rule != layers[0].rule), None)

    def held_at(self, rule: str, today: int) -> Layer | None:
        """The last layer in which a rule has held, rolled back or not."""
        stacks = (self.stood[number] for number in sorted(self.stood, reverse=True))
        return next((layer for stack in stacks for layer in reversed(stack) if layer.rule == rule and layer.from_day <= today), None)

    def after_rollback(self, activation: int, today: int) -> tuple[Layer, ...]:
        """The layers that stood when an activation was logged; what was only scheduled is void."""
        return tuple(layer for layer in self.stood.get(activation, ()) if layer.from_day <= today)


def after(life: Life, logged: Logged) -> Life:
    """The life after one more entry. The log holds only what was allowed; what refers to nothing changes nothing."""
    entry, number = logged.entry, logged.number
    match entry:
        case Submitted():
            document = Document(entry.rule, logged.person, entry.document, number)
            return life if entry.rule in life.documents else _with(life, document)
        case Simulated():
            known = life.documents.get(entry.rule)
            cost_minor = None if entry.cost_minor is msgspec.UNSET else entry.cost_minor
            return life if known is None else _with(life, replace(known, simulations=(*known.simulations, entry.simulation), cost_minor=cost_minor))
        case Approved():
            known = life.documents.get(entry.rule)
            return life if known is None else _with(life, replace(known, approvals=(*known.approvals, logged)))
        case Activated():
            if entry.rule not in life.documents:
                return life
            layers = (*life.layers, Layer(entry.rule, number, entry.from_day, entry.share, entry.first, entry.last))
            return replace(life, layers=layers, stood={**life.stood, number: layers}, retired_from=None, number=number)
        case RolledBack():
            return replace(life, layers=life.after_rollback(entry.activation, entry.from_day), number=number) if entry.activation in life.stood else life
        case Suspended():
            return replace(life, suspended=True)
        case Resumed():
            return replace(life, suspended=False)
        case Retired():
            return replace(life, retired_from=entry.from_day)
        case BudgetSet():
            return replace(life, budgets={**life.budgets, entry.year: (number, entry.amount_minor)})


def _with(life: Life, document: Document) -> Life:
    return replace(life, documents={**life.documents, document.rule: document})


def lives(log: Iterable[Logged]) -> dict[str, Life]:
    """Every benefit's life: the whole log, folded in the order of its numbers."""
    found: dict[str, Life] = {}
    for logged in sorted(log, key=lambda entry: entry.number):
        benefit = logged.entry.benefit
        found[benefit] = after(found.get(benefit, Life(benefit)), logged)
    return found


def broken_links(log: Iterable[tuple[Logged, bytes]]) -> Iterator[str]:
    """What is wrong with a log as it was read: (entry, its link) in the order of the numbers."""
    before, expected = b"", 1
    for logged, link in log:
        if logged.number != expected:
            yield f"entry {logged.number} follows entry {expected - 1}"
        before = chain(before, logged)
        if link != before:
            yield f"entry {logged.number} is not what was logged: its link does not fit"
            before = link
        expected = logged.number + 1


def place_in_share(benefit: str, subject: str) -> int:
    """A subject's place among all, in basis points from 0 to 9,999: stable, and another one for each benefit.

    A share of 500 has the subjects whose place is below 500; a larger share has the same subjects and more.
    """
    return int.from_bytes(sha256(f"{benefit}\x1f{subject}".encode()).digest()[:4]) % WHOLE
