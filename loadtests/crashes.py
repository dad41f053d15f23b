"""Crashes: the whole work killed at chosen moments, gone on with, and compared with a run that nothing disturbed.

The processes are forked from a server that has imported everything, so that a case costs a second and not ten.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import psycopg

from connectors import failpoints
from connectors.embedded_postgres import EmbeddedPostgres, main_process
from connectors.event_feed import put_records
from connectors.failpoints import failpoint
from connectors.population import CLEAN, DemoShares, Population
from connectors.registries import load_registries
from connectors.sandbox_bank import BANK, Behaviour, SandboxBank, journal_path, read_journal
from connectors.segment_log import create_topic
from connectors.store.servers import Store
from pipeline.observing import Silent
from streams import logs
from streams.audit import Digest, audit
from streams.installation import Installation, opened
from streams.runner import runner_of
from streams.settings import SHIPPED, Bank, Settings, load_settings
from streams.stopping import signals
from streams.topics import all_topics

SUBJECTS = 200
SHARDS = 2
PATIENCE_S = 60.0
"""How long a process may take to do its work or to die."""

SHARES = DemoShares(
    no_account=0.02, account_closed=0.01, account_shared=0.015, dead=0.02, income_unknown=0.01, corrected=0.05, overtaken=0.02, withdrawn=0.02,
    late_account=0.05, late_tax=0.05, conflicts=2, corrupt=8, duplicated_events=0.05, reordered_events=0.1,
)  # fmt: skip
BEHAVIOUR = Behaviour(seed=5, reject_share=0.04, return_share=0.04)

PHASES = ("runner", "bank", "runner")
"""What happens to every event: the runner until it is idle, the bank's answers, the runner until it is idle."""


class Crash(NamedTuple):
    """A fault: kill in a phase, at a named point (``name:n``) or, where that is empty, after so many commits and a while."""

    phase: int
    point: str
    commits: int = 0
    while_s: float = 0.0
    torn_bytes: int = 0
    """Cut off the end of the newest segment after the kill, as a loss of power before the sync would."""

    def __str__(self) -> str:
        where = self.point or f"after {self.commits} commits and {self.while_s * 1000:.0f} ms"
        return f"phase {self.phase} ({PHASES[self.phase]}), {where}" + (f", {self.torn_bytes} bytes torn off" if self.torn_bytes else "")


class NotAsItMustBe(AssertionError):
    """A run after a fault did not end as it must, or the fault never fired."""


def runner_main(settings: Settings, processes: int, until_idle: bool, armed: str) -> None:
    """The process that takes events to bank files: lanes, relay and bank desk."""
    with _process(settings.home, "runner", armed), signals() as stop, opened(settings) as installation, runner_of(installation, Silent(), processes) as runner:
        runner.run(until_idle=until_idle, stop=stop.is_set)


def bank_main(settings: Settings, once: bool, armed: str) -> None:
    """The process of the sandbox bank."""
    with _process(settings.home, "bank", armed):
        bank = SandboxBank(settings.home, behaviour=BEHAVIOUR, crash=failpoint)
        bank.handle_all()
        while not once:
            time.sleep(0.005)
            bank.handle_all()
        bank.close()


@contextmanager
def _process(home: Path, name: str, armed: str) -> Iterator[None]:
    said = os.open(home / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ[failpoints.VARIABLE] = armed  # for the processes that this one starts
    failpoints.arm(armed)
    logs.configure("error", "json")
    yield
    (home / f"{name}.passed").write_bytes(msgspec.json.encode(failpoints.passed))


class Site:
    """One installation of a case: its own home with the log put in, its own database."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.name = settings, name
        self._context = multiprocessing.get_context("forkserver")

    @property
    def home(self) -> Path:
        """Its folder."""
        return self.settings.home

    def start(self, phase: str, *, once: bool = True, armed: str = "", processes: int = 0) -> BaseProcess:
        """Starts the process of a phase."""
        main: Callable[..., None] = runner_main if phase == "runner" else bank_main
        arguments = (self.settings, processes, once, armed) if phase == "runner" else (self.settings, once, armed)
        process = self._context.Process(target=main, args=arguments, name=f"{self.name} {phase}")
        process.start()
        return process

    def ended(self, process: BaseProcess) -> int:
        """The exit code of a process, which must end in time."""
        process.join(PATIENCE_S)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
            raise NotAsItMustBe(f"{process.name} neither finished nor died within {PATIENCE_S:.0f} s\n{self.said()}")
        return code

    def done(self, phase: str, *, processes: int = 0) -> None:
        """Runs a phase to its end, undisturbed."""
        code = self.ended(self.start(phase, processes=processes))
        if code != 0:
            raise NotAsItMustBe(f"{self.name}: {phase} ended with {code}\n{self.said()}")

    def said(self) -> str:
        """The end of what the processes wrote."""
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-3000:]}" for path in sorted(self.home.glob("*.log")) if path.is_file())

    def passed(self, phase: str) -> dict[str, int]:
        """How often the last process of a phase passed each named point."""
        return dict(json.loads((self.home / f"{phase}.passed").read_bytes()))

    def commits(self, connection: psycopg.Connection[tuple[object, ...]]) -> int:
        """How far the lanes and the bank desk are: committed frames, submissions and files of the bank."""
        row = connection.execute("SELECT (SELECT count(*) FROM frame) + (SELECT count(*) FROM submission) + (SELECT count(*) FROM bank_file)").fetchone()
        assert row is not None, "counts give a row"
        return int(str(row[0]))

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection to its store."""
        return psycopg.connect(self.settings.store_urls[0].get_secret_value(), autocommit=True, application_name="payout crash")

    def outcome(self) -> Digest:
        """What is known and owed in the end; every invariant of the audit must hold, and the bank must have done each order once."""
        with opened(self.settings) as installation:
            found = audit(installation, journal=journal_path(self.home))
            problems = [f"{check.id}: {check.name}: {check.examples}" for check in found.checks if not check.ok]
            problems += unanswered(installation)
        problems += paid_twice(self.home)
        if problems:
            raise NotAsItMustBe("\n".join([self.name, *problems[:20]]))
        return found.digest


def paid_twice(home: Path) -> list[str]:
    """What the bank has done more than once, and orders that it was asked for twice."""
    movements = read_journal(journal_path(home))
    counted = Counter((movement.end_to_end_id, movement.outcome) for movement in movements)
    problems = [f"the journal has {identity} {outcome} {times} times" for (identity, outcome), times in counted.items() if times > 1]
    twice = [movement for movement in movements if movement.reason in ("AM05", "DU01", "DU04")]
    return problems + [f"{movement.end_to_end_id} came twice, it was rejected as {movement.reason}" for movement in twice]


def unanswered(installation: Installation) -> list[str]:
    """Orders that were released and of which the bank said nothing, submissions not put out, files left at the door."""
    problems = [f"{path.name} was left in bank/in" for path in (installation.bank_directory / "in").glob("*.xml")]
    for connection in installation.store.servers("payout crash"):
        row = connection.execute(
            "SELECT (SELECT count(*) FROM payment_order WHERE state IN (2, 3, 4, 8)), (SELECT count(*) FROM submission WHERE NOT written),"
            " (SELECT count(*) FROM lane JOIN relay USING (shard) WHERE release_seq <> relayed_seq),"
            " (SELECT count(*) FROM bank_file WHERE outcome <> 'read'), (SELECT count(*) FROM finding WHERE kind = 'answer_to_unknown_order')"
        ).fetchone()
        assert row is not None, "counts give a row"
        words = ("orders unanswered by the bank", "submissions not written", "shards not relayed", "files of the bank refused", "answers that concern nobody")
        problems += [f"{count} {what}" for count, what in zip(row, words, strict=True) if count]
    return problems


class Ground:
    """Where cases are tried: one server with a prepared database, a prepared log, and the undisturbed run to compare with."""

    def __init__(self, directory: Path, server: EmbeddedPostgres, *, shares: DemoShares = SHARES, subjects: int = SUBJECTS) -> None:
        self.directory, self._server = directory, server
        self._cases = 0
        self._execute("CREATE DATABASE prepared")
        Store.provision([self._url("prepared")], SHARDS)
        log = directory / "prepared-log"
        for topic in all_topics(load_registries(SHIPPED / "registries")):
            create_topic(log, topic, SHARDS)
        population = Population(SHIPPED / "data" / "us-cps-tax-units.parquet", 7, shares, first=subjects)
        self.records = put_records(_small(population), log, SHARDS)
        self._log = log
        undisturbed = self.site("undisturbed")
        self.passes: list[dict[str, int]] = []
        self.commits: list[int] = []
        self.took_s: list[float] = []
        with undisturbed.connect() as connection:
            for phase in PHASES:
                before, started_s = undisturbed.commits(connection), time.monotonic()
                undisturbed.done(phase)
                self.passes.append(undisturbed.passed(phase))
                self.took_s.append(time.monotonic() - started_s)
                self.commits.append(undisturbed.commits(connection) - before)
        self.expected = undisturbed.outcome()

    def site(self, name: str, *, embedded: bool = False) -> Site:
        """A new installation with everything in its log and nothing taken."""
        self._cases += 1
        database = f"case_{self._cases}"
        home = self.directory / database
        home.mkdir()
        shutil.copytree(self._log, home / "log")
        if not embedded:
            self._execute(f"CREATE DATABASE {database} TEMPLATE prepared")
        bank = Bank(debtor_agent_bic=BANK, bank_bic=BANK, batch_size=40)
        rule = SHIPPED / "benefits" / "us-eip1" / "2020-03-27.yaml"
        return Site(
            load_settings(
                home=home, store_urls=() if embedded else (self._url(database),), shards=SHARDS, frame_records=60, rules=(rule,), trust_rules=True, bank=bank
            ),
            name,
        )

    def point(self, name: str, place: float) -> Crash:
        """The crash at a named point, at the first passing (0.0) up to the last (1.0) of the phase that passes it most."""
        times = [passes.get(name, 0) for passes in self.passes]
        phase = times.index(max(times))
        return Crash(phase, self.pass_in_phase(phase, name, place))

    def pass_in_phase(self, phase: int, name: str, place: float) -> str:
        """The setting that kills at a named point, at the first passing (0.0) up to the last (1.0) in a phase."""
        times = self.passes[phase].get(name, 0)
        if times == 0:
            raise NotAsItMustBe(f"the undisturbed run never passes {name}")
        return f"{name}:{1 + round(place * (times - 1))}"

    def moment(self, seed: int, phase: int | None = None) -> Crash:
        """A crash at a random moment of the runner's work: a random number of commits, then up to a frame's time."""
        chance = Random(seed)
        if phase is None:
            phase = chance.choices((0, 2), weights=[self.commits[0], self.commits[2]])[0]
        return Crash(phase, "", chance.randrange(self.commits[phase]), chance.uniform(0, 0.02))

    def tried(self, *crashes: Crash, processes: int = 0, embedded: bool = False) -> None:
        """Runs everything with these crashes in it, goes on after each, and compares with the undisturbed run; NotAsItMustBe where they differ.

        `embedded`: with a store in the home, whose server goes when its process is killed.
        """
        site = self.site("; ".join(map(str, crashes)), embedded=embedded)
        for number, phase in enumerate(PHASES):
            for crash in crashes:
                if number == crash.phase:
                    self.kill(site, crash, processes)
            site.done(phase)
        self.compared(site)

    def storm(self, seed: int, kills: int) -> None:
        """Runner and bank run beside each other and are killed and started again so many times, each by chance; then everything must be as it must."""
        chance, site = Random(seed), self.site(f"storm of {kills} kills, seed {seed}")
        running = {phase: site.start(phase, once=False) for phase in ("runner", "bank")}
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, 1.5))
            phase = chance.choices(("runner", "bank"), weights=(3, 1))[0]
            running[phase].kill()
            if site.ended(running[phase]) != -signal.SIGKILL:
                raise NotAsItMustBe(f"{site.name}: {phase} was not there to be killed\n{site.said()}")
            running[phase] = site.start(phase, once=False)
        for process in running.values():
            process.kill()
            site.ended(process)
        for phase in ("bank", *PHASES):  # the bank first: what it had done and not answered
            site.done(phase)
        self.compared(site)

    def compared(self, site: Site) -> None:
        """What came of a site must be what came of the undisturbed run."""
        outcome = site.outcome()
        if outcome != self.expected:
            raise NotAsItMustBe(f"{site.name}: {outcome}, undisturbed {self.expected}")
        shutil.rmtree(site.home)
        self._execute(f"DROP DATABASE IF EXISTS {site.home.name} WITH (FORCE)")

    def kill(self, site: Site, crash: Crash, processes: int = 0) -> None:
        """Starts the phase of the crash and lets it die there."""
        if crash.point:
            code = site.ended(site.start(PHASES[crash.phase], once=processes == 0, armed=crash.point, processes=processes))
        else:
            code = self._kill_after(site, crash, processes)
        died = f"ended with code {-signal.SIGKILL}" in site.said() if processes and crash.point else code == -signal.SIGKILL
        if not died:
            raise NotAsItMustBe(f"the fault never fired: {crash}; the process ended with {code}\n{site.said()}")
        if crash.torn_bytes:
            torn_off(site.home / "log", crash.torn_bytes)

    def _kill_after(self, site: Site, crash: Crash, processes: int) -> int:
        with site.connect() as connection:
            begun = site.commits(connection)
            process = site.start(PHASES[crash.phase], once=False, processes=processes)
            deadline_s = time.monotonic() + PATIENCE_S
            while site.commits(connection) - begun < crash.commits and process.is_alive():
                if time.monotonic() > deadline_s:
                    process.kill()
                    raise NotAsItMustBe(f"{site.name}: only {site.commits(connection) - begun} commits within {PATIENCE_S:.0f} s\n{site.said()}")
                time.sleep(0.001)
            time.sleep(crash.while_s)
            process.kill()
            return site.ended(process)

    def kill_server(self) -> None:
        """Kills the server's main process; its keeper starts it again, which then recovers from its journal."""
        os.kill(main_process(self.directory / "server"), signal.SIGKILL)

    def _url(self, database: str) -> str:
        return self._server.url_of(database)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            connection.execute(statement.encode())


def torn_off(log: Path, count: int) -> None:
    """Cuts bytes off the end of the segment written last."""
    newest = max(log.glob("*/*/*.log"), key=lambda path: path.stat().st_mtime_ns)
    os.truncate(newest, max(newest.stat().st_size - count, 0))


def _small(population: Population) -> Iterator[tuple[str, Sequence[tuple[bytes, bytes]]]]:
    """The population's records in small pieces, so that the topics of a shard grow alongside."""
    for topic, records in population.events():
        for start in range(0, len(records), 100):
            yield topic, records[start : start + 100]


@contextmanager
def ground(directory: Path, shares: DemoShares | None = None) -> Iterator[Ground]:
    """A ground in a directory, its server running."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["loadtests.crashes"])
    with EmbeddedPostgres(directory / "server") as server:
        yield Ground(directory, server, shares=shares or SHARES)


__all__ = ["CLEAN", "Crash", "Ground", "NotAsItMustBe", "Site", "ground", "torn_off"]
