"""What is set about Kafka: where it is, how connections are protected, and what its topics must be like."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from connectors.kafka_cluster import Cluster
from pipeline.problems import Malformed, Problem


class Kafka(BaseModel):
    """The Kafka cluster, where events come through one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    servers: Annotated[tuple[str, ...], NoDecode] = Field(default=(), description="addresses of Kafka, `host:port` each; empty: the embedded log")
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(default="plaintext", description="how connections are protected")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        default="SCRAM-SHA-512", description="how this program says who it is"
    )
    username: str = Field(default="", description="the name it says; with OAUTHBEARER the id of the client")
    password: SecretStr = Field(default=SecretStr(""), description="and its password, or the client's secret")
    password_file: Path | None = Field(default=None, description="a file that holds it instead")
    token_url: str = Field(default="", description="where OAUTHBEARER has its tokens from (https://…), for client id and secret")
    token_scope: str = Field(default="", description="the scope that is asked for there; empty: none")
    ca_file: Path | None = Field(default=None, description="certificates that a server's must lead to; none: those of the system")
    cert_file: Path | None = Field(default=None, description="the certificate of this program, where the servers ask for one")
    key_file: Path | None = Field(default=None, description="and its key")
    replication_factor: int = Field(default=3, ge=1, le=16, description="copies of each partition")
    min_insync_replicas: int = Field(default=2, ge=1, le=16, description="copies that have a record before it counts as written")
    retention_hours: int = Field(default=24 * 14, ge=1, description="hours for which records are kept: longer than the oldest backup to go back to")
    group: str = Field(default="payout", min_length=1, max_length=200, description="the workers that share the shards")
    instance: str | None = Field(default=None, min_length=1, description="a fixed name of this worker, so that its restart moves no shards; unlike all others'")

    session_s: float = Field(default=10, ge=6, le=300, description="seconds after which the group misses a worker of which it hears nothing")
    stuck_s: float = Field(default=120, ge=10, le=3600, description="seconds without progress, though Kafka answers, after which a worker ends")

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

    @field_validator("token_url")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        if value and not re.match(r"https://[^/\s]+|http://(localhost|127\.0\.0\.1|\[::1\])[:/]", value):
            raise ValueError("a secret is sent there, so it must begin with https:// (http:// only on this machine)")
        return value

    def cluster(self) -> Cluster:
        """The cluster as clients reach it; Malformed where it is not said who this program is."""
        return Cluster(
            self.servers, self.security, self.sasl_mechanism, self.username, self._secret(), self.ca_file, self.cert_file, self.key_file,
            self.token_url, self.token_scope,
        )  # fmt: skip

    def _secret(self) -> str:
        """The password, wherever it is kept."""
        if not self.servers or not self.security.startswith("sasl"):
            return ""
        secret, problems = self.password.get_secret_value(), []
        if self.password_file is not None and secret:
            problems.append(Problem("kafka.password_file", "the password is set as well, as kafka.password", "Leave one of them out."))
        elif self.password_file is not None:
            try:
                secret = self.password_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                what = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                problems.append(Problem("kafka.password_file", f"{self.password_file} cannot be read: {what}", "Name a file that holds the password alone."))
        if not secret and not problems:
            problems.append(
                Problem("kafka.password", f"nothing is set, and kafka.security is {self.security}", "Set PAYOUT_KAFKA__PASSWORD, or a password_file.")
            )
        if not self.username:
            problems.append(Problem("kafka.username", f"nothing is set, and kafka.security is {self.security}", "Set the name that this program says."))
        if self.sasl_mechanism == "OAUTHBEARER" and not self.token_url:
            problems.append(Problem("kafka.token_url", "nothing is set, and kafka.sasl_mechanism is OAUTHBEARER", "Set the address of the token endpoint."))
        if problems:
            raise Malformed(problems)
        return secret
