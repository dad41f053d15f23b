"""The topics: their names, who writes them and what they hold. All have the same number of partitions, one per shard."""

from __future__ import annotations

RESIDENCY = "registry.residency"
TAX = "registry.tax"
ACCOUNT = "registry.account"
BENEFITS = "registry.benefits"
ORDERS = "payment.orders"
RECEIPTS = "payment.receipts"

REGISTRY_TOPICS = (RESIDENCY, ACCOUNT, BENEFITS, TAX)
"""CloudEvents of the registries, one topic each, so that each writer has rights to its own; written by connectors."""

TOPICS = (*REGISTRY_TOPICS, RECEIPTS)
"""What a lane takes, in the order in which it looks for work."""

ALL_TOPICS = (*TOPICS, ORDERS)
"""Everything to provision. `payment.orders` is written by the relay and read by the bank connector."""
