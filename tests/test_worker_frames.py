"""When a worker closes a frame: it is full, or nothing more is coming, or the wait that is set is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from connectors.population import TAX
from connectors.registries import load_registries
from connectors.store.servers import Store
from pipeline.observing import Silent
from streams.installation import Installation
from streams.settings import SHIPPED, load_settings
from streams.worker_shard import Shard

FRAME = 4


@pytest.fixture
def shard_of(tmp_path: Path) -> Callable[[float], Shard]:
    """A shard that takes frames of four records; nothing is connected."""

    def make(wait_s: float) -> Shard:
        settings = load_settings(home=tmp_path, shards=1, frame_records=FRAME, frame_wait_s=wait_s)
        installation = Installation(settings, Store(["postgresql://nowhere"], 1), load_registries(SHIPPED / "registries"))
        return Shard(installation, 0, Silent(), ThreadPoolExecutor(1), lambda number: None)

    return make


def put(shard: Shard, first: int, count: int, end_of_log: int) -> None:
    shard.put(TAX, [SimpleNamespace(offset=first + index, key=b"k", value=b"v") for index in range(count)], end_of_log)


def test_a_frame_waits_for_records_that_kafka_has_until_it_is_full(shard_of: Callable[[float], Shard]):
    async def story() -> None:
        shard = shard_of(5.0)
        put(shard, 0, 2, end_of_log=9)
        filling = asyncio.create_task(shard._fill(False))
        await asyncio.wait([filling], timeout=0.1)
        assert not filling.done()
        put(shard, 2, 2, end_of_log=9)
        await filling
        assert shard.fetched[TAX].waiting == FRAME

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_frame_that_nothing_more_is_coming_for_is_taken_at_once(shard_of: Callable[[float], Shard]):
    async def story() -> None:
        shard = shard_of(5.0)
        put(shard, 0, 2, end_of_log=2)
        await shard._fill(False)
        assert shard.fetched[TAX].waiting == 2

    asyncio.run(asyncio.wait_for(story(), 60))


def test_without_a_wait_a_frame_is_taken_as_it_is_though_more_is_coming(shard_of: Callable[[float], Shard]):
    async def story() -> None:
        shard = shard_of(0.0)
        put(shard, 0, 1, end_of_log=9)
        await shard._fill(False)
        assert shard.fetched[TAX].waiting == 1

    asyncio.run(asyncio.wait_for(story(), 60))
