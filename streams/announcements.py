"""Word that what decides has changed: told to Kafka by whoever moved a rule, and heard in every worker by an ordinary Faust agent.

It is advice. What decides stands in the store's log of rules, at which lanes look every second anyway; with the word they look at once,
so that a suspension holds the next order and not one of a second later.
"""

from __future__ import annotations

import msgspec

from pipeline.rules.life import Activated, BudgetSet, Logged, Resumed, Retired, RolledBack, Suspended

from .installation import Installation
from .log_access import writing
from .topics import ACTIVATIONS

DECIDE = (Activated, Suspended, Resumed, RolledBack, Retired, BudgetSet)
"""The entries of the log that change what decides, or what may leave."""


def announce(installation: Installation, logged: Logged) -> bool:
    """Tells every partition, so that the worker of every shard hears it; whether there was something to tell, and a Kafka to tell."""
    if not installation.settings.kafka.servers or not isinstance(logged.entry, DECIDE):
        return False
    message = msgspec.json.encode({"entry": logged.number, "benefit": logged.entry.benefit})
    with writing(installation, "payout-rules") as log:
        for shard in range(installation.store.shards):
            log.append(ACTIVATIONS, shard, [(logged.entry.benefit.encode(), message)])
        log.flush()
    return True
