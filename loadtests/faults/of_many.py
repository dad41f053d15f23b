"""Many faults at once: of workers, brokers, PostgreSQL and the ways between them, by chance, before any of them is over."""

from __future__ import annotations

import random
import signal

from .case import Case
from .fault import fault

STRIKES = 16


def _kill_worker(case: Case, chance: random.Random) -> int:
    victims = case.workers.running
    for victim in chance.sample(victims, min(1, len(victims))):
        victim.signal(signal.SIGKILL)
    return len(victims[:1])


def _freeze_worker(case: Case, chance: random.Random) -> int:
    victims = chance.sample(case.workers.running, min(1, len(case.workers.running)))
    for victim in victims:
        victim.signal(signal.SIGSTOP)
        case.for_s(chance.uniform(1, 9))
        victim.signal(signal.SIGCONT)
    return len(victims)


def _kill_broker(case: Case, chance: random.Random) -> int:
    running = [node.number for node in case.ground.brokers.nodes() if node.pid]
    number = chance.choice(running)
    case.ground.node_signal(number, signal.SIGKILL)
    case.until(lambda: case.ground.node(number) == 0, f"broker {number} is gone")
    case.ground.brokers.up(len(case.ground.broker_proxies))
    return 1


def _kill_store(case: Case, chance: random.Random) -> int:
    case.ground.kill_server(chance.choice([signal.SIGKILL, signal.SIGQUIT, signal.SIGINT]))
    return 1


def _cut_store(case: Case, chance: random.Random) -> int:
    case.ground.store_proxy.cut("COMMIT", chance.randint(1, 5), chance.choice(["before_server", "before_client"]))
    return case.ground.store_proxy.reset() if chance.random() < 0.3 else 1


def _cut_brokers(case: Case, chance: random.Random) -> int:
    return sum(proxy.reset() for proxy in case.ground.broker_proxies if chance.random() < 0.7)


def _refuse(case: Case, chance: random.Random) -> int:
    proxy = chance.choice([case.ground.store_proxy, *case.ground.broker_proxies])
    proxy.refuse()
    case.for_s(chance.uniform(1, 4))
    proxy.accept()
    return 1


KINDS = (_kill_worker, _freeze_worker, _kill_broker, _kill_store, _cut_store, _cut_brokers, _refuse)


@fault(
    "many at once", "F02, F04, F10, F26, F41, F44, F45",
    how=f"{STRIKES} strikes by chance within one run, each kind at least twice: a worker "
    "killed or frozen, a broker killed, PostgreSQL killed or restarted, connections cut (around a COMMIT too) or refused; the next begins before the "
    "last is healed",
    counted="strikes", sees="all of the above", after=0.1, lasts_s=60,
)  # fmt: skip
def many(case: Case) -> int:
    """By a seed."""
    chance = random.Random(11)
    kinds = [*KINDS, *KINDS, *chance.choices(KINDS, k=STRIKES - 2 * len(KINDS))]
    chance.shuffle(kinds)
    struck = 0
    for strike in kinds:
        struck += strike(case, chance) > 0
        case.for_s(chance.uniform(0.2, 3))
    case.ground.store_proxy.accept()
    case.until(case.store_answers, "PostgreSQL is back")
    return struck
