"""The same job done by others on the same Kafka: plain Faust agents, Kafka Streams, and the bare path that decides nothing."""
