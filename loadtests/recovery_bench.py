"""How long it takes until everything goes on at full rate after kill -9 of one of two workers, with the end result held to what is due.

    python -m loadtests.recovery_bench [--case NAME ...] [--write]

`named`: two workers on Kafka, each with a fixed name (`kafka.instance`); the killed one is started anew at once, as a supervisor does. `unnamed`: the
same without names. `alone`: nobody starts it anew, and the other one takes its shards. `embedded`: one of the two processes of `payout run` is killed,
which ends the runner, and it is started anew. The backlog is of people who are all new, so that every part of it is equally much work.

Back at full rate: from that moment on, all shards are taken and over two seconds the rate is at least nine tenths of what it was in the four seconds
before the kill, which comes after ten seconds of work.
`--write` writes the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console

from connectors.broker_files import BrokerUnavailable
from streams.settings import SHIPPED

from .documents import conclude
from .peers.job import copied, due, records
from .sight import Sight
from .site import Site, SiteFailed, embedded_site, kafka_site, looking, ordered, positions

CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
CASES = ("named", "unnamed", "alone", "embedded")
BEFORE_S, OVER_S, SHARE = 4.0, 2.0, 0.9
WARM_S = 10.0
"""The first seconds, in an empty database and with what was fetched while the lanes began, are quicker than what can be kept up."""
AIM_S = 15.0
HEAD = ("case", "events/s before", "first shard goes on, s", "last shard goes on, s", "full rate again, s", "events/s then", f"aim {AIM_S:.0f} s")


class Recovery(msgspec.Struct, frozen=True):
    """What was measured of one kill, in seconds from it. `full_s` is None where full rate was not reached before the backlog was empty."""

    case: str
    before_per_s: float
    first_s: float
    last_s: float
    full_s: float | None
    then_per_s: float

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        full = "not" if self.full_s is None else f"{self.full_s:.1f}"
        verdict = "reached" if self.full_s is not None and self.full_s <= AIM_S else "NOT reached"
        return self.case, f"{self.before_per_s:,.0f}", f"{self.first_s:.1f}", f"{self.last_s:.1f}", full, f"{self.then_per_s:,.0f}", verdict


def recovery(case: str, site: Site, copies: int, units: int | None) -> tuple[Recovery, bool]:
    """(what was measured, whether everybody was ordered exactly what was due)."""
    for copy in range(copies):
        for piece in records(units):
            site.put(copied(piece, copy + 1))
    assert site.writer is not None, "the site is open"
    site.writer.flush()
    with looking(site) as connection:
        _start(case, site)
        site.until_claimed(connection)
        with Sight(site, 0.02) as sight:
            site.until(lambda: all(offset > 0 for offset in positions(connection).values()), "every shard is taken")
            site.until(lambda: sight.seen[-1].at_s - sight.seen[0].at_s > WARM_S + BEFORE_S, "they have been at work for a while")
            killed_s = _kill(case, site)
            site.until(lambda: sight.taken == site.put_records, "everything is taken")
        found = _measured(case, sight, killed_s)
        said, wanted = ordered(connection), due(units)
    return found, (said.orders, said.amount_minor) == (copies * wanted.orders, copies * wanted.amount_minor)


def _start(case: str, site: Site) -> None:
    for number in range(1 if case == "embedded" else 2):
        site.start(**({"PAYOUT_KAFKA__INSTANCE": f"worker-{number}"} if case == "named" else {}))


def _kill(case: str, site: Site) -> float:
    """Kills one, and starts it anew as the case has it; gives the moment."""
    if case == "embedded":
        process = site.processes()["lanes 0"]
        killed_s = time.monotonic()
        process.kill()
        runner = site.running.pop()
        code = runner.wait()
        if code != 3:
            raise SiteFailed(f"the runner of a killed process of lanes ended with {code}, not 3")
        site.start()
        return killed_s
    killed_s = time.monotonic()
    site.running[1].send_signal(signal.SIGKILL)
    site.running[1].wait()
    if case != "alone":
        site.start(**({"PAYOUT_KAFKA__INSTANCE": "worker-1"} if case == "named" else {}))
    return killed_s


def _measured(case: str, sight: Sight, killed_s: float) -> Recovery:
    before = sight.rate(killed_s - BEFORE_S, killed_s)
    at_kill = next(seen for seen in reversed(sight.seen) if seen.at_s <= killed_s).offsets
    ends = sight.seen[-1].offsets
    # What was in flight when the kill came may still be seen right after it.
    goes_on = {
        shard: next((seen.at_s - killed_s for seen in sight.seen if seen.at_s > killed_s + 0.3 and seen.offsets[shard] > at_kill[shard]), 0.0)
        for shard, end in ends.items()
        if end > at_kill[shard]
    }
    last_s = max(goes_on.values())
    end_s = sight.seen[-1].at_s
    moments = [seen.at_s for seen in sight.seen if killed_s + last_s - OVER_S < seen.at_s <= end_s - OVER_S and seen.at_s >= killed_s]
    full = next((moment for moment in moments if sight.rate(moment, moment + OVER_S) >= SHARE * before), None)
    then = sight.rate(full, min(end_s, full + 2 * OVER_S)) if full is not None else 0.0
    return Recovery(case, before, min(goes_on.values()), last_s, None if full is None else max(last_s, full - killed_s), then)


@contextmanager
def site_of(case: str, tools: Path) -> Iterator[Site]:
    """A site for a case, nothing started yet."""
    home = Path(tempfile.mkdtemp(prefix="payout-recovery-"))
    try:
        with embedded_site(home) if case == "embedded" else kafka_site(home, tools) as site:
            yield site
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> int:
    """The command line; exit code 1 where other than what was due was ordered, 3 where the program failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be given again")
    parser.add_argument("--copies", type=int, default=9, help="the backlog is the population so many times; it must last for some 60 seconds")
    parser.add_argument("--units", type=int, default=None, help="only so many tax units")
    parser.add_argument("--tools", type=Path, default=SHIPPED / ".kafka", help="folder in which Kafka is, or is fetched to")
    parser.add_argument("--write", action="store_true", help="write the table of docs/performance.md")
    arguments = parser.parse_args()
    found: list[Recovery] = []
    exact = True
    for case in arguments.case or CASES:
        try:
            with site_of(case, arguments.tools) as site:
                one, as_due = recovery(case, site, arguments.copies, arguments.units)
        except BrokerUnavailable as error:
            CONSOLE.print(f"{case} was left out: {error}", markup=False)
            continue
        except SiteFailed as error:
            print(f"recovery_bench: {case}: {error}", file=sys.stderr)
            return 3
        CONSOLE.print(f"  {case}: full rate again after {one.cells[4]} s")
        found.append(one)
        exact &= as_due
    block = ("recovery", "recovery_bench") if arguments.write else None
    return conclude(CONSOLE, "kill -9 of one of two at full rate", HEAD, [one.cells for one in found], exact=exact, block=block)


if __name__ == "__main__":
    sys.exit(main())
