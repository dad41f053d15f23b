"""The dispatch: the relay and the bank desk of every server, on connections that are made anew when a store was away."""

from __future__ import annotations

from contextlib import ExitStack

import structlog

from connectors.segment_log import LogWriter
from pipeline.observing import Observer

from .bank_desk import BankDesk
from .desks import desks_on
from .installation import Installation
from .members import MemberRelay
from .patience import patiently
from .recovery import refuse_behind
from .relay import Relay

log = structlog.get_logger("dispatch")


class Dispatch:
    """Publishes what the lanes have released, and exchanges files with the bank."""

    def __init__(self, installation: Installation, writer: LogWriter, observer: Observer) -> None:
        self._installation, self._writer, self._observer = installation, writer, observer
        self._members: list[MemberRelay] = []
        self._relays: list[Relay] = []
        self._desks: list[BankDesk] = []
        self._connections = ExitStack()
        patiently(self._open, observer)

    def step(self) -> int:
        """Everything that is to be sent and taken now; gives how much it was."""
        return patiently(self._step, self._observer, again=self._open)

    def close(self) -> None:
        """Gives the connections back."""
        self._connections.close()

    def _step(self) -> int:
        done = sum(relay.step() for relay in self._members) + sum(relay.step() for relay in self._relays) + sum(desk.submit() for desk in self._desks)
        return done + len(self._desks[0].receive())  # one desk takes the files, so that it knows each that comes twice

    def _open(self) -> None:
        """Begins where the store says; a submission that was interrupted is put out again."""
        self._connections.close()
        self._members, self._relays, self._desks = [], [], []
        store = self._installation.store
        refuse_behind(self._installation)  # a server that was away may be back as an older one
        servers = [self._connections.enter_context(store.connect(url, "payout relay")) for url in store.urls]
        for server, connection in enumerate(servers):
            shards = store.shards_of(server)
            self._members += [MemberRelay(connection, self._writer, shard, store.shards) for shard in shards]
            self._relays += [Relay(connection, self._writer, shard) for shard in shards]
        self._desks = desks_on(self._installation, servers, self._writer, self._observer)
        resumed = sum(desk.resume() for desk in self._desks)
        if resumed:
            log.info("submissions of an interrupted run were put out again", count=resumed)
