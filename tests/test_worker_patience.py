"""A worker's shard whose store is away asks for it again further and further apart, however many records come meanwhile, and goes on when it is back."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from story import TAX, Story, income

from connectors.store.servers import Store
from loadtests.proxy import Postgres, Proxy
from pipeline.observing import STORE_RETRIES, Metric, Silent
from streams.installation import Installation
from streams.worker_shard import Shard

RECORDS = [income(f"us-{number}", 20_000) for number in range(60)]


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes


class Tries(Silent):
    """When the store was asked for again."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def count(self, metric: Metric, amount: int = 1, **labels: str) -> None:
        if metric is STORE_RETRIES:
            self.at.append(monotonic())


async def moment() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.05)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path / "home", shards=1, frame_records=50)
    yield made
    made.close()


def test_a_shard_whose_store_is_away_asks_again_further_and_further_apart_while_records_come(story: Story):
    address = urlsplit(story.urls[0])
    socket = next(Path(parse_qs(address.query)["host"][0]).glob(".s.PGSQL.*[0-9]"))
    tries, failed = Tries(), list[BaseException]()

    async def lives(proxy: Proxy) -> None:
        url = f"postgresql://{address.username}@127.0.0.1:{proxy.port}{address.path}?sslmode=disable"
        installation = Installation(story.installation.settings, Store([url], 1), story.installation.registries)
        with ThreadPoolExecutor(1) as threads:
            shard = Shard(installation, 0, tries, threads, lambda number: None)
            await shard.claim()
            shard.begin(failed.append)
            proxy.refuse()
            for offset, record in enumerate(RECORDS):
                shard.put(TAX, [Record(offset, record.key, record.value)], len(RECORDS))
                await moment()
            while len(tries.at) < 4 and not failed:
                await moment()
            proxy.accept()
            while shard.positions()[TAX] < len(RECORDS) and not failed:
                await moment()
            await shard.drop(5)

    with Proxy(socket, Postgres) as proxy:
        asyncio.run(lives(proxy))
    assert failed == []
    assert [later - earlier >= 0.2 * 2**number for number, (earlier, later) in enumerate(zip(tries.at[:3], tries.at[1:4], strict=True), 1)] == [True] * 3
    assert story.ask("SELECT sum(applied) FROM frame") == [(len(RECORDS),)]
