"""Tokens by which this program is let in (OAUTHBEARER): had from a token endpoint for the client's id and secret, and kept until shortly before they expire."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider as AsyncProvider  # type: ignore[import-untyped]
from kafka.net.sasl.oauth import AbstractTokenProvider as Provider  # type: ignore[import-untyped]

from .kafka_cluster import KafkaAway

ANSWER_TIMEOUT_S = 10
ANSWER_BYTES = 1024 * 1024
KEPT = 0.8
"""For how much of its life a token is used before another one is asked for."""


class NoToken(KafkaAway, OSError):
    """The token endpoint gives none. Kafka's clients treat it as a connection that failed."""


class Tokens:
    """The tokens of one client (RFC 6749, 4.4: client credentials). Several threads may ask at once."""

    def __init__(self, url: str, client_id: str, secret: str, scope: str, context: ssl.SSLContext | None, now_s: Callable[[], float] = time.monotonic) -> None:
        self._url, self._scope, self._context, self._now_s = url, scope, context, now_s
        name = ":".join(urllib.parse.quote(part, safe="") for part in (client_id, secret))
        self._authorization = f"Basic {base64.b64encode(name.encode()).decode()}"
        self._lock = threading.Lock()
        self._token = ""
        self._renew_s = self._expires_s = 0.0

    def token(self) -> str:
        """A token that has not expired; NoToken where there is none to be had."""
        with self._lock:
            if not self._token or self._now_s() >= self._renew_s:
                try:
                    self._fetch()
                except NoToken:
                    if not self._token or self._now_s() >= self._expires_s:
                        raise
            return self._token

    def _fetch(self) -> None:
        asked_s = self._now_s()
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        headers = {"Authorization": self._authorization, "Accept": "application/json"}
        request = urllib.request.Request(self._url, urllib.parse.urlencode(form).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S, context=self._context) as answer:
                found = json.loads(answer.read(ANSWER_BYTES))
            token, life_s = found["access_token"], float(found.get("expires_in", 60))
        except urllib.error.HTTPError as error:
            raise NoToken(f"no token from {self._url}: it answered {error.code}{_code_of(error.read(ANSWER_BYTES))}") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            what = getattr(error, "reason", None) or f"{type(error).__name__}: {error}"
            raise NoToken(f"no token from {self._url}: {what}") from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise NoToken(f"no token from {self._url}: its access_token is no text")
        self._token, self._renew_s, self._expires_s = token, asked_s + KEPT * life_s, asked_s + life_s


def _code_of(body: bytes) -> str:
    """The code with which the endpoint refuses, as RFC 6749 has it; nothing else of what it says is repeated."""
    try:
        code = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return ""
    return f" ({code[:50]})" if isinstance(code, str) and code.isprintable() else ""


class BlockingTokens(Provider):  # type: ignore[misc]
    """The tokens for kafka-python."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    def token(self) -> str:
        """A token."""
        return self._tokens.token()


class AsyncTokens(AsyncProvider):  # type: ignore[misc]
    """The tokens for aiokafka and Faust."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def token(self) -> str:
        """A token."""
        return await asyncio.get_running_loop().run_in_executor(None, self._tokens.token)

    def extensions(self) -> dict[str, Any]:
        """Nothing is said beside the token."""
        return {}


@functools.cache
def tokens_of(url: str, client_id: str, secret: str, scope: str, ca_file: Path | None) -> Tokens:
    """The tokens of a client, the same for all connections of this process. The endpoint's certificate leads to the system's or to those of the file."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(str(ca_file))
    return Tokens(url, client_id, secret, scope, context)
