"""Faults of workers: killed, stopped, frozen, joining and leaving, with clocks that are wrong."""

from __future__ import annotations

import random
import signal

from .case import Case, Worker
from .fault import fault
from .ground import NotAsItMustBe

POINTS = ("claimed", "after_fold", "before_commit", "after_commit", "relay_before_publish", "relay_after_publish", "relay_marked")
"""The named points of `connectors.failpoints` that a worker passes."""

REPLACED = "another worker has this shard"
EVICTED = "a worker that kept the shard locked was evicted"


def killed(worker: Worker) -> bool:
    """Whether a worker was killed."""
    return worker.code == -signal.SIGKILL


@fault(
    "a worker is killed at each named point", "F01",
    how="a worker kills itself at one of seven points around its transaction and its publishing, one after the other, while another one shares the shards",
    counted="workers killed",
    sees="the group misses the worker after `kafka.session_s`; the other one says `shards claimed` with all shards and goes on",
)  # fmt: skip
def killed_at_points(case: Case) -> int:
    """One armed worker after another."""
    case.start(1)
    parts = list(case.parts(len(POINTS) + 1))
    for point, part in zip(POINTS, parts, strict=False):
        armed = case.worker(failpoint=point)
        case.expect_end(armed)
        case.until(lambda armed=armed: armed.code is not None or armed.owner in case.owners(), f"the worker that is to die at {point} has shards")  # type: ignore[misc]
        case.feed_now(part)
        case.until(lambda armed=armed: armed.code is not None, f"a worker dies at {point}")  # type: ignore[misc]
        if not killed(armed):
            raise NotAsItMustBe(f"the worker that was to die at {point} ended with {armed.code}\n{case.told()}")
    case.feed_now(parts[-1])
    return sum(map(killed, case.workers))


@fault(
    "workers are killed at random", "F02", how="SIGKILL to one of two workers by chance, eight times, at moments by chance; a supervisor starts each again",
    counted="workers killed", sees="as above; the supervisor's count of restarts",
)  # fmt: skip
def killed_at_random(case: Case) -> int:
    """By a seed."""
    chance = random.Random(5)
    case.start(2)
    case.feed(rate=400)
    for _ in range(8):
        case.for_s(chance.uniform(0.5, 3))
        victim = chance.choice(case.running)
        victim.signal(signal.SIGKILL)
        case.until(lambda victim=victim: victim.code is not None, "a worker is gone")  # type: ignore[misc]
    return sum(map(killed, case.workers))


@fault(
    "workers are asked to end in the middle", "F03", how="SIGTERM to each of two workers under load, one after the other, each replaced",
    counted="workers that ended with exit code 0", sees="`payout: stopped; what was taken is committed`, and the other worker claims",
)  # fmt: skip
def terminated(case: Case) -> int:
    """A graceful end under load."""
    workers = case.start(2)
    case.feed()
    ended = 0
    for share, worker in zip((0.2, 0.5), workers, strict=True):
        case.until_taken(share)
        ended += case.end(worker, signal.SIGTERM) == 0
        case.worker()
    return ended if ended == len(workers) else 0


@fault(
    "all workers are killed at once and started at once", "F34", how="SIGKILL to both workers in the middle; the supervisor starts both together",
    counted="workers killed", sees="nothing is taken until the session of the dead has run out; then both say `shards claimed`",
)  # fmt: skip
def all_killed(case: Case) -> int:
    """A power cut of the workers' machine."""
    workers = case.start(2)
    case.feed()
    case.until_taken(0.3)
    for worker in workers:
        worker.signal(signal.SIGKILL)
    case.until(lambda: all(worker.code is not None for worker in workers), "both are gone")
    return sum(map(killed, workers))


@fault(
    "a worker is frozen past its session and comes back (the zombie)", "F04",
    how="SIGSTOP to one of two workers in the middle of its frames, until the other has claimed every shard and gone on; then SIGCONT",
    counted="commits of the zombie that were refused, and its transactions that were ended",
    sees=f"`{REPLACED}` in the log of the one that comes back, or `{EVICTED}` in that of the other; `payout_position_conflicts_total` rises",
)  # fmt: skip
def zombie(case: Case) -> int:
    """Both ways in which the fence holds count."""
    frozen, other = case.start(2)
    first, second = case.parts(2)
    case.feed_now(first)
    case.feed(second, rate=1e9)
    case.until_taken(0.5)
    case.until(lambda: case.owners().count(frozen.owner) > 0, "the worker that is to be frozen has shards")
    frozen.signal(signal.SIGSTOP)
    case.until(lambda: set(case.owners()) == {other.owner}, "the other worker has every shard")
    case.fed_all()
    frozen.signal(signal.SIGCONT)
    case.until(lambda: frozen.said(REPLACED) + case.said(EVICTED) > 0, "the zombie was refused")
    return frozen.said(REPLACED) + case.said(EVICTED)


@fault(
    "a rebalance storm", "F31, F32, F35", how="a third worker joins and leaves, asked or killed, every two seconds, ten times",
    counted="times that shards were claimed anew", sees="`shards claimed` again and again; `payout_rebalances_total` rises, throughput falls",
)  # fmt: skip
def storm(case: Case) -> int:
    """Members come and go faster than the group settles."""
    chance = random.Random(9)
    case.start(2)
    before = case.said("shards claimed")
    case.feed(rate=400)
    for turn in range(10):
        guest = case.worker()
        case.for_s(chance.uniform(1, 4))
        if turn % 2:
            guest.signal(signal.SIGKILL)
            case.expect_end(guest)
        else:
            case.end(guest, signal.SIGTERM)
    return case.said("shards claimed") - before


@fault(
    "clocks that are wrong and jump", "F70, F72, F73",
    how="the clock of one worker is three days ahead, that of the other three days behind, and each jumps ten minutes back every five seconds",
    counted="lines of the workers' logs whose time is days off", sees="times in logs and on records that cannot be; nothing that is decided or "
    "ordered follows a clock",
)  # fmt: skip
def skewed(case: Case) -> int:
    """Both workers by a clock of their own."""
    days = 3 * 86_400
    workers = [case.worker(command=("-m", "loadtests.faults.skewed", str(offset_s))) for offset_s in (days, -days)]
    case.until(lambda: {worker.owner for worker in workers} <= set(case.owners()), "both workers share the shards")
    case.feed()
    case.fed_all()
    case.settle()
    return sum(worker.said('"timestamp": "') for worker in workers) if {worker.code for worker in workers} == {None} else 0
