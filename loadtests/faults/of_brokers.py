"""Faults of brokers and of the way to them: killed, stopped, frozen, most of them away, cut, slow, silent, full, with topics that are not what "
"they were."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

from loadtests.proxy import OFFSET_COMMIT, PRODUCE

from .case import Case
from .fault import fault
from .ground import NODES, NotAsItMustBe, fill

BROKERS = range(1, NODES + 1)


def _gone(case: Case, number: int, signal_number: int) -> int:
    """Ends a broker; 1 once it is gone."""
    case.ground.node_signal(number, signal_number)
    case.until(lambda: case.ground.node(number) == 0, f"broker {number} is gone")
    return 1


@fault(
    "brokers are killed, one after the other", "F10, F11", how="SIGKILL to each of three brokers in turn, leaders and the controller among them; "
    "each is started again",
    counted="brokers killed", sees="errors of the Kafka client for some seconds; leaders move, nothing acknowledged is lost (two of three copies)",
)  # fmt: skip
def brokers_killed(case: Case) -> int:
    """Each is back before the next one goes."""
    case.start(2)
    case.feed(rate=400)
    killed = 0
    for share, number in zip((0.1, 0.3, 0.5), BROKERS, strict=True):
        case.until_taken(share)
        killed += _gone(case, number, signal.SIGKILL)
        case.for_s(4)
        case.ground.brokers.up(NODES)
    return killed


@fault(
    "brokers are restarted, one after the other", "F14", how="SIGTERM to each of three brokers in turn, as in an upgrade; each is started again",
    counted="brokers stopped", sees="little: leaders are handed over before a broker ends",
)  # fmt: skip
def brokers_restarted(case: Case) -> int:
    """A rolling restart."""
    case.start(2)
    case.feed(rate=400)
    stopped = 0
    for share, number in zip((0.1, 0.3, 0.5), BROKERS, strict=True):
        case.until_taken(share)
        stopped += _gone(case, number, signal.SIGTERM)
        case.ground.brokers.up(NODES)
    return stopped


@fault(
    "a broker is frozen", "F12, F25", how="SIGSTOP to one broker for fifteen seconds, longer than the others wait for it; then SIGCONT",
    counted="brokers frozen", sees="requests to it time out; its leaders move after three seconds (here), and it catches up when it comes back",
)  # fmt: skip
def broker_frozen(case: Case) -> int:
    """It is there and answers nothing."""
    case.start(2)
    case.feed(rate=400)
    case.until_taken(0.2)
    pid = case.ground.node_signal(1, signal.SIGSTOP)
    case.for_s(15)
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    case.ground.node_signal(1, signal.SIGCONT)
    return int(state == "T")


@fault(
    "two of three brokers are away", "F13", how="SIGKILL to two of three brokers together; twenty seconds later both are started again",
    counted="brokers killed", sees="nothing can be put, published or claimed: the one broker left has no majority; `KafkaAway` at the producers, "
    "then everything goes on",
)  # fmt: skip
def most_away(case: Case) -> int:
    """Below the copies that an acknowledgement needs."""
    case.start(2)
    case.feed(rate=600)
    case.until_taken(0.2)
    killed = sum(_gone(case, number, signal.SIGKILL) for number in (2, 3))
    case.for_s(20)
    case.ground.brokers.up(NODES)
    return killed


@fault(
    "all brokers are killed at once", "F15", how="SIGKILL to all three together; ten seconds later all are started again", counted="brokers killed",
    sees="as above; what had been acknowledged is there",
)  # fmt: skip
def all_away(case: Case) -> int:
    """A power cut of the cluster."""
    case.start(2)
    case.feed(rate=600)
    case.until_taken(0.2)
    for number in BROKERS:
        case.ground.node_signal(number, signal.SIGKILL)
    case.until(lambda: not any(map(case.ground.node, BROKERS)), "all are gone")
    case.for_s(10)
    case.ground.brokers.up(NODES)
    return len(BROKERS)


@fault(
    "a broker's disk is full", "F16", how="the directory of one broker is on a disk of 1 GiB (tmpfs) that is filled to its last byte under load; "
    "the broker ends, "
    "the disk is emptied, and it is started again",
    counted="brokers that ended by it", sees="`No space left on device` in the broker's log; the other two go on",
)  # fmt: skip
def broker_disk_full(case: Case) -> int:
    """Two copies of three are enough."""
    ground, number = case.ground, 3
    data = ground.brokers.directory / f"node{number}" / "data"
    _gone(case, number, signal.SIGTERM)
    aside = data.with_name("data.aside")
    data.rename(aside)
    ended = 0
    with ground.disk(data) as disk:
        shutil.copytree(aside, disk, dirs_exist_ok=True)
        ground.brokers.up(NODES)
        case.start(2)
        case.feed(rate=400)
        case.until_taken(0.2)
        ballast = fill(disk)
        case.until(lambda: ground.node(number) == 0, "the broker whose disk is full has ended")
        ended += 1
        ballast.unlink()
        ground.brokers.up(NODES)
        case.settle()
        _gone(case, number, signal.SIGTERM)
        shutil.rmtree(aside)
        shutil.copytree(disk, aside)
    data.rmdir()
    aside.rename(data)
    ground.brokers.up(NODES)
    return ended


@fault(
    "the way to the brokers is slow", "F24", how="each packet to and from every broker is 20 to 150 ms late until half of the events are taken",
    counted="packets delayed", sees="events arrive late; nothing else",
)  # fmt: skip
def slow(case: Case) -> int:
    """By every proxy."""
    before = sum(proxy.delayed for proxy in case.ground.broker_proxies)
    case.start(2)
    for proxy in case.ground.broker_proxies:
        proxy.delay_s, proxy.jitter_s = 0.02, 0.13
    case.feed()
    case.until_taken(0.5)
    for proxy in case.ground.broker_proxies:
        proxy.heal()
    return sum(proxy.delayed for proxy in case.ground.broker_proxies) - before


@fault(
    "a broker is there and silent", "F25", how="the proxy before one broker passes nothing on and closes nothing for fifteen seconds",
    counted="sessions held", sees="as of a broker that is frozen; but the other brokers see it well, so no leader moves and its partitions wait",
)  # fmt: skip
def silent(case: Case) -> int:
    """A half-open network: the cluster does not notice."""
    case.start(2)
    case.feed(rate=400)
    case.until_taken(0.2)
    proxy = case.ground.broker_proxies[1]
    held = proxy.open_sessions
    proxy.hold()
    case.for_s(15)
    proxy.resume()
    return held


@fault(
    "connections to the brokers are cut again and again", "F26, F29", how="every connection to one broker by chance is cut, every 300 ms for "
    "fifteen seconds",
    counted="connections cut", sees="the Kafka client connects again; `payout_rebalances_total` may rise",
)  # fmt: skip
def cut_again(case: Case) -> int:
    """A storm of resets, at one broker after the other."""
    chance = random.Random(3)
    case.start(2)
    case.feed(rate=400)
    case.until_taken(0.1)
    cut = 0
    for _ in range(50):
        cut += chance.choice(case.ground.broker_proxies).reset()
        case.for_s(0.3)
    return cut


@fault(
    "the answer to a publication is lost", "F27", how="a proxy lets the relay's produce request through, and ends the session before the broker's "
    "answer, six times",
    counted="sessions cut", sees="nothing: the producer repeats itself under the same number, and the broker keeps one copy",
)  # fmt: skip
def answer_to_publication_lost(case: Case) -> int:
    """The broker has the orders, and the relay does not know."""
    return _answers_lost(case, PRODUCE, "payout-relay")


@fault(
    "the answer to an offset commit is lost", "F28", how="the same for the offsets that workers tell their group, three times",
    counted="sessions cut", sees="nothing: the group's offsets are advice, and the positions stand in the store",
)  # fmt: skip
def answer_to_offsets_lost(case: Case) -> int:
    """What the group knows does not matter."""
    return _answers_lost(case, OFFSET_COMMIT, "", times=3)


def _answers_lost(case: Case, kind: str, client: str, times: int = 6) -> int:
    proxies = case.ground.broker_proxies
    before = sum(proxy.cuts for proxy in proxies)
    case.start(2)
    case.feed(rate=300)
    for _ in range(times):
        for proxy in proxies:
            proxy.cut(kind, 1, "before_client", client)
        case.until(lambda: any(proxy.was_cut.is_set() for proxy in proxies), f"an answer to {kind} was lost")
    return sum(proxy.cuts for proxy in proxies) - before


@fault(
    "packets come in slices", "F30", how="everything to and from the brokers is passed on 97 bytes at a time, until half of the events are taken",
    counted="sessions that were sliced", sees="nothing",
)  # fmt: skip
def sliced(case: Case) -> int:
    """No message comes whole."""
    before = sum(proxy.sessions for proxy in case.ground.broker_proxies)
    for proxy in case.ground.broker_proxies:
        proxy.slice_bytes = 97
    case.start(2)
    case.feed(rate=400)
    case.until_taken(0.5)
    for proxy in case.ground.broker_proxies:
        proxy.heal()
    return sum(proxy.sessions for proxy in case.ground.broker_proxies) - before


@fault(
    "the group's offsets are wrong", "F18, F19", how="with no worker running, the group's offsets are set to the end of every partition, and then "
    "to its beginning; workers run in between",
    counted="offsets set", sees="lag tools are misled; workers go by the positions in the store",
)  # fmt: skip
def offsets_wrong(case: Case) -> int:
    """To the latest by mistake, then to the earliest."""
    set_wrong = 0
    for part, latest in zip(case.parts(2), (True, False), strict=True):
        case.feed_now(part)
        set_wrong += case.set_group_offsets(latest=latest)
        case.start(2)
        case.settle()
        case.stop()
        case.supervised = True
    return set_wrong


@fault(
    "a topic is deleted and made anew under running workers", "F21", how="with the workers idle, `registry.tax` is deleted, made anew, and filled "
    "with twice as much as it held",
    counted="workers that ended and said so", sees="every worker ends with exit code 3 and `registry.tax was made anew`, and does so as often as it "
    "is started, until `payout kafka adopt`",
)  # fmt: skip
def made_anew(case: Case) -> int:
    """Nothing of what the new topic holds is taken."""
    workers = case.start(2)
    case.feed_now(case.ground.slices)
    case.settle()
    positions = case.installation.positions()
    case.supervised = False
    case.make_anew("registry.tax", times=2)
    case.for_s(20)
    again = case.worker()
    case.until(lambda: again.code is not None, "a worker that is started ends")
    if case.installation.positions() != positions:
        raise NotAsItMustBe(f"positions moved in a topic that is not the one that was read\n{case.told()}")
    if again.code != 3 or not again.said("registry.tax was made anew"):
        raise NotAsItMustBe(f"the worker ended with {again.code}\n{case.told()}")
    case.stop()
    case.proven_by(case.prove())
    return 1 + sum(worker.code == 3 for worker in workers)
