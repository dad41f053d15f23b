"""The page for policy teams: its documents and commands, one after the other, and what they print. Run as a program, it writes what they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from contextlib import chdir
from pathlib import Path

from typer.testing import CliRunner

from streams.commands.rules import app

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/policy.md"
DOCUMENT = "winter-fuel.yaml"
BLOCK = re.compile(r"(```(yaml|console) *(\S*)\n)(.*?)(```)", re.DOTALL)


def told(command: str) -> str:
    """What a command of the page prints, on both streams."""
    words = shlex.split(command)
    if words[:2] == ["payout", "rules"]:
        return CliRunner().invoke(app, words[2:], env={"PAYOUT_REGISTRIES": str(PAGE.parent.parent / "registries")}).output
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def played(page: str) -> str:
    """The page with what its commands print now."""

    def block(match: re.Match[str]) -> str:
        opening, kind, name, body, closing = match.groups()
        document = Path(DOCUMENT)
        if kind == "yaml" and name == "more":
            document.write_text(document.read_text(encoding="utf-8") + body, encoding="utf-8")
        elif kind == "yaml":
            document.write_text(body, encoding="utf-8")
        else:
            commands = [line for line in body.splitlines() if line.startswith("$ ")]
            body = "".join(f"{command}\n{told(command[2:])}" for command in commands)
        return opening + body + closing

    return BLOCK.sub(block, page)


def test_the_page_for_policy_teams_prints_what_its_commands_print(tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    with chdir(tmp_path):
        assert played(page) == page


def test_the_document_of_the_page_ends_with_every_mistake_noticed(tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    with chdir(tmp_path):
        played(page)
        assert CliRunner().invoke(app, ["test", "--coverage", DOCUMENT]).exit_code == 0
        assert CliRunner().invoke(app, ["mutate", DOCUMENT]).exit_code == 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        text = played(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
