"""What a command begins with: the settings that apply to it, its log, and its installation opened for reading or for work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

if TYPE_CHECKING:
    from connectors.store.queries import Queries
    from streams.installation import Installation
    from streams.settings import Settings


class Given(msgspec.Struct, frozen=True):
    """The options before the command."""

    home: Path | None = None
    config: Path | None = None


def settings_of(context: typer.Context, **given: Any) -> Settings:
    """The settings in force, with the options of the command line; variables that set nothing are told."""
    import os

    from streams.settings import load_settings, unused_variables

    from .speaking import note

    options: Given = context.obj or Given()
    settings = load_settings(options.config, home=options.home, **given)
    for unused in unused_variables(os.environ):
        note(f"payout: {unused}")
    return settings


@contextmanager
def working(context: typer.Context) -> Iterator[Installation]:
    """The installation for a command that writes; an embedded one is made where there is none. Only warnings are shown."""
    from streams import logs
    from streams.installation import opened

    settings = settings_of(context)
    logs.configure("warning", settings.log_format, settings.home)
    with opened(settings) as installation:
        yield installation


@contextmanager
def reading(context: typer.Context, *, level: str = "warning") -> Iterator[Installation]:
    """The installation for a command that only looks; it is not made, migrated or provisioned."""
    from connectors.store.servers import StoreError
    from streams import logs
    from streams.installation import opened

    settings = settings_of(context)
    if not settings.store_urls and not (settings.home / "store").is_dir():
        raise StoreError(f"there is no installation in {settings.home.absolute()}: name another with --home, or make one with `payout store init`")
    logs.configure(level, settings.log_format, settings.home)
    with opened(settings, provision=False) as installation:
        yield installation


@contextmanager
def asking(context: typer.Context) -> Iterator[tuple[Installation, Queries]]:
    """The installation for looking, with the queries of its store."""
    from connectors.store.queries import queries_of

    with reading(context) as installation, queries_of(installation.store) as queries:
        yield installation, queries
