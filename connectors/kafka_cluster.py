"""A Kafka cluster as clients reach it: its addresses, TLS, who the client is, and how its errors read."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.problems import Malformed, Problem

if TYPE_CHECKING:
    from .kafka_tokens import Tokens

LOOK_TIMEOUT_S = 5
REFUSAL_S = 1
"""How long a server may take to say that a handshake was not enough."""

OAUTHBEARER = "OAUTHBEARER"


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
    token_url: str = ""
    token_scope: str = ""

    def tls(self) -> ssl.SSLContext | None:
        """The context of TLS connections, which hold the server to its name; None where there is no TLS."""
        if not self.security.endswith("ssl"):
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        except OSError as error:
            raise Malformed([_unusable("ca_file", self.ca_file, error, "Name a file of certificates in PEM.")]) from None
        if self.cert_file is not None:
            try:
                context.load_cert_chain(str(self.cert_file), str(self.key_file) if self.key_file else None)
            except OSError as error:
                raise Malformed([_unusable("cert_file", self.cert_file, error, "Name PEM files: a certificate, and its key as kafka.key_file.")]) from None
        return context

    @property
    def tokens(self) -> Tokens | None:
        """Where tokens come from, if this program is let in by them."""
        if not self.security.startswith("sasl") or self.mechanism != OAUTHBEARER:
            return None
        from .kafka_tokens import tokens_of

        return tokens_of(self.token_url, self.username, self.password, self.token_scope, self.ca_file)

    def client(self, client_id: str) -> dict[str, Any]:
        """The settings of a client of kafka-python."""
        given = self._client(client_id)
        if (tokens := self.tokens) is not None:
            from .kafka_tokens import BlockingTokens

            tokens.token()  # so that it is said clearly where none is to be had
            given["sasl_oauth_token_provider"] = BlockingTokens(tokens)
        return given

    def async_client(self, client_id: str) -> dict[str, Any]:
        """The settings of a client of aiokafka."""
        given = self._client(client_id)
        if (tokens := self.tokens) is not None:
            from .kafka_tokens import AsyncTokens

            given["sasl_oauth_token_provider"] = AsyncTokens(tokens)
        return given

    def _client(self, client_id: str) -> dict[str, Any]:
        given: dict[str, Any] = {"bootstrap_servers": list(self.servers), "client_id": client_id, "security_protocol": self.security.upper()}
        if (context := self.tls()) is not None:
            given["ssl_context"] = context
        if self.security.startswith("sasl"):
            given["sasl_mechanism"] = self.mechanism
            if self.mechanism != OAUTHBEARER:
                given |= {"sasl_plain_username": self.username, "sasl_plain_password": self.password}
        return given

    def unreachable(self) -> str:
        """Why no server lets this program in, as a connection of its own finds; empty where one does. Kafka's clients keep that to themselves."""
        found = []
        for server in self.servers:
            host, _, port = server.rpartition(":")
            try:
                self._try(host.strip("[]"), int(port))
            except OSError as error:
                found.append(f"{server}: {error}")
            else:
                return ""
        return "; ".join(found)

    def _try(self, host: str, port: int) -> None:
        """OSError with what a server has against this program."""
        context = self.tls()
        with socket.create_connection((host, port), LOOK_TIMEOUT_S) as connection:
            if context is not None:
                with context.wrap_socket(connection, server_hostname=host) as secured, suppress(TimeoutError):
                    secured.settimeout(REFUSAL_S)
                    secured.recv(1)  # a server says after the handshake that it misses a certificate, and nothing else by itself
        if self.security.startswith("sasl"):
            asyncio.run(self._say_who(host, port))

    async def _say_who(self, host: str, port: int) -> None:
        from aiokafka.conn import create_conn  # type: ignore[import-untyped]
        from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

        given = {name: value for name, value in self.async_client("payout-looks").items() if name != "bootstrap_servers"}
        try:
            (await create_conn(host, port, request_timeout_ms=LOOK_TIMEOUT_S * 1000, **given)).close()
        except KafkaError as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


def _unusable(name: str, path: Path | None, error: OSError, mend: str) -> Problem:
    return Problem(f"kafka.{name}", f"{path} cannot be used: {error.strerror or error}", mend)


@contextmanager
def answering(cluster: Cluster) -> Iterator[None]:
    """Tells a cluster that does not answer, by its addresses and what it said; the errors of both client libraries."""
    from aiokafka.errors import KafkaError as AsyncKafkaError
    from kafka.errors import KafkaError  # type: ignore[import-untyped]

    try:
        yield
    except (KafkaError, AsyncKafkaError) as error:
        name, said = type(error).__name__, str(error)
        what = said if said.startswith(name) else f"{name}: {said}" if said else name
        if "bootstrap" in said and (why := cluster.unreachable()):
            what = why
        raise KafkaAway(f"Kafka at {', '.join(cluster.servers)}: {what}") from error
