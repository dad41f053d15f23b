"""The topics: their names, who writes them and what they hold. All have the same number of partitions, one per shard.

The topics of registries are those that the registry documents name: a new registry is a new document.
"""

from __future__ import annotations

from pipeline.registry import Registries

ORDERS = "payment.orders"
"""Released orders, written by the relay and read by the bank desk."""

RECEIPTS = "payment.receipts"
"""The bank's answers, written by the bank desk and read by the lanes."""


MEMBERS = "household.members"
"""What the registries said of a household's members, written by the relay and read by the households' lanes."""


ACTIVATIONS = "rules.activations"
"""Word that what decides has changed, written by whoever moved a rule to every partition and heard by an agent in every worker; no lane takes it."""


def registry_topics(registries: Registries) -> tuple[str, ...]:
    """CloudEvents of the registries, each topic written by the connector of its registry; who lives is heard before who is paid."""
    living = {registry.topic for registry in registries.registries if any(spec.until for spec in registry.derived)}
    return tuple(sorted({registry.topic for registry in registries.registries}, key=lambda topic: (topic not in living, topic)))


def lane_topics(registries: Registries) -> tuple[str, ...]:
    """What a lane takes, in the order in which it looks for work."""
    return (*registry_topics(registries), MEMBERS, RECEIPTS)


def all_topics(registries: Registries) -> tuple[str, ...]:
    """Everything to provision."""
    return (*lane_topics(registries), ORDERS, ACTIVATIONS)
