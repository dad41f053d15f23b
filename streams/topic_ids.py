"""That the topics in Kafka are those which the store's positions belong to: one that was made anew holds other records at the same offsets."""

from __future__ import annotations

from connectors.kafka_topics import Topics
from connectors.store.topic_ids import made_anew

from .installation import Installation
from .topics import ORDERS, all_topics
from .worker_topics import TopicsDiffer


def topic_ids(installation: Installation) -> dict[str, str]:
    """The id of every topic that is there."""
    with Topics(installation.settings.kafka.cluster()) as topics:
        return topics.ids(all_topics(installation.registries))


def check_topic_ids(installation: Installation) -> None:
    """TopicsDiffer where a topic is another one under the same name: going on in it would skip records, and beginning anew would take some twice."""
    found = made_anew(installation.store, topic_ids(installation), ORDERS)
    if found:
        what = "; ".join(f"{topic} was made anew (its id is {now}, the positions in the store belong to {was})" for topic, was, now in found)
        raise TopicsDiffer(
            f"{what}. Nothing is taken. Bring the topic back with the records and offsets that it had and run `payout kafka adopt`, or replay into a new store."
        )
