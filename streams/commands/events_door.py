"""`payout events serve, token, keygen, pseudonym`: the door at which registries hand events in, who may pass it, and how people are called behind it."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .opening import settings_of
from .speaking import AsJson, note, say, say_json

if TYPE_CHECKING:
    from connectors.http_events import Endpoint
    from connectors.ingest import Door
    from connectors.ingest_tokens import Tokens
    from pipeline.registry import Registries
    from streams.ingest_settings import Ingest
    from streams.settings import Settings


def serve(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port, else ingest.port; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="The address, else ingest.host.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Serve /metrics on this port; 0 takes a free one.")] = None,
) -> None:
    """Takes CloudEvents over HTTP from registries with a token, and answers once the log has them. Ctrl-C answers what is in hand, then ends."""
    from connectors.http_events import Endpoint
    from connectors.ingest import Door
    from connectors.pseudonyms import Pseudonyms
    from connectors.registries import load_registries
    from streams import logs
    from streams.log_access import open_writer
    from streams.metrics import Metrics

    settings = settings_of(context, metrics_port=metrics_port)
    registries = load_registries(settings.registries)
    tokens, tls = _tokens(settings.ingest, registries), _tls(settings.ingest)
    pseudonyms = Pseudonyms(registries, settings.pseudonyms.read())
    logs.configure(settings.log_level, settings.log_format, settings.home)
    shards = _shards(settings)
    metrics, log = Metrics(), logs.log("door")
    server = metrics.serve(settings.metrics_port, settings.metrics_host) if settings.metrics_port is not None else None
    if server is not None:
        note(f"payout: metrics at {server.url}")

    async def served() -> None:
        opens, room_bytes = partial(open_writer, settings, "payout-door", "close"), settings.ingest.pending_bytes
        async with Door(registries, pseudonyms, shards, opens, metrics, room_bytes, rests=not settings.kafka.servers) as door:
            endpoint = Endpoint(
                door,
                tokens,
                metrics,
                lambda sender, outcome, problems: log.info(
                    "refused", registry=sender, outcome=outcome, problems=len(problems), places=sorted({problem.place for problem in problems})[:5]
                ),
            )
            await _until_told(door, endpoint, host or settings.ingest.host, settings.ingest.port if port is None else port, tls)

    try:
        asyncio.run(served())
    finally:
        if server is not None:
            server.close()
    note("payout: stopped; what was answered is kept")


def token(
    context: typer.Context,
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="The registry that is to have it.")],
    as_json: AsJson = False,
) -> None:
    """Makes a token for a registry. It is shown once and kept nowhere: the settings hold its hash."""
    from connectors.ingest_tokens import Tokens, new_token, token_hash
    from connectors.registries import load_registries

    made = new_token()
    entry = f"{registry}:{token_hash(made)}"
    Tokens([entry], _names(load_registries(settings_of(context).registries)))
    if as_json:
        say_json({"registry": registry, "token": made, "entry": entry})
        return
    say(made)
    note(f"payout: give the token to {registry}; it is not shown again. For ingest.tokens, or a line of ingest.token_file:\n  {entry}")


def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make; only you can read it.")],
    as_json: AsJson = False,
) -> None:
    """Makes the key under which numbers of people become pseudonyms. It is for the life of the installation: keep a copy in a safe."""
    from connectors.pseudonyms import make_key

    key = make_key(file)
    if as_json:
        say_json({"file": str(file), "key_id": key.id})
        return
    say(f'{file}: keep it, and a copy in a safe. For payout.toml:\n  [pseudonyms]\n  key_file = "{file}"\n  key_id = "{key.id}"')


def pseudonym(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The kind of number, such as dk.cpr.")],
    as_json: AsJson = False,
) -> None:
    """Reads numbers from standard input, one a line, and prints their pseudonyms: what `payout explain` is asked for."""
    from connectors.pseudonyms import MAKE
    from pipeline.problems import Malformed, Problem

    key = settings_of(context).pseudonyms.read()
    if key is None:
        raise Malformed([Problem("pseudonyms.key_file", "there is no key", MAKE)])
    found, problems = [], []
    for number, line in enumerate(sys.stdin, 1):
        try:
            found.append(key.pseudonym(kind, line.strip()))
        except ValueError as error:
            problems.append(Problem(f"line {number}", f"what stands there {error}"))
    if problems:
        raise Malformed(problems)
    if as_json:
        say_json(found)
    else:
        for text in found:
            say(text)


def _names(registries: Registries) -> list[str]:
    return [registry.name for registry in registries.registries]


def _tokens(ingest: Ingest, registries: Registries) -> Tokens:
    from connectors.ingest_tokens import Tokens, token_lines
    from pipeline.problems import Malformed, Problem

    lines = token_lines(ingest.token_file) if ingest.token_file is not None else []
    tokens = Tokens((*ingest.tokens, *lines), _names(registries))
    if not len(tokens):
        raise Malformed([Problem("ingest.tokens", "nobody has a token, so nobody could send anything", "Make one: payout events token REGISTRY")])
    return tokens


def _tls(ingest: Ingest) -> ssl.SSLContext | None:
    from pipeline.problems import Malformed, Problem

    if ingest.cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(ingest.cert_file, ingest.key_file)
    except OSError as error:
        raise Malformed([Problem("ingest.cert_file", f"the certificate cannot be used: {error.strerror or error}", "Name PEM files.")]) from None
    return context


def _shards(settings: Settings) -> int:
    """The number of shards, once the store and the topics are as they must be."""
    from streams.installation import opened
    from streams.worker_topics import check_topics

    with opened(settings) as installation:
        if settings.kafka.servers:
            check_topics(installation)
        return installation.store.shards


async def _until_told(door: Door, endpoint: Endpoint, host: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Serves until SIGINT or SIGTERM comes, or what writes has ended by a defect, which is then raised."""
    from connectors.http_events import listening

    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    async with listening(endpoint.application(), host, port, tls) as address:
        note(f"payout: events are taken at {address}")
        stopping = asyncio.create_task(told.wait())
        assert door.keeping is not None
        await asyncio.wait([stopping, door.keeping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    if door.keeping.done():
        door.keeping.result()
