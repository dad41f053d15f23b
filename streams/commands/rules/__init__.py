"""The commands about rules: what a policy team does with a document."""

from __future__ import annotations

from collections.abc import Callable

import typer

from .checking import check, diff
from .deciding import evaluate, explain_command
from .life import activate, approve, keygen, resume, retire, rollback, simulated, submit, suspend
from .listing import list_rules, schema, show
from .proving import cliffs, examples, prove
from .simulating import simulate, snapshot
from .standing import log, restore, status
from .testing import mutate_command, run_own_tests
from .writing import new

app = typer.Typer(
    name="rules", help="What a policy team does with a rule document.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode=None,
)  # fmt: skip

COMMANDS: dict[str, Callable[..., None]] = {
    "new": new,
    "check": check,
    "test": run_own_tests,
    "mutate": mutate_command,
    "prove": prove,
    "examples": examples,
    "cliffs": cliffs,
    "diff": diff,
    "evaluate": evaluate,
    "explain": explain_command,
    "list": list_rules,
    "show": show,
    "schema": schema,
    "keygen": keygen,
    "submit": submit,
    "snapshot": snapshot,
    "simulate": simulate,
    "simulated": simulated,
    "approve": approve,
    "activate": activate,
    "suspend": suspend,
    "resume": resume,
    "rollback": rollback,
    "retire": retire,
    "log": log,
    "restore": restore,
    "status": status,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
