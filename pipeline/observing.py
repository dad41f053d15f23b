"""What can be observed: the one catalogue of metrics as data, and the hook through which work reports what happened.

The core and the connectors report through `Observer` and know nothing of where the figures go; `streams.metrics` serves
them. The documentation, dashboards and alert rules are checked against `CATALOGUE`. Labels never hold a person's data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import msgspec

from .facts import Disposition

Kind = Literal["counter", "gauge", "histogram"]

QUICK_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds for work that takes from half a millisecond to ten seconds."""


class Metric(msgspec.Struct, frozen=True):
    """One metric. `values` closes a label to the words it may hold; `question` is what an operator asks it."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    question: str
    values: dict[str, tuple[str, ...]] = {}
    buckets: tuple[float, ...] = ()


class Observer(Protocol):
    """Where work reports. Label values are words of the catalogue, codes and numbers of shards; never a person's data."""

    def count(self, metric: Metric, amount: int = 1, **labels: str) -> None:
        """Adds to a counter."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Adds one measurement to a histogram."""

    def gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """States what a gauge stands at now."""


class Silent:
    """The observer where nobody listens."""

    def count(self, metric: Metric, amount: int = 1, **labels: str) -> None:
        """Counts nothing."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Keeps nothing."""

    def gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """States nothing."""


class Observation(msgspec.Struct, frozen=True, array_like=True):
    """One report, ready to be handed from the process that did the work to the process that serves the figures."""

    metric: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Recorder:
    """An observer that keeps reports until they are taken: counts are summed, of a gauge only the last one stays."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._measured: list[Observation] = []

    def count(self, metric: Metric, amount: int = 1, **labels: str) -> None:
        """Adds to a counter."""
        key = metric.name, tuple(sorted(labels.items()))
        self._sums[key] = self._sums.get(key, 0) + amount

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Keeps one measurement."""
        self._measured.append(Observation(metric.name, tuple(sorted(labels.items())), value))

    def gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """Keeps what a gauge stands at."""
        self._sums[metric.name, tuple(sorted(labels.items()))] = value

    def take(self) -> list[Observation]:
        """Everything reported since the last take."""
        taken = [Observation(name, labels, value) for (name, labels), value in self._sums.items()] + self._measured
        self._sums, self._measured = {}, []
        return taken


def report(observations: Iterable[Observation], observer: Observer) -> None:
    """Reports what a `Recorder` of another process took, as if it had happened here."""
    for observation in observations:
        metric, labels = METRIC[observation.metric], dict(observation.labels)
        if metric.kind == "counter":
            observer.count(metric, round(observation.value), **labels)
        elif metric.kind == "gauge":
            observer.gauge(metric, observation.value, **labels)
        else:
            observer.observe(metric, observation.value, **labels)


def _counter(name: str, labels: tuple[str, ...], help: str, question: str, unit: str = "", **values: tuple[str, ...]) -> Metric:
    return Metric(f"payout_{name}", "counter", unit, labels, help, question, values)


def _gauge(name: str, labels: tuple[str, ...], help: str, question: str, unit: str = "", **values: tuple[str, ...]) -> Metric:
    return Metric(f"payout_{name}", "gauge", unit, labels, help, question, values)


def _duration(name: str, labels: tuple[str, ...], help: str, question: str, **values: tuple[str, ...]) -> Metric:
    return Metric(f"payout_{name}", "histogram", "seconds", labels, help, question, values, QUICK_S)


STAGES = ("read", "decode", "fold", "decide", "order", "write", "commit")
DISPOSITIONS = tuple(disposition.value for disposition in Disposition)
OUTCOMES = ("granted", "refused", "undetermined")
ORDER_KINDS = ("original", "difference")

EVENTS_CONSUMED = _counter("events_consumed_total", ("topic",), "Records taken from a topic.", "Is anything coming in, and how fast?")
EVENTS_PROCESSED = _counter(
    "events_processed_total",
    ("topic", "outcome"),
    "Records by the one disposition each was given; together they equal the records consumed and committed.",
    "What became of the events: used, seen before, in conflict, or unreadable?",
    outcome=DISPOSITIONS,
)
FRAMES = _counter("frames_total", (), "Frames committed together with their positions.", "Does the work get committed, and in what portions?")
FRAME_DURATION = _duration("frame_duration_seconds", (), "Time from taking a frame to its commit.", "How long does an event wait for its frame?")
STAGE_DURATION = _duration("stage_duration_seconds", ("stage",), "Time of one stage of a frame.", "Where does the time go?", stage=STAGES)
DECISIONS = _counter("decisions_total", ("benefit", "outcome"), "Decisions made.", "Who is granted, refused, or not decidable yet?", outcome=OUTCOMES)
ORDERS_CREATED = _counter(
    "orders_created_total",
    ("benefit", "kind"),
    "Payment orders written.",
    "How many orders come from first decisions and how many from changes?",
    kind=ORDER_KINDS,
)
ORDERS_CREATED_AMOUNT = _counter(
    "orders_created_amount_minor_total",
    ("benefit", "currency", "kind"),
    "Money of the payment orders written, in minor units.",
    "How much money do the orders written carry?",
    "minor units",
    kind=ORDER_KINDS,
)
ORDERS = _gauge("orders", ("benefit", "state"), "Payment orders by the state they are in now.", "Where do the orders stand?")
ORDER_AMOUNT = _gauge(
    "order_amount_minor", ("benefit", "currency", "state"), "Money by the state of its order, in minor units.", "Where is the money now?", "minor units"
)
ORDERS_HELD = _gauge("orders_held", ("reason",), "Orders that may not leave yet, by reason.", "Is money stuck, and why?")
OLDEST_HELD_AGE = _gauge("oldest_held_age_seconds", (), "Age of the oldest held order.", "Since when is money stuck?", "seconds")
CLAIMS = _gauge("claims_minor", ("benefit", "currency"), "Money ordered beyond what is owed, standing as claims.", "How much was paid too much?", "minor units")
BUDGET_LEFT = _gauge(
    "budget_left_minor", ("benefit", "year", "currency"), "Money that may still be released of a budget (year is `all` where it is one for all years).",
    "Is a budget about to be reached?", "minor units",
)  # fmt: skip
DEAD_LETTERS_OPEN = _gauge("dead_letters_open", ("topic",), "Records set aside and not yet dealt with.", "What could not be read and waits for a person?")
LAG = _gauge("lag_records", ("topic", "shard"), "Records in the log after the committed position.", "How far behind is each shard?")
UNREAD = _gauge(
    "unread_seconds", (), "How long this worker has not read a partition that it should; 0 while it reads all.", "Does Kafka answer every worker?", "seconds"
)
ACTIVATION_LEFT = _gauge(
    "activation_left", ("benefit",), "People already known whom the rules that stand have not decided yet.", "Is a new rule through, and for how many not yet?"
)
OUTBOX_PENDING = _gauge("outbox_pending", (), "Released orders not yet handed to the bank.", "Does money leave as fast as it is decided?")
BANK_FILES = _counter(
    "bank_files_total",
    ("kind", "outcome"),
    "Files exchanged with the bank; what a refused one would have been is unknown.",
    "Do files go out, do answers come in, and is any of them refused?",
    kind=("pain.001", "pain.002", "camt.054", "unknown"),
    outcome=("written", "read", "duplicate", "refused"),
)
BANK_ANSWERS = _counter(
    "bank_answers_total",
    ("outcome", "reason"),
    "Answers of the bank for single orders, with the ISO 20022 reason code (empty where none was given).",
    "What does the bank say, and which reason is growing?",
    outcome=("accepted", "rejected", "settled", "returned", "unknown"),
)
STORE_TRANSACTION = _duration("store_transaction_seconds", (), "Time of one transaction of the store, commit included.", "Is the database slow?")
STORE_RETRIES = _counter("store_retries_total", ("reason",), "Transactions tried again.", "Is the database away, or do writers collide?")
POSITION_CONFLICTS = _counter(
    "position_conflicts_total", (), "Frames rolled back since another worker holds the position.", "Was a worker replaced while it was writing?"
)
LEDGER_IMBALANCE = _gauge(
    "ledger_imbalance_minor", ("currency",), "Sum of all postings of a currency; anything but zero is a defect.", "Do the books balance?", "minor units"
)
BUILD_INFO = _gauge("build_info", ("version", "python"), "Always 1; the labels tell what runs.", "Which version runs here?")
LAST_PROGRESS = _gauge("last_progress_timestamp_seconds", (), "Time of the last committed frame.", "When did anything last move?", "seconds since 1970-01-01")
INGEST_REQUESTS = _counter(
    "ingest_requests_total",
    ("outcome",),
    "Requests with events at the door, by how they were answered.",
    "Do the registries get their events in, and what keeps them out?",
    outcome=(
        "accepted", "malformed", "unknown-token", "not-yours", "slow", "too-large", "unsupported", "busy", "full", "away",
    ),
)  # fmt: skip
INGEST_EVENTS = _counter(
    "ingest_events_total",
    ("registry", "outcome"),
    "Events at the door: kept in the log, or refused with the request they came in.",
    "Who sends how much, and whose events are refused?",
    outcome=("accepted", "refused"),
)
INGEST_PENDING = _gauge("ingest_pending_bytes", (), "Bytes of requests at the door that are not answered yet.", "Does the door fill up?", "bytes")
INGEST_DURATION = _duration(
    "ingest_duration_seconds", (), "Time from reading the events of a request to their being kept.", "How long does a registry wait for its answer?"
)

CATALOGUE: tuple[Metric, ...] = (
    EVENTS_CONSUMED, EVENTS_PROCESSED, FRAMES, FRAME_DURATION, STAGE_DURATION, DECISIONS, ORDERS_CREATED, ORDERS_CREATED_AMOUNT, ORDERS, ORDER_AMOUNT,
    ORDERS_HELD, OLDEST_HELD_AGE, BUDGET_LEFT, CLAIMS, DEAD_LETTERS_OPEN, LAG, UNREAD, ACTIVATION_LEFT, OUTBOX_PENDING, BANK_FILES, BANK_ANSWERS,
    STORE_TRANSACTION, STORE_RETRIES, POSITION_CONFLICTS, LEDGER_IMBALANCE, BUILD_INFO, LAST_PROGRESS, INGEST_REQUESTS, INGEST_EVENTS, INGEST_PENDING,
    INGEST_DURATION,
)  # fmt: skip
"""Every metric there is, in the order of the documentation."""

METRIC: dict[str, Metric] = {metric.name: metric for metric in CATALOGUE}
"""The metric of a name."""
