"""The demo's closing summary on a terminal: a few compact tables."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.report.summary import DemoSummary, largest_first
from pipeline.money import money_text


def terminal_summary(summary: DemoSummary) -> RenderableType:
    """Decisions, orders, speed, audit and what to try next."""
    speed = Text.assemble(
        (f"{summary.events:,}", "bold"), " events in ", (f"{summary.seconds:,.1f} s", "bold"), ": ", (f"{summary.events_per_second:,.0f} events/s", "bold")
    )
    return Group(Text(summary.title, style="bold"), _decisions(summary), _orders(summary), speed, _audit(summary), Text(), *_next(summary))


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at else "left", no_wrap=at > 0, overflow="fold")
    return table


def _decisions(summary: DemoSummary) -> Table:
    table = _table("decided", "people", summary.currency)
    table.add_row("known", f"{summary.subjects:,}", "")
    table.add_row("granted", f"{summary.granted:,}", _bare(summary.granted_minor, summary.currency), style="green")
    if summary.granted_nothing:
        table.add_row(Text("  of them with nothing left to pay", style="dim"), Text(f"{summary.granted_nothing:,}", style="dim"), "")
    for name, reasons in (("refused", summary.refused), ("undetermined", summary.undetermined)):
        table.add_row(name, f"{sum(reason.count for reason in reasons):,}", "", style="yellow" if name == "undetermined" else "")
        for reason in largest_first(reasons):
            table.add_row(Text("  " + (reason.sentence or reason.code), style="dim"), Text(f"{reason.count:,}", style="dim"), "")
    return table


def _orders(summary: DemoSummary) -> Table:
    table = _table("orders", "number", summary.currency)
    for name, (count, minor), style in (("ordered", summary.ordered, ""), ("paid", summary.settled, "green")):
        table.add_row(name, f"{count:,}", _bare(minor, summary.currency), style=style)
    for state in ("held", "rejected", "returned", "unknown"):
        rows = summary.of_state(state)
        if not rows and state == "unknown":
            continue
        count, minor = summary.total(state)
        table.add_row(state, f"{count:,}", _bare(minor, summary.currency), style="yellow" if state == "held" else "red" if count else "")
        for row in rows:
            says = f"  {row.reason} {row.meaning}" if state != "held" else f"  {row.meaning or row.reason}"
            table.add_row(Text(says, style="dim"), Text(f"{row.count:,}", style="dim"), Text(_bare(row.amount_minor, summary.currency), style="dim"))
    if summary.claims:
        table.add_row("claims (paid too much)", f"{summary.claims:,}", _bare(summary.claims_minor, summary.currency), style="yellow")
    return table


def _bare(minor: int, currency: str) -> str:
    return money_text(minor, currency).removesuffix(f" {currency}")


def _audit(summary: DemoSummary) -> Text:
    failed = [check for check in summary.checks if not check.ok]
    if not summary.checks:
        return Text("audit: not run", style="yellow")
    if not failed:
        return Text.assemble("audit: ", (f"{len(summary.checks)} of {len(summary.checks)} checks hold", "bold green"))
    lines = "".join(f"\n  {check.name}: {check.violations:,} violations in {check.checked:,}" for check in failed)
    return Text.assemble("audit: ", (f"{len(failed)} of {len(summary.checks)} checks failed{lines}", "bold red"))


def _next(summary: DemoSummary) -> list[Text]:
    width = max((len(command.line) for command in summary.commands), default=0)
    return [Text("Try next:")] * bool(summary.commands) + [
        Text.assemble("  ", (command.line.ljust(width), "bold cyan"), "  ", (command.shows, "dim")) for command in summary.commands
    ]
