"""Which topics the positions belong to: Kafka gives each topic an id, and one that was deleted and made anew under its name has another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .servers import Store, away

_NAME = "topic "


class MadeAnew(NamedTuple):
    """A topic that is not the one of which records were taken, or to which orders were published."""

    topic: str
    was: str
    found: str


def made_anew(store: Store, ids: Mapping[str, str], orders: str) -> list[MadeAnew]:
    """The topics that are not those which the store has positions of, or published its `orders` to; the ids of the others are kept."""
    found: dict[str, MadeAnew] = {}
    with away():
        for connection in store.servers("payout topics"):
            with connection.transaction():
                kept = {str(name).removeprefix(_NAME): str(value) for name, value in connection.execute("SELECT name, value FROM store_info FOR UPDATE")}
                used = {
                    str(topic)
                    for (topic,) in connection.execute(
                        "SELECT topic FROM position WHERE next_offset > 0 UNION SELECT %s FROM relay WHERE relayed_seq > 0", (orders,)
                    )
                }
                for topic, identity in ids.items():
                    if topic in used and kept.get(topic, identity) != identity:
                        found[topic] = MadeAnew(topic, kept[topic], identity)
                    elif kept.get(topic) != identity:
                        connection.execute(
                            "INSERT INTO store_info VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value", (_NAME + topic, identity)
                        )
    return list(found.values())


def adopt(store: Store, ids: Mapping[str, str]) -> None:
    """The positions belong to these topics from now on: they hold the same records at the same offsets."""
    with away():
        for connection in store.servers("payout topics"):
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO store_info VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value",
                    [(_NAME + topic, identity) for topic, identity in ids.items()],
                )
