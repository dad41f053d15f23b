"""What tests on a real Kafka broker begin with.

`brokers` is one broker for all tests of this process. `town` is an installation of four shards on it, with frames of 25 records; `town_of` makes one of
another shape. Topics are those of the program, so a process runs one such test at a time, and each begins without the topics of the one before; what it
needs of them it makes with `town.provision()`. Workers that a test starts with `town.worker()` are gone after it. `embedded` is what `everybody()` comes to
without Kafka. Helpers are in `kafka_town`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kafka_security import Secured
from kafka_town import TOOLS, Reference, Town, everybody, orders_of
from story import Story

from connectors.broker import Brokers
from connectors.broker_files import BrokerUnavailable, jars, java
from loadtests.site import free_ports


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Secured:
    """The listeners of the broker that let nobody in without a certificate, a password or a token."""
    return Secured(tmp_path_factory.mktemp("secured"), free_ports(4))


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory, secured: Secured) -> Iterator[Brokers]:
    """One broker for all tests; it is gone after them. Where Kafka's jars can neither be found nor fetched, tests that need it are passed over."""
    java()
    try:
        jars(TOOLS)
    except BrokerUnavailable as unavailable:
        if "could not be fetched" not in str(unavailable):
            raise
        pytest.skip(str(unavailable))
    directory = tmp_path_factory.mktemp("kafka")
    made = Brokers(directory, TOOLS, secured.settings, secured.formatting)
    try:
        made.up(port=secured.port)
        yield made
    finally:
        made.down()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def town_of(brokers: Brokers, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Town]]:
    """Makes an installation on a broker without topics of earlier tests; one for a test. What is given is given to its story."""
    with ExitStack() as stack:

        def make(**shape: Any) -> Town:
            story = Story(tmp_path / "home", **{"shards": 4, "frame_records": 25, **shape})
            stack.callback(story.close)
            made = Town(story, brokers.servers, tmp_path, request.node.name[:100])
            stack.callback(made.close)
            made.clear()
            return made

        yield make


@pytest.fixture
def town(town_of: Callable[..., Town]) -> Town:
    """An installation of four shards."""
    return town_of()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What the embedded run of `everybody()` comes to."""
    story = Story(tmp_path_factory.mktemp("embedded") / "home", shards=4)
    story.hears(everybody())
    try:
        return Reference(story.digest(), orders_of(story))
    finally:
        story.close()
