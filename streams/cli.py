"""The command `payout`: its options and groups, and how every command ends.

Exit codes: 0 done, 1 the thing asked about is not well, 2 bad usage or bad input, 3 the world failed (130: stopped by Ctrl-C).
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from .commands import dead_letters, events, holds, store
from .commands.audit import audit
from .commands.cases import explain, trace
from .commands.opening import Given
from .commands.orders import orders
from .commands.run import run
from .commands.speaking import note, say
from .commands.status import status

app = typer.Typer(
    name="payout",
    help="Benefits that reach people without anyone applying: registry events in, exact and explained payment orders out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ELSEWHERE = {
    "demo": ("streams.demo", "demo", "The main job on real data, then a summary and what to try next."),
    "rules": ("streams.commands.rules", "app", "Writes, checks, tests and explains rule documents."),
    "kafka": ("streams.commands.kafka", "app", "A Kafka broker on this machine, and the topics in any cluster."),
    "worker": ("streams.commands.worker", "worker", "Takes events from Kafka, as one of any number of workers."),
    "load": ("streams.commands.load", "app", "Populations for load tests, what-if and demonstrations."),
    "bank": ("streams.commands.bank", "app", "Exchanges files with the bank, beside the workers."),
    "sandbox-bank": ("streams.bank_commands", "sandbox_bank", "A bank to try things with; pays nobody."),
}
"""Commands whose modules are heavy: imported when they are called."""

MALFORMED = "pipeline.problems.Malformed"
AWAY = {"connectors.store.connecting.StoreAway", "psycopg.OperationalError"}
WORLD = {
    "connectors.broker_files.BrokerUnavailable", "connectors.kafka_cluster.KafkaAway", "streams.worker_holding.RecordsGone",
    "streams.worker_watch.Stuck", "streams.worker_topics.TopicsDiffer",
    "connectors.postgres_account.Unavailable", "connectors.log_reader.OffsetOutOfRange", "connectors.log_segment.LogCorrupt",
    "connectors.segment_log.LogFailed", "connectors.segment_log.LogInUse", "connectors.store.frames.Replaced", "connectors.store.schema.StoreError",
    "streams.runner.LaneFailed", "streams.replay.BeginningGone", "streams.bank_desk.OtherDesk", "streams.bank_desk.OutboxBroken",
}  # fmt: skip
"""Errors by name, since the modules of most of them are heavy and the one that raised it is there already."""

GLOBAL = ("--home", "--config")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"payout {version('payout')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of an embedded installation, else PAYOUT_HOME, else ./home.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings file, else PAYOUT_CONFIG, else payout.toml in the home or here.")] = None,
    show_version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Prints the version.")] = False,
) -> None:
    """Benefits that reach people without anyone applying: registry events in, exact and explained payment orders out."""
    context.obj = Given(home, config)
    if home is not None:
        os.environ["PAYOUT_HOME"] = str(home)


def _called(module: str, name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        found: Any = getattr(import_module(module), name)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
            single.command()(found)
            found = single
        typer.main.get_command(found).main(args=list(context.args), prog_name=context.command_path, obj=context.obj)

    return command


for _name, _command in (
    ("audit", audit),
    ("status", status),
    ("explain", explain),
    ("trace", trace),
    ("orders", orders),
    ("run", run),
    ("settings", store.settings),
):
    app.command(_name)(_command)
for _name, _group in (("events", events.app), ("holds", holds.app), ("dead-letters", dead_letters.app), ("store", store.app)):
    app.add_typer(_group, name=_name)
for _name, (_module, _attribute, _help) in ELSEWHERE.items():
    app.command(
        _name, help=_help, add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
    )(_called(_module, _attribute))


def main(arguments: list[str] | None = None) -> None:
    """The entry point: runs a command and exits with its code."""
    with Ending() as ending:
        app(args=_globals_first(sys.argv[1:] if arguments is None else arguments), prog_name="payout")
    sys.exit(ending.code)


def _globals_first(arguments: list[str]) -> list[str]:
    """`--home` and `--config` may stand anywhere before a `--`."""
    first: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
        elif argument in GLOBAL:
            first += [argument, *(value for value in [next(left, None)] if value is not None)]
        elif argument.startswith(tuple(f"{name}=" for name in GLOBAL)):
            first.append(argument)
        else:
            rest.append(argument)
    return [*first, *rest]


class Ending:
    """Turns what a command ended with into an exit code and sentences on standard error; a traceback goes to a file."""

    def __init__(self) -> None:
        self.code: int | str | None = 0

    def __enter__(self) -> Ending:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is None:
            return False
        if isinstance(error, SystemExit):
            self.code = error.code
        elif isinstance(error, KeyboardInterrupt):
            self.code = 130
        else:
            self.code = _told(error)
        return True


def _told(error: BaseException) -> int:
    """Tells an error; gives its exit code."""
    from .logs import safe_text

    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    if MALFORMED in kinds:
        for problem in error.problems:  # type: ignore[attr-defined]
            note(f"payout: {problem}")
        return 2
    if kinds & AWAY:
        note(f"payout: the store does not answer: {safe_text(str(error).strip())}")
    elif kinds & WORLD:
        note(f"payout: {safe_text(str(error))}")
    elif isinstance(error, OSError):
        note(f"payout: {error.filename or 'the system'}: {error.strerror or error}")
    else:
        note(f"payout: a defect of this program: {type(error).__name__}: {safe_text(str(error))[:300]}")
        note(f"payout: its trace is in {_traced(error)}; please report it")
    return 3


def _traced(error: BaseException) -> Path:
    """Writes the traceback where the log is, or into the folder for temporary files."""
    from .logs import safe_text

    folder = Path(os.environ.get("PAYOUT_HOME") or "home") / "logs"
    if not folder.is_dir():
        folder = Path(tempfile.gettempdir())
    path = folder / f"payout-defect-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    path.write_text(safe_text("".join(traceback.format_exception(error))), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
