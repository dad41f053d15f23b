"""The demo's report as one self-contained page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from connectors.report import charts
from connectors.report.style import STYLE
from connectors.report.summary import DemoSummary, Orders, Reason, largest_first
from pipeline.money import money_text


def write_demo_report(path: Path, summary: DemoSummary) -> None:
    """Write the page whole or not at all: under a temporary name first, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(page(summary), encoding="utf-8")
    temporary.replace(path)


def page(summary: DemoSummary) -> str:
    """The page's text; it is well-formed XML after its first line."""
    sections = [
        _funnel(summary),
        _incomes(summary),
        _pair(_outcomes(summary), _holds(summary)),
        _pair(_bank(summary), _events(summary)),
        _audit(summary),
        _next(summary),
    ]
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(summary.title)}: the demo in figures</title><style>{STYLE}</style></head><body><main>"
        f"{_head(summary)}{''.join(sections)}{_foot(summary)}</main></body></html>\n"
    )


def _head(summary: DemoSummary) -> str:
    (paid, paid_minor), failed = summary.settled, [check for check in summary.checks if not check.ok]
    amount, currency = money_text(paid_minor, summary.currency).rsplit(" ", 1)
    if not summary.checks:
        verdict = '<span class="badge not">not audited</span>'
    elif failed:
        verdict = f'<span class="badge not">{len(failed)} of {len(summary.checks)} audit checks failed</span>'
    else:
        verdict = f'<span class="badge ok">✓ audit holds: {len(summary.checks)} of {len(summary.checks)} checks</span>'
    return (
        f"<h1>{escape(summary.title)}</h1>"
        f'<p class="soft lead">From registry events to settled money: everybody the registries know, decided, explained, and paid once. {verdict}</p>'
        '<div class="figures">'
        f"<div class='figure'><b>{summary.subjects:,}</b><span>people known</span></div>"
        f"<div class='figure'><b>{paid:,}</b><span>payments settled</span></div>"
        f"<div class='figure money'><b>{amount} <small>{currency}</small></b><span>has reached its payees</span></div>"
        f"<div class='figure speed'><b>{summary.events_per_second:,.0f} <small>events/s</small></b>"
        f"<span>{summary.events:,} in {summary.seconds:,.0f} s</span></div>"
        "</div>"
    )


def _section(title: str, says: str, body: str) -> str:
    return f'<section><h2>{escape(title)}</h2><p class="soft">{escape(says)}</p>{body}</section>'


def _pair(left: str, right: str) -> str:
    return f'<div class="pair">{left}{right}</div>'


def _row(name: str, count: int, largest: int, colour: str, *, aside: str = "", under: str = "") -> str:
    share = 100 * count / largest if largest else 0
    small = f" <small>{escape(aside)}</small>" if aside else ""
    bar = f'<span class="track {colour}"><i style="width:{share:.2f}%"></i></span>' if count else '<span class="track"></span>'
    return f'<li><div class="row"><span>{escape(name)}</span><b>{count:,}{small}</b></div>{bar}{under}</li>'


def _funnel(summary: DemoSummary) -> str:
    steps = [("Known", summary.subjects, None), ("Granted", summary.granted, summary.granted_minor), ("Ordered", *summary.ordered)]
    steps += [("Released", *summary.released), ("Sent", *summary.sent), ("Settled", *summary.settled)]
    largest = max(count for _, count, _ in steps)
    rows = "".join(_row(name, count, largest, "c-main", aside=money_text(minor, summary.currency) if minor is not None else "") for name, count, minor in steps)
    drawn = charts.funnel(summary) if summary.subjects else '<p class="none">Nobody is known yet.</p>'
    body = f'<div class="wide">{drawn}</div><ul class="rows narrow">{rows}</ul>'
    return _section("From people to settled money", "How many reach each step, and what leaves on the way. Nothing leaves without a reason.", body)


def _incomes(summary: DemoSummary) -> str:
    title = "What people get, by income"
    if not summary.incomes:
        return _section(title, "Payment against income.", '<p class="none">No decisions yet.</p>')
    legend = "".join(f'<span class="{status}"><i></i>{name}</span>' for status, name in charts.STATUSES.items())
    says = f"A sample of {len(summary.incomes):,} decisions. A larger dot is more people, a line the mean by band of income; incomes below zero stand at zero."
    body = f'<div class="legend">{legend}</div><div class="wide">{charts.incomes(summary.incomes, summary.currency)}</div>'
    return _section(title, says, body + f'<div class="narrow">{charts.incomes(summary.incomes, summary.currency, 360, 330)}</div>')


def _reasons(title: str, reasons: Sequence[Reason], colour: str) -> str:
    if not reasons:
        return ""
    largest = max(reason.count for reason in reasons)
    rows = "".join(_row(reason.sentence or _words(reason.code), reason.count, largest, colour) for reason in largest_first(reasons))
    return f'<h3>{title}</h3><ul class="rows">{rows}</ul>'


def _words(code: str) -> str:
    return code.replace("_", " ").replace(".", ": ").capitalize()


def _outcomes(summary: DemoSummary) -> str:
    parts = [
        ("Granted", summary.granted, "c-main"),
        ("Refused", sum(row.count for row in summary.refused), "c-off"),
        ("Undetermined", sum(row.count for row in summary.undetermined), "c-wait"),
    ]
    bar = "".join(f'<i class="{colour}" style="flex:{count}"></i>' for _, count, colour in parts if count)
    keys = "".join(f'<span class="{colour}">{name} <b>{count:,}</b></span>' for name, count, colour in parts)
    body = f'<div class="share">{bar}</div><div class="keys">{keys}</div>'
    body += _reasons("Why refused", summary.refused, "c-off") + _reasons("What is missing for a decision", summary.undetermined, "c-wait")
    return _section("What was decided", "An unknown fact is never read as zero or as no: it leaves a decision open.", body)


def _holds(summary: DemoSummary) -> str:
    held = summary.of_state("held")
    count, minor = summary.total("held")
    if not held:
        return _section("What is held", "Orders that may not leave yet, and what lets them go.", '<p class="none">Nothing is held.</p>')
    largest = held[0].count
    rows = "".join(_held_row(row, largest, summary.currency) for row in held)
    return _section(
        "What is held",
        f"{count:,} orders over {money_text(minor, summary.currency)} wait. Each leaves by itself once its reason is gone.",
        f'<ul class="rows">{rows}</ul>',
    )


def _held_row(row: Orders, largest: int, currency: str) -> str:
    lifted = f"<small>Lifted by: {escape(row.remedy)}</small>" if row.remedy else ""
    return _row(row.sentence or _words(row.reason), row.count, largest, "c-wait", aside=money_text(row.amount_minor, currency), under=lifted)


def _bank(summary: DemoSummary) -> str:
    says = "By ISO 20022 reason code. The money is accounted for and waits for its next attempt."
    answers = [row for state in ("rejected", "returned", "unknown") for row in summary.of_state(state)]
    rows = "".join(
        f'<tr><td><code class="code">{escape(row.reason or "none")}</code></td><td>{_words(row.state)}. {escape(row.meaning)}</td>'
        f'<td class="number">{row.count:,}<br/><span class="soft">{money_text(row.amount_minor, summary.currency)}</span></td></tr>'
        for row in answers
    )
    head = "<thead><tr><th>Code</th><th>What the bank says</th><th class='number'>Payments</th></tr></thead>"
    body = f"<table>{head}<tbody>{rows}</tbody></table>" if rows else '<p class="none">The bank refused nothing and returned nothing.</p>'
    if summary.claims:
        total = money_text(summary.claims_minor, summary.currency)
        body += f'<p class="none">{summary.claims:,} people were paid too much before a correction: {total} stand as claims.</p>'
    return _section("What the bank sent back", says, body)


def _events(summary: DemoSummary) -> str:
    rows = "".join(f'<tr><td>{_words(row.name)}</td><td class="number">{row.count:,}</td></tr>' for row in summary.dispositions)
    wide, narrow = charts.throughput(summary.throughput), charts.throughput(summary.throughput, 330, 200)
    body = f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>' if summary.throughput else '<p class="none">No event was taken.</p>'
    if rows:
        body += f"<table><thead><tr><th>What became of each event</th><th class='number'>Events</th></tr></thead><tbody>{rows}</tbody></table>"
    return _section("How fast", f"{summary.events_per_second:,.0f} events per second over the whole run, each one durable.", body)


def _audit(summary: DemoSummary) -> str:
    rows = "".join(
        f'<tr><td><span class="badge {"ok" if check.ok else "not"}">{"✓ holds" if check.ok else "✗ fails"}</span></td><td>{escape(check.name)}</td>'
        f'<td class="number optional">{check.checked:,}</td><td class="number">{check.violations:,}</td></tr>'
        for check in summary.checks
    )
    head = "<thead><tr><th></th><th>Check</th><th class='number optional'>Checked</th><th class='number'>Violations</th></tr></thead>"
    body = f"<table>{head}<tbody>{rows}</tbody></table>" if rows else '<p class="none">The audit has not run.</p>'
    return _section("The audit", "What must hold at any time, counted over everything in the store and in the bank's journal.", body)


def _next(summary: DemoSummary) -> str:
    cards = "".join(f'<div><code>{escape(command.line)}</code><span class="soft">{escape(command.shows)}</span></div>' for command in summary.commands)
    return _section("Try next", "On a terminal, in the same home.", f'<div class="try">{cards}</div>') if cards else ""


def _foot(summary: DemoSummary) -> str:
    return (
        "<footer><p>Filing status, family and income are those of real tax units of the US Current Population Survey, without identities. "
        f"Accounts, residency, birthdays, deaths and the faults of delivery are invented by seed {summary.seed}; the bank is a sandbox. "
        "This page holds no person's data.</p></footer>"
    )
