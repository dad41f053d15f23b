"""The report of a run of the contest: what was measured, as JSON and as the tables that the documents show."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import msgspec

from loadtests.documents import markdown

OURS = "Faust workers with lanes, 2"


class Run(msgspec.Struct, frozen=True):
    """One run of one contender. `whole_s` counts from the start of its processes, `taking_s` from the first record. `processor_s` is by who used it.

    `exact` is None where nothing is decided. `grown` says by how many bytes the database and its log of changes grew.
    """

    contender: str
    rounds: int
    events: int
    whole_s: float
    taking_s: float
    orders: int
    amount_minor: int
    exact: bool | None
    processor_s: dict[str, float]
    grown: dict[str, int]


class Profile(msgspec.Struct, frozen=True):
    """Where the time of our workers went, in microseconds an event: wall time of stages, processor time of threads, and of the start of a worker in seconds."""

    stages_us: dict[str, float]
    threads_us: dict[str, float]
    start_s: float


class Report(msgspec.Struct, frozen=True):
    """Everything that one run of the contest measured. Bytes are per event: as JSON, and on disk in Kafka."""

    machine: str
    day: str
    event_bytes: int
    kafka_bytes: int
    runs: list[Run]
    profile: Profile
    skipped: list[str]

    @property
    def exact(self) -> bool:
        """Whether everybody who decides ordered exactly what was due."""
        return all(run.exact is not False for run in self.runs)

    def of(self, contender: str, rounds: int) -> list[Run]:
        """The runs of a contender."""
        return [run for run in self.runs if (run.contender, run.rounds) == (contender, rounds)]

    def rate(self, contender: str, rounds: int) -> float:
        """Events a second in the median, from the first record to the last; 0 where it did not run."""
        return statistics.median(run.events / run.taking_s for run in found) if (found := self.of(contender, rounds)) else 0.0

    def contenders(self, rounds: int) -> list[str]:
        """Who ran, the slowest first."""
        names = dict.fromkeys(run.contender for run in self.runs if run.rounds == rounds)
        return sorted(names, key=lambda name: self.rate(name, rounds))

    def processor_us(self, contender: str, rounds: int) -> dict[str, float]:
        """Microseconds of processor time an event, by who used them, in the median."""
        found = self.of(contender, rounds)
        return {name: statistics.median(run.processor_s[name] / run.events * 1e6 for run in found) for name in found[0].processor_s}


HEAD = ("contender", "events/s", "lowest-highest", "with its start", "beside ours", "µs of processor an event: program, PostgreSQL, broker", "exact")


def rows(report: Report, rounds: int) -> Iterator[tuple[str, ...]]:
    """The rows of the table of so many rounds."""
    ours = report.rate(OURS, rounds)
    for name in report.contenders(rounds):
        found, rate, used = report.of(name, rounds), report.rate(name, rounds), report.processor_us(name, rounds)
        rates = [run.events / run.taking_s for run in found]
        spread = f"{min(rates):,.0f}-{max(rates):,.0f}" if len(rates) > 1 else "one run"
        whole = statistics.median(run.events / run.whole_s for run in found)
        exact = {True: "yes", False: "NO", None: "decides nothing"}[None if found[0].exact is None else all(run.exact for run in found)]
        processor = ", ".join(f"{used[who]:.0f}" for who in ("program", "postgresql", "broker"))
        yield name, f"{rate:,.0f}", spread, f"{whole:,.0f}", f"{rate / ours:.2f}", processor, exact


AIMS = {1: 27_500, 4: 53_000}
"""Events a second that the architecture asks of ours, by rounds."""


def verdicts(report: Report) -> list[str]:
    """The aims of the architecture, each with what was measured."""
    ours = {rounds: report.rate(OURS, rounds) for rounds in AIMS}
    told = [
        f"{rounds} round{'s' * (rounds > 1)}: {ours[rounds]:,.0f} events/s, the aim is {aim:,}: {_reached(ours[rounds], aim)}" for rounds, aim in AIMS.items()
    ]
    beside = [("bare path, 2 processes", 1, 0.5), ("plain Faust agent, a transaction per event", 1, 20.0)]
    beside += [(streams[-1], rounds, 1.0) for rounds in AIMS if (streams := [name for name in report.contenders(rounds) if name.startswith("Kafka Streams")])]
    for peer, rounds, aim in beside:
        times = ours[rounds] / report.rate(peer, rounds)
        told.append(f"{rounds} round{'s' * (rounds > 1)}: {times:.2f} times {peer}; the aim is {aim:g}: {_reached(times, aim)}")
    return told


def _reached(value: float, aim: float) -> str:
    return "reached" if value >= aim else "NOT reached"


def profile_tables(report: Report) -> str:
    """Where the time of our workers went."""
    heads = ("stage of a frame", "µs an event, wall time in its thread"), ("thread of a worker", "µs of processor an event")
    parts = (sorted(part.items(), key=lambda item: -item[1]) for part in (report.profile.stages_us, report.profile.threads_us))
    return "\n".join(markdown(head, [(name, f"{us:.1f}") for name, us in part]) for head, part in zip(heads, parts, strict=True))


def costs(report: Report) -> str:
    """What an event costs our two workers: one that is new, and one that is sent again and changes nothing."""
    new, both = (report.of(OURS, rounds)[0] for rounds in (1, 4))
    again = both.events - new.events
    used = {
        who: (new.processor_s[who] / new.events * 1e6, (both.processor_s[who] - new.processor_s[who]) / again * 1e6)
        for who in ("program", "postgresql", "broker")
    }
    body: list[tuple[str, ...]] = [(f"µs of processor: {who}", f"{first:.1f}", f"{later:.1f}") for who, (first, later) in used.items()]
    body.append(("µs of processor: all", *(f"{sum(parts):.1f}" for parts in zip(*used.values(), strict=True))))
    body += [
        ("bytes of JSON", f"{report.event_bytes:,}", f"{report.event_bytes:,}"),
        ("bytes in Kafka, each copy", f"{report.kafka_bytes:,}", f"{report.kafka_bytes:,}"),
        ("bytes in the database", f"{new.grown['database'] / new.events:,.0f}", f"{max(0, both.grown['database'] - new.grown['database']) / again:,.0f}"),
        ("bytes of PostgreSQL's log of changes", f"{new.grown['wal'] / new.events:,.0f}", f"{max(0, both.grown['wal'] - new.grown['wal']) / again:,.0f}"),
    ]
    return markdown(("an event", "that is new and leads to an order", "that is sent again"), body)
