"""Faults of the way to the brokers: slow, silent, refused, cut, in slices, with answers that are lost. A proxy before each broker makes them."""

from __future__ import annotations

import random

from loadtests.proxy import OFFSET_COMMIT, PRODUCE, Proxy

from .case import Case
from .fault import fault


def _proxies(case: Case) -> list[Proxy]:
    return case.ground.broker_proxies


@fault(
    "the way to the brokers is slow", "F24", how="each packet to and from every broker is 20 to 150 ms late until half of the events are taken",
    counted="packets delayed", sees="events arrive late; nothing else", after=0,
)  # fmt: skip
def slow(case: Case) -> int:
    """By every proxy."""
    before = sum(proxy.delayed for proxy in _proxies(case))
    for proxy in _proxies(case):
        proxy.delay_s, proxy.jitter_s = 0.02, 0.13
    case.until_taken(0.5)
    return sum(proxy.delayed for proxy in _proxies(case)) - before


@fault(
    "a broker is there and silent", "F25", how="the proxy before one broker passes nothing on and closes nothing for twelve seconds",
    counted="sessions held", sees="as of a broker that is frozen; but the other brokers see it well, so no leader moves and its partitions wait", lasts_s=12,
)  # fmt: skip
def silent(case: Case) -> int:
    """A half-open network: the cluster does not notice."""
    proxy = _proxies(case)[1]
    held = proxy.open_sessions
    proxy.hold()
    case.for_s(12)
    proxy.resume()
    return held


@fault(
    "connections to the brokers are cut again and again", "F26", how="every connection to one broker by chance is cut, every 300 ms, fifty times",
    counted="connections cut", sees="the Kafka client connects again; `payout_rebalances_total` may rise", lasts_s=15,
)  # fmt: skip
def cut_again(case: Case) -> int:
    """A storm of resets, at one broker after the other."""
    chance, cut = random.Random(3), 0
    for _ in range(50):
        cut += chance.choice(_proxies(case)).reset()
        case.for_s(0.3)
    return cut


@fault(
    "the brokers refuse connections, one after the other", "F29, F83", how="connections to one broker after the other are cut and refused until all three "
    "are; eight seconds later they are taken again in another order",
    counted="connections cut", sees="`Unable connect to node` from the Kafka client; nothing is fetched or published", lasts_s=12,
)  # fmt: skip
def refused(case: Case) -> int:
    """The last to go is the first to come back."""
    before = sum(proxy.resets for proxy in _proxies(case))
    for proxy in _proxies(case):
        proxy.refuse()
        case.for_s(1.5)
    case.for_s(8)
    for proxy in reversed(_proxies(case)):
        proxy.accept()
        case.for_s(1.5)
    return sum(proxy.resets for proxy in _proxies(case)) - before


@fault(
    "the answer to a publication is lost", "F27", how="a proxy lets the relay's produce request through, and ends the session before the broker's "
    "answer, six times",
    counted="sessions cut", sees="nothing: the producer repeats itself under the same number, and the broker keeps one copy", after=0, lasts_s=10,
)  # fmt: skip
def answer_to_publication_lost(case: Case) -> int:
    """The broker has the orders, and the relay does not know."""
    return _answers_lost(case, PRODUCE, "payout-relay", times=6)


@fault(
    "the answer to an offset commit is lost", "F28", how="the same for the offsets that workers tell their group, three times",
    counted="sessions cut", sees="nothing: the group's offsets are advice, and the positions stand in the store", after=0, lasts_s=18,
)  # fmt: skip
def answer_to_offsets_lost(case: Case) -> int:
    """What the group knows does not matter."""
    return _answers_lost(case, OFFSET_COMMIT, "", times=3)


def _answers_lost(case: Case, kind: str, client: str, times: int) -> int:
    before = sum(proxy.cuts for proxy in _proxies(case))
    for _ in range(times):
        for proxy in _proxies(case):
            proxy.cut(kind, 1, "before_client", client)
        case.until(lambda: any(proxy.was_cut.is_set() for proxy in _proxies(case)), f"an answer to {kind} was lost")
    return sum(proxy.cuts for proxy in _proxies(case)) - before


@fault(
    "packets come in slices", "F30", how="everything to and from the brokers is passed on 97 bytes at a time, until half of the events are taken",
    counted="sessions that were sliced", sees="nothing", after=None,
)  # fmt: skip
def sliced(case: Case) -> int:
    """No message comes whole."""
    before = sum(proxy.sessions for proxy in _proxies(case))
    for proxy in _proxies(case):
        proxy.slice_bytes = 97
    case.under_way(0.5, 8)
    return sum(proxy.sessions for proxy in _proxies(case)) - before
