"""Faults of workers: killed, stopped, frozen, blocked, without memory, files or processor, joining and leaving, with clocks that are wrong."""

from __future__ import annotations

import random
import resource
import signal
import time
from datetime import datetime

import msgspec

from .case import Case
from .fault import fault
from .ground import SHARDS, NotAsItMustBe
from .of_messages import MEGABYTE
from .troubled import GOES_ON, JUMP_S, STANDS
from .workers import Worker

POINTS = ("claimed", "after_fold", "before_commit", "after_commit", "relay_before_publish", "relay_after_publish", "relay_marked")
"""The named points of `connectors.failpoints` that a worker passes."""

REPLACED = "another worker has this shard"
EVICTED = "a worker that kept the shard locked was evicted"
CLAIMED = "shards claimed"
BLOCKED_S = 20
SKEW_S = 3 * 86_400


@fault(
    "a worker is killed at each named point", "F01",
    how="a worker kills itself at one of seven points around its transaction and its publishing, one after the other, while another one shares the shards",
    counted="workers killed",
    sees="the group misses the worker after `kafka.session_s`; the other one says `shards claimed` with all shards and goes on",
    after=None,
)  # fmt: skip
def killed_at_points(case: Case) -> int:
    """One armed worker after another."""
    case.start(1)
    *parts, rest = case.parts(len(POINTS) + 1)
    for point, part in zip(POINTS, parts, strict=True):
        armed = case.workers.add(failpoint=point)
        case.workers.let_go(armed)
        case.until(lambda armed=armed: armed.code is not None or armed.owner in case.owners(), f"the worker that is to die at {point} has shards")  # type: ignore[misc]
        case.feed_now(part)
        case.until(lambda armed=armed: armed.code is not None, f"a worker dies at {point}")  # type: ignore[misc]
        if not armed.killed:
            raise NotAsItMustBe(f"the worker that was to die at {point} ended with {armed.code}\n{case.workers.told()}")
    case.feed_now(rest)
    return sum(worker.killed for worker in case.workers.all)


@fault(
    "workers are killed at random", "F02", how="SIGKILL to one of two workers by chance, eight times, at moments by chance; a supervisor starts each again",
    counted="workers killed", sees="as above; the supervisor's count of restarts", after=0, lasts_s=20,
)  # fmt: skip
def killed_at_random(case: Case) -> int:
    """By a seed."""
    chance = random.Random(5)
    for _ in range(8):
        case.for_s(chance.uniform(0.5, 3))
        victim = chance.choice(case.workers.running)
        victim.signal(signal.SIGKILL)
        case.until(lambda victim=victim: victim.code is not None, "a worker is gone")  # type: ignore[misc]
    return sum(worker.killed for worker in case.workers.all)


@fault(
    "workers are asked to end in the middle", "F03", how="SIGTERM to each of two workers under load, one after the other, each replaced",
    counted="workers that ended with exit code 0", sees="`payout: stopped; what was taken is committed`, and the other worker claims",
)  # fmt: skip
def terminated(case: Case) -> int:
    """A graceful end under load."""
    ended = 0
    for share, worker in zip((0.2, 0.5), case.workers.running, strict=True):
        case.until_taken(share)
        ended += case.workers.end(worker, signal.SIGTERM) == 0
        case.workers.add()
    return ended if ended == 2 else 0


@fault(
    "all workers are killed at once and started at once", "F34", how="SIGKILL to both workers in the middle; the supervisor starts both together",
    counted="workers killed", sees="nothing is taken until the session of the dead has run out; then both say `shards claimed`",
)  # fmt: skip
def all_killed(case: Case) -> int:
    """A power cut of the workers' machine."""
    workers = case.workers.running
    for worker in workers:
        worker.signal(signal.SIGKILL)
    case.until(lambda: all(worker.code is not None for worker in workers), "both are gone")
    return sum(worker.killed for worker in workers)


@fault(
    "a worker is frozen past its session and comes back (the zombie)", "F04",
    how="SIGSTOP to one of two workers in the middle of its frames, until the other has claimed every shard and gone on; then SIGCONT",
    counted="commits of the zombie that were refused, and its transactions that were ended",
    sees=f"`{REPLACED}` in the log of the one that comes back, or `{EVICTED}` in that of the other; `payout_position_conflicts_total` rises",
    after=None,
)  # fmt: skip
def zombie(case: Case) -> int:
    """Both ways in which the fence holds count."""
    frozen, other = case.start(2)
    first, second = case.parts(2)
    case.feed_now(first)
    case.feed(second)
    case.until_taken(0.5)
    case.until(lambda: frozen.owner in case.owners(), "the worker that is to be frozen has shards")
    frozen.signal(signal.SIGSTOP)
    case.until(lambda: set(case.owners()) == {other.owner}, "the other worker has every shard")
    case.fed_all()
    frozen.signal(signal.SIGCONT)
    case.until(lambda: frozen.said(REPLACED) + case.workers.said(EVICTED) > 0, "the zombie was refused")
    return frozen.said(REPLACED) + case.workers.said(EVICTED)


@fault(
    "a worker's event loop stands still", "F07, F08", how=f"a call that does not return blocks the event loop of one of two workers for {BLOCKED_S} seconds, "
    "while its threads go on and send heartbeats",
    counted="times that it stood still to the end", sees="lag of its shards grows; then it goes on", after=None,
)  # fmt: skip
def blocked(case: Case) -> int:
    """Alive, a member of its group, and taking nothing."""
    other, stands = case.workers.add(), case.workers.add(trouble=("blocked", str(BLOCKED_S)))
    case.shared_by(other, stands)
    case.feed(lasts_s=BLOCKED_S)
    case.until_taken(0.2)
    stands.signal(signal.SIGVTALRM)
    case.until(lambda: stands.said(STANDS) > 0, "the event loop stands still")
    case.until(lambda: stands.said(GOES_ON) > 0, "the event loop goes on")
    return stands.said(GOES_ON)


@fault(
    "a worker has no memory left", "F05", how="the address space of one of two workers is limited to what it has (RLIMIT_AS) in the middle of its frames, "
    "and then records of 10 MB come",
    counted="workers that ended by it", sees="the worker ends with `MemoryError` or by a signal; its supervisor starts another one", lasts_s=12,
)  # fmt: skip
def no_memory(case: Case) -> int:
    """Wherever it happens to ask for more."""
    victim = case.workers.running[0]
    resource.prlimit(victim.pid, resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
    case.put([("registry.tax", shard, b"us-1", bytes(10 * MEGABYTE)) for shard in range(SHARDS)])
    case.dead_letters += SHARDS
    case.until(lambda: victim.code is not None, "the worker ends")
    return int(victim.code != 0)


@fault(
    "a worker has no files left", "F110", how="one of two workers may open no file more (RLIMIT_NOFILE), while the sessions that it has are ended; "
    "ten seconds later it may again",
    counted="attempts that failed by it", sees="`connection is bad: no error details available` (as PostgreSQL's library says) or `Too many open files`, in "
    "`the store is away, trying again`", lasts_s=15,
)  # fmt: skip
def no_files(case: Case) -> int:
    """What it needs anew it does not get."""
    victim = case.workers.running[0]
    before = resource.prlimit(victim.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(victim.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    case.ground.store_proxy.reset()
    case.for_s(10)
    if victim.code is None:
        resource.prlimit(victim.pid, resource.RLIMIT_NOFILE, before)
    return victim.said("Too many open files", "no error details available")


@fault(
    "a worker gets a twentieth of the processor", "F113", how="one of two workers is stopped for 380 of every 400 milliseconds, for fifteen seconds",
    counted="times stopped", sees="lag of its shards grows; it keeps them as long as it can send heartbeats", lasts_s=15,
)  # fmt: skip
def starved(case: Case) -> int:
    """Slow, and never quite dead."""
    victim, stopped, end_s = case.workers.running[0], 0, time.monotonic() + 15
    while time.monotonic() < end_s and victim.code is None:
        victim.signal(signal.SIGSTOP)
        case.for_s(0.38)
        victim.signal(signal.SIGCONT)
        time.sleep(0.02)
        stopped += 1
    return stopped


@fault(
    "the disk of a worker's log is full", "F111", how="the file into which every worker writes its log takes nothing (`/dev/full`), from the start to the end",
    counted="lines that could not be written", sees="`No space left on device` on the worker's standard error; nothing else", after=None, lasts_s=4,
)  # fmt: skip
def log_full(case: Case) -> int:
    """What is said of the work does not hinder the work."""
    folder = case.home / "logs"
    folder.mkdir(exist_ok=True)
    (folder / "payout.ndjson").symlink_to("/dev/full")
    case.under_way(0.5, 4)
    case.settle()
    return case.workers.said("No space left on device")


@fault(
    "a rebalance storm", "F31, F32, F35", how="a third worker joins, and leaves as soon as it has shards, asked or killed; six times, without a pause",
    counted="times that shards were claimed anew", sees="`shards claimed` again and again; `payout_rebalances_total` rises, throughput falls",
    after=0, lasts_s=40,
)  # fmt: skip
def storm(case: Case) -> int:
    """Members come and go, and the group settles for a moment only."""
    before = case.workers.said(CLAIMED)
    for turn in range(6):
        guest = case.workers.add()
        case.shared_by(guest)
        case.workers.end(guest, signal.SIGKILL if turn % 2 else signal.SIGTERM)
    return case.workers.said(CLAIMED) - before


@fault(
    "shards are taken away in the middle of a long transaction", "F33, F48", how="others keep a table locked for twelve seconds, longer than a lane waits "
    "for a lock, and meanwhile a third worker joins",
    counted="statements that waited too long, and transactions that were ended for the new owner",
    sees=f"`canceling statement due to lock timeout` in `the store is away, trying again`; `{EVICTED}`", lasts_s=15,
)  # fmt: skip
def revoked_in_transaction(case: Case) -> int:
    """The transaction does not end within the five seconds that a worker gives it."""
    with case.locked("LOCK TABLE facts IN EXCLUSIVE MODE"):
        guest = case.workers.add()
        case.for_s(12)
    case.shared_by(guest)
    return case.workers.said("lock timeout", EVICTED)


@fault(
    "clocks that are wrong, jump and stand still", "F70, F72, F74",
    how="the clock of one worker is three days ahead, that of another three days behind, and each jumps ten minutes back every five seconds; that of a "
    "third stands still",
    counted="lines of the three logs by a clock that was wrong", sees="times in logs that cannot be; nothing that is decided or "
    "ordered follows a clock", after=None,
)  # fmt: skip
def skewed(case: Case) -> int:
    """Each worker by a clock of its own; the times that it wrote prove it."""
    ahead, behind, still = (case.workers.add(trouble=("clock", how)) for how in (str(SKEW_S), str(-SKEW_S), "still"))
    case.shared_by(ahead, behind, still)
    case.feed(lasts_s=12)
    case.settle()
    off_s = {worker: clock_off_s(worker) for worker in (ahead, behind, still)}
    told = {
        "lines three days ahead": sum(seconds > SKEW_S - 3_600 for seconds in off_s[ahead]),
        "lines three days behind": sum(seconds < 3_600 - SKEW_S for seconds in off_s[behind]),
        "lines of a clock that stood still": len(off_s[still]) if max(off_s[still]) - min(off_s[still]) < 1 else 0,
        "clocks that jumped back": sum(max(off_s[worker]) - min(off_s[worker]) > JUMP_S / 2 for worker in (ahead, behind)),
    }
    if min(told.values()) < 1 or told["clocks that jumped back"] < 2:
        raise NotAsItMustBe(f"not every clock was in use: {told}\n{case.workers.told()}")
    if {worker.code for worker in off_s} != {None}:
        raise NotAsItMustBe(f"a worker ended by its clock\n{case.workers.told()}")
    return sum(told.values())


def clock_off_s(worker: Worker) -> list[float]:
    """By how much each time in a worker's log lies behind the moment at which it was started."""
    written = [msgspec.json.decode(line)["timestamp"] for line in worker.text.splitlines() if line.startswith("{")]
    return [datetime.fromisoformat(moment).timestamp() - worker.began_s for moment in written]
