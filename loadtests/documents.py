"""The parts of documents that benches write: tables between marks, and what machine they were measured on."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence

import psutil
from rich.console import Console
from rich.table import Table

from connectors.broker_jars import KAFKA
from streams.settings import SHIPPED


def machine() -> str:
    """What the figures belong to."""
    return f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB, Kafka {KAFKA}, Python {platform.python_version()}"


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body)]
    return "\n".join(lines) + "\n"


def between_marks(text: str, blocks: Mapping[str, str], bench: str = "kafka_bench") -> str:
    """A document with the blocks between its marks written anew; ValueError where a mark is missing."""
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: written by loadtests.{bench} -->\n", f"<!-- end of {name} -->"
        head, found, rest = text.partition(begin)
        _, ended, tail = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"the document has no place for {name}: {begin.strip()} … {end}")
        text = f"{head}{begin}\n{block}\n{end}{tail}"
    return text


def conclude(console: Console, what: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, exact: bool, block: tuple[str, str] | None) -> int:
    """Shows what was measured and whether it came to what was due, and writes it into `block` (its name, and the bench) of docs/performance.md.

    Gives the exit code.
    """
    table = Table(*head, title=f"{what}; {machine()}")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print("everybody was ordered exactly what was due" if exact else "NOT everybody was ordered what was due")
    if block is not None:
        write_block("docs/performance.md", *block, f"Measured on {machine()}.\n\n{markdown(head, rows)}")
    return 0 if exact else 1


def write_block(document: str, name: str, bench: str, block: str) -> None:
    """Writes one block of a document of this repository."""
    path = SHIPPED / document
    path.write_text(between_marks(path.read_text(encoding="utf-8"), {name: block}, bench), encoding="utf-8")
