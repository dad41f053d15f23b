"""`payout demo`: the main job on real data, from registry events to settled money, with its proof and its pictures at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import polars as pl
import typer

from connectors.event_feed import put_records
from connectors.population import ACCOUNT, RESIDENCY, Chunk, Population
from connectors.report import Check, Command, DemoSummary, Disposition, Orders, Reason, sampled, terminal_summary, write_demo_report
from connectors.store import proof
from connectors.store.queries import Queries, queries_of
from pipeline.decisions import ActiveRule
from pipeline.entitlements import Decision, decode_receipt
from pipeline.holds import HoldReason
from pipeline.problems import Malformed, Problem

from . import logs
from .audit import Audit, audit
from .commands.opening import settings_of
from .commands.speaking import note, progress_bar
from .installation import Installation, opened
from .metrics import Metrics
from .runner import Progress, Runner, runner_of
from .settings import SHIPPED, Settings
from .stopping import Asked, signals

UNITS = SHIPPED / "data" / "us-cps-tax-units.parquet"
RULE = SHIPPED / "benefits" / "us-eip1" / "2020-03-27.yaml"
FEWEST = 100
"""Fewer units do not hold one of each planted trouble."""

PATIENCE_S = 60.0
"""How long the demo waits for a bank that answers nothing."""

UNANSWERED = frozenset({"released", "sent", "accepted", "unknown"})


def demo(
    context: typer.Context,
    seed: Annotated[int, typer.Option(help="The seed of invented accounts, residency and troubles.")] = 7,
    units: Annotated[int | None, typer.Option(min=FEWEST, help="Take only so many of the 280,005 tax units.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes that share the shards.")] = None,
) -> None:
    """Pays the first US Economic Impact Payment to 280,005 real tax units, on an embedded store, with a sandbox bank, and proves it."""
    started_s = time.monotonic()
    settings = settings_of(context, processes=processes, rules=(RULE,), trust_rules=True, log_level="error")
    logs.configure(settings.log_level, settings.log_format, settings.home)
    note("The tax units are real survey data (Current Population Survey, by Tax-Calculator, CC0).")
    note(f"Accounts, residency, deaths and every trouble of delivery are invented with seed {seed}; no living person is meant.")
    settings.home.mkdir(parents=True, exist_ok=True)
    _remember(settings, seed, units)
    population = Population(UNITS, seed, first=units)
    with opened(settings) as installation, signals() as stop:
        before, taken_before = _orders(installation), _taken(installation)
        if before:
            note(f"This home has been used before: every event is sent again, and none of them may order anything new ({before:,} orders stand).")
        watch = Watch(started_s)
        with progress_bar("events") as bar, runner_of(installation, Metrics()) as runner, _bank(settings, seed):
            watch.bar = bar
            watch.resume(sum(runner.positions.values()))
            _work(installation, runner, population, watch, stop)
        if stop.is_set():
            note("Stopped; run `payout demo` again, it goes on from the committed positions.")
            raise typer.Exit(130)
        with progress_bar("audit", unit="checks") as bar:
            done = [0]

            def step(name: str) -> None:
                done[0] += 1
                bar(done[0], len(proof.INVARIANTS) + 4)

            proven = audit(installation, journal=settings.home / "bank" / "sandbox" / "journal.ndjson", progress=step)
        with queries_of(installation.store) as queries:
            summary = _summary(installation, queries, population, proven, watch, seed, _taken(installation) - taken_before)
        after = _orders(installation)
    report = settings.home / "reports" / "demo.html"
    report.parent.mkdir(exist_ok=True)
    write_demo_report(report, summary)
    _tell(summary, report, before, after, time.monotonic() - started_s)
    if not proven.ok or (before and after != before):
        raise typer.Exit(1)


class Watch(Progress):
    """Notes how many events were taken when."""

    def __init__(self, started_s: float) -> None:
        self.started_s, self.began_s = started_s, started_s
        self.bar: Any = lambda done, total: None
        self.first = self.last = 0
        self.series: list[tuple[float, int]] = []
        self.busy_s = 0.0

    def resume(self, taken: int) -> None:
        """Records taken before count for nothing."""
        self.first = self.last = taken
        self.began_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Adds a point about every half second."""
        self.bar(done - self.first, total - self.first)
        at = time.monotonic() - self.began_s
        if not self.series or at - self.series[-1][0] >= 0.5:
            self.series.append((round(at, 2), done - self.last))
            self.last = done


def _remember(settings: Settings, seed: int, units: int | None) -> None:
    """Later commands in this home go on with the same rule, later demos with the same people."""
    people = settings.home / "demo.txt"
    wanted = f"seed {seed}, {'all' if units is None else units} units"
    standing = people.read_text(encoding="utf-8").strip() if people.exists() else wanted
    if standing != wanted:
        raise Malformed([Problem("home", f"{settings.home} holds a demo of {standing}, not of {wanted}", "Ask for the same again, or name another --home.")])
    people.write_text(f"{wanted}\n", encoding="utf-8")
    file = settings.home / "payout.toml"
    if not file.exists():
        file.write_text(f'# Written by `payout demo`.\nrules = ["{RULE}"]\ntrust_rules = true\n', encoding="utf-8")


def _work(installation: Installation, runner: Runner, population: Population, watch: Watch, stop: Asked) -> None:
    """The registries first, as they are in a country before the law is passed; then the assessments, and the bank's answers."""
    events = population.events()
    known: list[Chunk] = []
    first = next(events)
    while first[0] in (RESIDENCY, ACCOUNT):
        known.append(first)
        first = next(events)
    put_records(known, installation.log_directory, installation.store.shards)
    with ThreadPoolExecutor(1) as beside:
        assessed = beside.submit(lambda: [first, *events])  # made while the lanes are busy with what is known
        _run_until_idle(runner, watch, stop)
    put_records(assessed.result(), installation.log_directory, installation.store.shards)
    _run_until_idle(runner, watch, stop)
    waiting_s = time.monotonic()
    while not stop.is_set() and _unanswered(installation):
        if runner.run(until_idle=True, stop=stop.is_set, progress=watch):
            waiting_s = time.monotonic()
        if time.monotonic() - waiting_s > PATIENCE_S:
            raise TimeoutError(f"the sandbox bank has answered nothing for {PATIENCE_S:.0f} s; see {installation.settings.home}/bank")
        time.sleep(0.1)


def _run_until_idle(runner: Runner, watch: Watch, stop: Asked) -> None:
    begun_s = time.monotonic()
    runner.run(until_idle=True, stop=stop.is_set, progress=watch)
    watch.busy_s += time.monotonic() - begun_s


def _unanswered(installation: Installation) -> bool:
    """Whether the bank owes an answer; asked in a snapshot of its own each time."""
    with queries_of(installation.store) as queries:
        return any(row["state"] in UNANSWERED for row in queries.order_sums(["state"]))


@contextmanager
def _bank(settings: Settings, seed: int) -> Iterator[None]:
    """The sandbox bank, a process of its own that speaks files."""
    options = ("--home", str(settings.home), "--seed", str(seed), "--bank", settings.bank.bank_bic, "--exceptions-only")
    command = [sys.executable, "-m", "streams.cli", "sandbox-bank", *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True) as bank:
        try:
            yield
        finally:
            bank.terminate()


def _orders(installation: Installation) -> int:
    with queries_of(installation.store) as queries:
        return sum(int(row["orders"]) for row in queries.order_sums(["state"]))


def _taken(installation: Installation) -> Counter[str]:
    """The records of registries, by what became of them."""
    with queries_of(installation.store) as queries:
        return sum((Counter(counts) for topic, counts in queries.dispositions().items() if topic.startswith("registry.")), Counter())


def _summary(installation: Installation, queries: Queries, population: Population, proven: Audit, watch: Watch, seed: int, taken: Counter[str]) -> DemoSummary:
    rule = installation.trusted()[0]
    owed: dict[str, int] = {}
    refused: dict[str, int] = {}
    undetermined: dict[str, int] = {}
    subjects = 0
    for connection in installation.store.servers("payout demo"):
        for subject, _, _, _, decision, owed_minor, _, _ in proof.levels(connection):
            subjects += 1
            if decision == Decision.GRANTED:
                owed[subject] = owed_minor
        for decision, receipt in proof.receipts(connection, (Decision.REFUSED, Decision.UNDETERMINED)):
            counted, reason = (refused, _refused_by(rule, receipt)) if decision == Decision.REFUSED else (undetermined, _missing(rule, receipt))
            counted[reason] = counted.get(reason, 0) + 1
    claims = queries.claims()
    return DemoSummary(
        title="Economic Impact Payment, first round",
        currency=rule.rule.currency,
        seed=seed,
        subjects=subjects,
        granted=len(owed),
        granted_minor=sum(owed.values()),
        granted_nothing=sum(not minor for minor in owed.values()),
        refused=[Reason(code=reason, count=count) for reason, count in refused.items()],
        undetermined=[Reason(code=reason, count=count) for reason, count in undetermined.items()],
        orders=_order_rows(queries),
        claims=sum(row.orders for row in claims),
        claims_minor=sum(row.amount_minor for row in claims),
        events=taken.total(),
        dispositions=[Disposition(name=name, count=count) for name, count in taken.items()],
        incomes=_incomes(population, owed),
        throughput=watch.series,
        checks=[Check(id=check.id, name=check.name, ok=check.ok, checked=check.checked, violations=check.violations) for check in proven.checks],
        commands=_commands(installation, queries),
        seconds=watch.busy_s,
        events_per_second=taken.total() / watch.busy_s,
    )


def _order_rows(queries: Queries) -> list[Orders]:
    rows = []
    for row in queries.order_sums(["state", "reason"]):
        state, code = str(row["state"]), str(row["reason"] or "")
        hold = HoldReason(code) if state == "held" and code in set(HoldReason) else None
        rows.append(
            Orders(
                state=state,
                reason="" if state == "cancelled" else code,
                count=row["orders"],
                amount_minor=row["amount_minor"],
                sentence=hold.sentence if hold else "",
                remedy=hold.lifted_by if hold else "",
            )
        )
    return rows


def _refused_by(rule: ActiveRule, receipt: bytes) -> str:
    """The first condition that is not met, or exclusion that is, in the document's words."""
    bits = decode_receipt(receipt).conditions
    conditions = [(condition, 0, condition.not_held) for condition in rule.rule.conditions]
    for place, (condition, refusing, sentence) in enumerate(conditions + [(exclusion, 1, exclusion.held) for exclusion in rule.rule.exclusions]):
        if (bits >> 2 * place) & 3 == refusing:
            return sentence.replace("{subject}", "the person").rstrip(".") or condition.id
    return "refused"


def _missing(rule: ActiveRule, receipt: bytes) -> str:
    missing = decode_receipt(receipt).missing
    return "not known: " + ", ".join(fact.name for place, fact in enumerate(rule.rule.facts) if missing >> place & 1)


def _incomes(population: Population, owed: dict[str, int]) -> list[tuple[int, int, str]]:
    known = pl.read_parquet(UNITS, columns=["unit_id", "agi_cents", "filing_status"]).with_columns(pl.col("filing_status").cast(pl.String))
    return sampled([(agi, owed[subject], status) for unit, agi, status in known.iter_rows() if (subject := f"us-{unit:06d}") in owed])


def _commands(installation: Installation, queries: Queries) -> list[Command]:
    home = f" --home {quote(str(installation.settings.home))}" if installation.settings.home != Path("home") else ""
    payout = "payout" if shutil.which("payout") else quote(os.path.relpath(sys.argv[0]))
    returned = queries.orders(state="returned", limit=1) or queries.orders(limit=1)
    subject = returned[0].subject if returned else "us-000001"
    return [
        Command(line=f"{payout}{home} explain {subject}", shows="one person's whole case: facts, decision with the law, orders, answers of the bank"),
        Command(line=f"{payout}{home} orders --by state,reason", shows="where the money is"),
        Command(line=f"{payout}{home} audit --replay", shows="the proof, with the whole log replayed into an empty store of another shape"),
    ]


def _tell(summary: DemoSummary, report: Path, before: int, after: int, seconds: float) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(terminal_summary(summary), soft_wrap=True)
    if before:
        verdict = "Nothing new was ordered." if before == after else "SOMETHING NEW WAS ORDERED."
        console.print(f"Sent again: {before:,} orders before, {after:,} after. {verdict}")
    console.print(f"\nThe same in pictures: {report}", soft_wrap=True)
    console.print(f"Done in {seconds:.0f} s, of which {summary.seconds:.0f} s were for {summary.events:,} registry events and the bank's answers to them.")
