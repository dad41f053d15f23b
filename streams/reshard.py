"""A larger number of shards for a stopped installation: everything is taken first, the store is divided, the log gets the new partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from connectors.failpoints import failpoint
from connectors.kafka_topics import Topics
from connectors.segment_log import extend_topic
from connectors.store import reshard as division
from connectors.store.schema import at_work
from connectors.store.servers import Store
from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries

from .audit import Audit, Check, audit, digest_of
from .installation import Installation
from .log_ends import log_ends
from .settings import Settings
from .topics import all_topics

MOST_SHARDS = 1024


class Divided(NamedTuple):
    """What became of an installation: how many shards it had and has, how many subjects moved, and the proof afterwards."""

    before: int
    after: int
    moved: int
    audit: Audit


def reshard(settings: Settings, registries: Registries, urls: Sequence[str], shards: int, progress: Callable[[str], None] = lambda step: None) -> Divided:
    """Divides the shards of a stopped installation, or goes on with a division that was interrupted. Malformed where it cannot be done."""
    found = division.provisioned(urls)
    before = min(found)
    _check_number(before, shards, found)
    left = [server for server, count in enumerate(found) if count != shards]
    installation = Installation(settings, Store(urls, before), registries)
    if len(left) == len(urls):
        progress("the audit before")
        _check_stopped(installation)
    digest = digest_of(installation)
    moved = 0
    for server in left:
        moved += division.divide(installation.store, server, shards, _on_server(server, progress))
        failpoint("server_divided")
    progress("the log")
    _extend_log(settings, registries, shards)
    failpoint("topics_grown")
    progress("the audit afterwards")
    proof = audit(Installation(settings, Store.open(urls), registries))
    violations = [] if proof.digest == digest else [f"{digest} before, {proof.digest} afterwards"]
    same = Check("digest", "what is known and owed is what it was before", not violations, 2, len(violations), violations)
    return Divided(before, shards, moved, Audit(proof.ok and same.ok, [*proof.checks, same], proof.digest))


def _on_server(server: int, progress: Callable[[str], None]) -> Callable[[str], None]:
    return lambda step: progress(f"server {server}: {step}")


def _check_number(before: int, shards: int, found: Sequence[int]) -> None:
    servers, problems = len(found), []
    if set(found) - {before, shards}:
        problems.append(f"the servers have {', '.join(map(str, found))} shards: end that division first")
    if shards < before or shards % before or shards > MOST_SHARDS:
        problems.append(f"a store of {before} shards can have {2 * before}, {3 * before} or another multiple, {MOST_SHARDS} at most")
    if before % servers:
        problems.append(f"{before} shards on {servers} servers cannot be divided, since people would change servers: it must be a multiple of the servers")
    if problems:
        raise Malformed([Problem("shards", problem) for problem in problems])


def _check_stopped(installation: Installation) -> None:
    """Everything in the log is taken, everything that follows is done, and the proof holds."""
    positions, problems = installation.positions(), []
    for (topic, shard), end in log_ends(installation).items():
        if topic in installation.topics and positions.get((topic, shard), 0) < end:
            what = f"{end - positions.get((topic, shard), 0)} records are not taken yet"
            problems.append(Problem(f"{topic} shard {shard}", what, "Stop what puts events, and let the workers take everything, then stop them too."))
    for server, connection in enumerate(installation.store.servers("payout reshard")):
        problems += [Problem(f"server {server}", f"{name} works with it", "Stop every worker and bank desk.") for name in at_work(connection)]
        problems += [Problem(f"server {server}", what, "Let everything that runs come to its end, then stop it.") for what in division.waiting(connection)]
    if not problems:
        proof = audit(installation)
        problems = [Problem(check.id, f"{check.name}: {check.violations} broken", "Look at `payout audit`.") for check in proof.checks if not check.ok]
    if problems:
        raise Malformed(problems)


def _extend_log(settings: Settings, registries: Registries, shards: int) -> None:
    topics = all_topics(registries)
    if settings.kafka.servers:
        with Topics(settings.kafka.cluster()) as kafka:
            kafka.grow(topics, shards)
        return
    for topic in topics:
        extend_topic(settings.home / "log", topic, shards)
