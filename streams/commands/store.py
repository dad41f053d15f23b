"""`payout store` and `payout settings`: making, migrating and checking the store, and what is set where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from .opening import reading, settings_of, working
from .recovering import recover
from .speaking import AsJson, note, progress_bar, say, say_json, say_table

if TYPE_CHECKING:
    from streams.settings import Settings

app = typer.Typer(help="Makes, migrates and checks the store.", no_args_is_help=True, rich_markup_mode=None)

app.command()(recover)


@app.command()
def init(context: typer.Context) -> None:
    """Makes the store and the log's topics, and fixes the number of shards; again, it changes nothing."""
    with working(context) as installation:
        store = installation.store
        say(f"{installation.settings.home}: a store of {store.shards} shards on {len(store.urls)} server{'s' if len(store.urls) > 1 else ''} is ready")


@app.command()
def migrate(context: typer.Context) -> None:
    """Brings the store's schema to this version, server by server; who comes second waits for the first."""
    from connectors.store.servers import Store

    settings = settings_of(context)
    with _urls(settings) as urls:
        ran = Store(urls, settings.shards).migrate(lambda server: note(f"payout: server {server} is being migrated by another process, waiting for it"))
    for server, version in ran:
        say(f"server {server}: migrated to version {version}")
    if not ran:
        say("the schema is of this version already")


@app.command()
def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Whether every server of the store is in its place, fit for this version and safe for money; exit code 1 if not, 3 if one is away."""
    from connectors.store.servers import Store, StoreAway, StoreError

    problems: list[str] = []
    away: list[str] = []
    with _urls(settings_of(context)) as urls:
        store = Store(urls, 0)
        try:
            store = Store.open(urls)
        except StoreError as error:
            problems.append(str(error))
        except StoreAway:
            away = store.away()
        if not away:
            problems += store.dangers()
    if as_json:
        say_json({"ok": not problems and not away, "shards": store.shards, "servers": len(urls), "problems": problems, "away": away})
    for problem in problems:
        note(f"payout: {problem}")
    if away:
        raise StoreAway("; ".join(away))
    if problems:
        raise typer.Exit(1)
    if not as_json:
        say(f"the store is well: {store.shards} shards on {len(urls)} server{'s' if len(urls) > 1 else ''}")


@app.command()
def reshard(
    context: typer.Context,
    shards: Annotated[int, typer.Argument(min=2, max=1024, help="How many there shall be: a multiple of how many there are.")],
    as_json: AsJson = False,
) -> None:
    """Gives a stopped installation more shards, and its topics as many partitions. Interrupted, it goes on where it was; exit code 1 if the proof fails."""
    from connectors.registries import load_registries
    from streams import logs
    from streams.reshard import reshard as divide

    given = settings_of(context)
    logs.configure("error", given.log_format, given.home)
    with _urls(given) as urls, progress_bar("shards", unit="steps") as bar:
        done = divide(given, load_registries(given.registries), urls, shards, lambda step: bar(0, None, step))
    if as_json:
        say_json({"ok": done.audit.ok, "before": done.before, "after": done.after, "moved": done.moved, "digest": done.audit.digest})
    else:
        say(f"{done.before} shards have become {done.after}; {done.moved:,} subjects have moved" if done.moved else f"there are {done.after} shards")
        for check in done.audit.checks:
            if not check.ok:
                say(f"BROKEN  {check.id}: {check.name}: {'; '.join(check.examples)}")
        if given.shards != done.after:
            note(f"payout: set shards = {done.after} (PAYOUT_SHARDS) wherever it is set")
        note(
            "payout: every invariant holds, and what is known and owed is what it was" if done.audit.ok else "payout: start nothing before somebody has looked"
        )
    if not done.audit.ok:
        raise typer.Exit(1)


@app.command()
def copy(
    context: typer.Context,
    urls: Annotated[list[str], typer.Argument(metavar="URL…", help="An empty database for each server of the store, in their order.")],
    as_json: AsJson = False,
) -> None:
    """Copies the store whole onto other PostgreSQL servers, while nothing works with it. What is cut off leaves nothing there."""
    from connectors.store.copying import copy_store
    from streams.settings import masked_url

    copied = 0
    with reading(context) as installation, progress_bar("rows copied", unit="rows") as bar:

        def shown(table: str, rows: int) -> None:
            nonlocal copied
            copied += rows
            bar(copied, None, table)

        copy_store(installation.store, urls, shown)
    if as_json:
        say_json({"rows": copied, "store_urls": [masked_url(url) for url in urls]})
        return
    say(f"{copied:,} rows copied")
    note(f"payout: set store_urls = [{', '.join(masked_url(url) for url in urls)}] wherever the store is used, then `payout store check` and `payout audit`")


def settings(context: typer.Context, as_json: AsJson = False) -> None:
    """Every setting with its value, where it comes from and what it means; secrets masked."""
    from streams.settings import describe

    rows = describe(settings_of(context))
    if as_json:
        say_json(rows)
    else:
        say_table(("setting", "value", "from", "meaning"), [(row.name, row.value, row.origin, row.meaning) for row in rows])


@contextmanager
def _urls(settings: Settings) -> Iterator[list[str]]:
    """The servers, an embedded one started where it exists."""
    from connectors.embedded_postgres import EmbeddedPostgres
    from connectors.store.servers import StoreError

    with ExitStack() as stack:
        urls = [url.get_secret_value() for url in settings.store_urls]
        if not urls:
            if not (settings.home / "store").is_dir():
                raise StoreError(f"there is no installation in {settings.home.absolute()}: make one with `payout store init`")
            urls = [stack.enter_context(EmbeddedPostgres(settings.home / "store")).url]
        yield urls
