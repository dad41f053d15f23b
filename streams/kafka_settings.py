"""What is set about Kafka: where it is, how connections are protected, and what its topics must be like."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from connectors.kafka_cluster import Cluster


class Kafka(BaseModel):
    """The Kafka cluster, where events come through one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    servers: Annotated[tuple[str, ...], NoDecode] = Field(default=(), description="addresses of Kafka, `host:port` each; empty: the embedded log")
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(default="plaintext", description="how connections are protected")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(default="SCRAM-SHA-512", description="how this program says who it is")
    username: str = Field(default="", description="the name it says")
    password: SecretStr = Field(default=SecretStr(""), description="and its password")
    ca_file: Path | None = Field(default=None, description="certificates that a server's must lead to; none: those of the system")
    cert_file: Path | None = Field(default=None, description="the certificate of this program, where the servers ask for one")
    key_file: Path | None = Field(default=None, description="and its key")
    replication_factor: int = Field(default=3, ge=1, le=16, description="copies of each partition")
    min_insync_replicas: int = Field(default=2, ge=1, le=16, description="copies that have a record before it counts as written")
    retention_hours: int = Field(default=24 * 14, ge=1, description="hours for which records are kept: longer than the oldest backup to go back to")
    group: str = Field(default="payout", min_length=1, max_length=200, description="the workers that share the shards")
    instance: str | None = Field(default=None, min_length=1, description="a fixed name of this worker, so that its restart moves no shards; unlike all others'")

    session_s: float = Field(default=10, ge=6, le=300, description="seconds after which the group misses a worker of which it hears nothing")

    @field_validator("servers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split() if isinstance(value, str) else value

    @field_validator("servers")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not re.fullmatch(r"[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", address):
                raise ValueError(f"{address!r} is not host:port")
        return value

    def cluster(self) -> Cluster:
        """The cluster as clients reach it."""
        return Cluster(
            self.servers, self.security, self.sasl_mechanism, self.username, self.password.get_secret_value(), self.ca_file, self.cert_file, self.key_file
        )
