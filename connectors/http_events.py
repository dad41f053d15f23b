"""CloudEvents over HTTP: single, in batches and in binary mode, each answer as soon as the events are kept, refusals as problem details.

`POST /events` takes `application/cloudevents+json`, `application/cloudevents-batch+json`, or the data alone with the attributes in
headers (`ce-id` …). A refusal is `application/problem+json` (RFC 9457) with all problems.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import web

from pipeline.observing import INGEST_REQUESTS, Observer
from pipeline.problems import Problem

from .ingest import Door, Refusal, Refused, sender_of
from .ingest_tokens import Tokens

BODY_BYTES = 8 * 1024 * 1024
BATCH_EVENTS = 10_000
READ_TIMEOUT_S = 30.0
END_TIMEOUT_S = 15.0

SINGLE, BATCH, PLAIN = "application/cloudevents+json", "application/cloudevents-batch+json", "application/json"

Told = Callable[[str, str, Sequence[Problem]], None]
"""Called with (the sender, the outcome, all problems) of a refused request."""


class Endpoint:
    """The requests of registries."""

    def __init__(self, door: Door, tokens: Tokens, observer: Observer, told: Told) -> None:
        self._door, self._tokens, self._observer, self._told = door, tokens, observer, told

    def application(self) -> web.Application:
        """What answers; /health says whether it lives and whether the log takes events."""
        made = web.Application(client_max_size=BODY_BYTES, middlewares=[_as_problems])
        made.router.add_post("/events", self.events)
        made.router.add_get("/health/live", self.live)
        made.router.add_get("/health/ready", self.ready)
        return made

    async def live(self, request: web.Request) -> web.Response:
        """That this process answers."""
        return web.json_response({"status": "live"})

    async def ready(self, request: web.Request) -> web.Response:
        """Whether the log took what it was last asked to take."""
        ready = self._door.is_ready
        return web.json_response({"status": "ready" if ready else "the log does not take events"}, status=200 if ready else 503)

    async def events(self, request: web.Request) -> web.Response:
        """Takes the events of a request together or not at all."""
        sender = ""
        try:
            allowed = self._allowed(request)
            sender = sender_of(allowed)
            count = await self._taken(request, allowed, sender)
        except Refused as refused:
            self._observer.count(INGEST_REQUESTS, outcome=refused.refusal.value)
            self._told(sender, refused.refusal.value, refused.problems)
            return _refusal(refused)
        self._observer.count(INGEST_REQUESTS, outcome="accepted")
        return web.json_response({"accepted": count}, status=202)

    def _allowed(self, request: web.Request) -> frozenset[str]:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        allowed = self._tokens.registries_of(token.strip())
        if scheme.lower() != "bearer" or not allowed:
            problem = Problem("Authorization", "holds no token of a registry", "Send Authorization: Bearer TOKEN; payout events token makes one.")
            raise Refused(Refusal.UNKNOWN_TOKEN, [problem])
        return allowed

    async def _taken(self, request: web.Request, allowed: frozenset[str], sender: str) -> int:
        kind = _kind(request)
        size = request.content_length
        if size is not None and size > BODY_BYTES:
            raise Refused(Refusal.TOO_LARGE, [_too_large(f"{size:,} bytes")])
        with self._door.room.held(sender, BODY_BYTES if size is None else size):
            body = await _body(request)
            raws = _messages(request, kind, body)
            return await self._door.put(allowed, raws, numbered=kind == BATCH)


def _kind(request: web.Request) -> str:
    """The form in which the events come; Refused where it is none that is read here."""
    if (encoding := request.headers.get("Content-Encoding", "identity")) != "identity":
        raise Refused(Refusal.UNSUPPORTED, [Problem("Content-Encoding", f"{encoding!r} is not read here", "Send the body as it is.")])
    if (charset := request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Refused(Refusal.UNSUPPORTED, [Problem("Content-Type", f"the charset {charset!r} is not read here", "Send UTF-8.")])
    kind = request.content_type
    if kind in (SINGLE, BATCH) or (kind == PLAIN and any(name.lower().startswith("ce-") for name in request.headers)):
        return kind
    mend = f"Send {SINGLE} or {BATCH}, or {PLAIN} with the attributes as headers ce-id, ce-source, ce-type, ce-subject, ce-time and ce-specversion."
    raise Refused(Refusal.UNSUPPORTED, [Problem("Content-Type", f"{request.headers.get('Content-Type', '')[:100]!r} holds no events", mend)])


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise Refused(Refusal.SLOW, [Problem("body", f"was not here after {READ_TIMEOUT_S:.0f} seconds", "Send it again.")]) from None
    except web.HTTPRequestEntityTooLarge:
        raise Refused(Refusal.TOO_LARGE, [_too_large("longer")]) from None


def _messages(request: web.Request, kind: str, body: bytes) -> list[bytes]:
    """The events of a request, each as one message."""
    if kind == SINGLE:
        return [body]
    if kind == PLAIN:
        return [_assembled(request, body)]
    try:
        raws = [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(Refusal.MALFORMED, [Problem("", f"the batch is no JSON list: {error}", "Send a list of events.")]) from None
    if len(raws) > BATCH_EVENTS:
        raise Refused(Refusal.TOO_LARGE, [_too_large(f"{len(raws):,} events")])
    return raws


def _assembled(request: web.Request, body: bytes) -> bytes:
    """The message of an event in binary mode: attributes from the headers, data from the body."""
    attributes: dict[str, str] = {}
    twice = []
    for name, value in request.headers.items():
        if name.lower().startswith("ce-"):
            attribute = name.lower().removeprefix("ce-")
            if attribute in attributes or attribute == "data":
                twice.append(Problem(str(name), f"the attribute {attribute!r} stands twice", "Send each once."))
            attributes[attribute] = unquote(value)
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        twice.append(Problem("data", f"the body is no JSON: {error}", "Send the event's data as one JSON object."))
    if twice:
        raise Refused(Refusal.MALFORMED, twice)
    return msgspec.json.encode(attributes | {"data": msgspec.Raw(body)})


def _too_large(what: str) -> Problem:
    return Problem("body", f"is {what}, {BODY_BYTES:,} bytes and {BATCH_EVENTS:,} events are taken at once", "Send it in parts.")


def _refusal(refused: Refused) -> web.Response:
    refusal = refused.refusal
    headers = {"Retry-After": str(refused.retry_after_s)} if refused.retry_after_s else {}
    if refusal is Refusal.UNKNOWN_TOKEN:
        headers["WWW-Authenticate"] = "Bearer"
    return _problem(refusal.status, refusal.value, refusal.sentence, refused.problems, headers)


def _problem(status: int, code: str, title: str, problems: Sequence[Problem] = (), headers: dict[str, str] | None = None) -> web.Response:
    document: dict[str, Any] = {"type": f"urn:payout:events:{code}", "title": title, "status": status}
    document["problems"] = [{"place": problem.place, "message": problem.message, "mend": problem.mend} for problem in problems]
    return web.Response(body=msgspec.json.encode(document), status=status, content_type="application/problem+json", headers=headers)


@web.middleware
async def _as_problems(request: web.Request, handler: Any) -> web.StreamResponse:
    """What the library itself refuses (no such path, no such method) reads like every other refusal."""
    try:
        answer: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return _problem(error.status, "http", f"{error.reason}. Events go to POST /events.", headers=headers)
    return answer


@asynccontextmanager
async def listening(application: web.Application, host: str, port: int, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    """Answers requests, and gives the address; at the end those in hand are answered first."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=END_TIMEOUT_S, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        bound = runner.addresses[0]
        yield f"{'https' if tls else 'http'}://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}/events"
    finally:
        await runner.cleanup()
