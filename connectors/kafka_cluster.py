"""A Kafka cluster as clients reach it: its addresses, TLS, who the client is, and how its errors read."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class KafkaAway(RuntimeError):
    """Kafka does not answer, or not as it must: retryable, nothing was lost."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where Kafka is and how this program is let in."""

    servers: tuple[str, ...]
    security: str = "plaintext"
    mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def tls(self) -> ssl.SSLContext | None:
        """The context of TLS connections, which hold the server to its name; None where there is no TLS."""
        if not self.security.endswith("ssl"):
            return None
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        if self.cert_file is not None:
            context.load_cert_chain(str(self.cert_file), str(self.key_file) if self.key_file else None)
        return context

    def client(self, client_id: str) -> dict[str, Any]:
        """The settings of a client; kafka-python and aiokafka name these alike."""
        given: dict[str, Any] = {"bootstrap_servers": list(self.servers), "client_id": client_id, "security_protocol": self.security.upper()}
        if (context := self.tls()) is not None:
            given["ssl_context"] = context
        if self.security.startswith("sasl"):
            given |= {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.username, "sasl_plain_password": self.password}
        return given


@contextmanager
def answering(cluster: Cluster) -> Iterator[None]:
    """Tells a cluster that does not answer, by its addresses and what it said; the errors of both client libraries."""
    from aiokafka.errors import KafkaError as AsyncKafkaError  # type: ignore[import-untyped]
    from kafka.errors import KafkaError  # type: ignore[import-untyped]

    try:
        yield
    except (KafkaError, AsyncKafkaError) as error:
        name, said = type(error).__name__, str(error)
        what = said if said.startswith(name) else f"{name}: {said}" if said else name
        raise KafkaAway(f"Kafka at {', '.join(cluster.servers)}: {what}") from error
