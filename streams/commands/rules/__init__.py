"""The commands about rules: what a policy team does with a document."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "new": ("writing", "new"),
    "check": ("checking", "check"),
    "test": ("testing", "run_own_tests"),
    "mutate": ("testing", "mutate_command"),
    "prove": ("proving", "prove"),
    "examples": ("proving", "examples"),
    "cliffs": ("proving", "cliffs"),
    "diff": ("checking", "diff"),
    "evaluate": ("deciding", "evaluate"),
    "explain": ("deciding", "explain_command"),
    "list": ("listing", "list_rules"),
    "show": ("listing", "show"),
    "schema": ("listing", "schema"),
    "keygen": ("life", "keygen"),
    "submit": ("life", "submit"),
    "snapshot": ("simulating", "snapshot"),
    "simulate": ("simulating", "simulate"),
    "simulated": ("life", "simulated"),
    "approve": ("life", "approve"),
    "activate": ("life", "activate"),
    "budget": ("budgets", "budget"),
    "suspend": ("life", "suspend"),
    "resume": ("life", "resume"),
    "rollback": ("life", "rollback"),
    "retire": ("life", "retire"),
    "log": ("standing", "log"),
    "restore": ("standing", "restore"),
    "status": ("standing", "status"),
}
"""Each command's module and function; a module is imported when one of its commands is called, so that none waits for what others need."""

PLAIN: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}


class _OnDemand(TyperGroup):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.commands: Any = dict.fromkeys(COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        single = typer.Typer(**PLAIN)
        single.command(cmd_name)(getattr(import_module(f"{__name__}.{module}"), function))
        return typer.main.get_command(single)


app = typer.Typer(name="rules", cls=_OnDemand, no_args_is_help=True, **PLAIN)


@app.callback()
def rules() -> None:
    """What a policy team does with a rule document."""
