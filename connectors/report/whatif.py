"""The page of a what-if and the files beside it: who gains and who loses, what it costs, and why; one self-contained page, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec

from connectors.report import whatif_charts as charts
from connectors.report.whatif_people import people_section
from connectors.report.whatif_style import PAGE_STYLE
from pipeline.money import decimal_text, money_text
from pipeline.rules import parse_period
from pipeline.rules.periods import PER_YEAR
from pipeline.whatif import BANDS, SimulationResult, Tally, encode_simulation, simulation_hash
from pipeline.whatif.result import Cause, Dimension, Group

BAND_WORDS = {
    "lose_more": "lose more than 5 %",
    "lose_less": "lose up to 5 %",
    "unchanged": "no change",
    "gain_less": "gain up to 5 %",
    "gain_more": "gain more than 5 %",
}
MOST_SHOWN, LARGEST_SHOWN = 14, 10
"""Of a dimension with more groups than the first, so many are shown unfolded."""

_ACCEPTS = {"final": "Only final facts count", "document": "As the document says", "provisional": "Provisional facts count too"}


def write_simulation(directory: Path, result: SimulationResult) -> list[Path]:
    """Writes simulation-<hash>.html, .json and .csv, each whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"simulation-{simulation_hash(result)[:12]}"
    contents = {".html": simulation_page(result).encode(), ".json": encode_simulation(result), ".csv": simulation_csv(result).encode()}
    written = []
    for suffix, content in contents.items():
        path = directory / (stem + suffix)
        temporary = path.with_name(path.name + ".partial")
        temporary.write_bytes(content)
        temporary.replace(path)
        written.append(path)
    return written


def simulation_csv(result: SimulationResult) -> str:
    """A line for everybody and for each group of each dimension; amounts as decimal numbers."""
    names = [field.name for field in msgspec.structs.fields(Tally)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["dimension", "group", *(name.removesuffix("_minor") for name in names), "currency"])
    rows = [("all", "all", result.whole)] + [(dimension.name, group.label, group.tally) for dimension in result.dimensions for group in dimension.groups]
    for dimension, group, tally in rows:
        cells = [decimal_text(getattr(tally, name), result.currency) if name.endswith("_minor") else getattr(tally, name) for name in names]
        writer.writerow([dimension, group, *cells, result.currency])
    return file.getvalue()


def simulation_page(result: SimulationResult) -> str:
    """The page's text; it is well-formed XML after its first line."""
    sections = [
        _differences(result),
        _budget(result),
        *(_dimension(result, dimension) for dimension in result.dimensions),
        _curves(result),
        _causes(result),
        _decisions(result),
    ]
    sections += [_payability(result), _certainty(result), people_section(result), _foot(result)]
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(result.candidate.title)}: what if</title><style>{PAGE_STYLE}</style></head><body><main>"
        f"{_head(result)}{''.join(sections)}</main></body></html>\n"
    )


def _section(title: str, says: str, body: str) -> str:
    return f'<section><h2>{escape(title)}</h2><p class="soft">{escape(says)}</p>{body}</section>'


def _head(result: SimulationResult) -> str:
    whole, currency = result.whole, result.currency
    by = whole.difference_minor
    gain, lose = whole.newly_in + whole.more, whole.newly_out + whole.less
    against = f"rule {result.active.hash[:12]}" if result.active else "nothing"
    period = "paid once" if result.candidate.period == "once" else result.candidate.period
    badge = ""
    if result.budget is not None:
        reached = result.budget.reached_in
        badge = f'<span class="badge not">passes its budget in {reached}</span>' if reached else '<span class="badge ok">✓ within its budget</span>'
    amount, was = charts.short(by, currency, signed=True), money_text(whole.active_minor, currency)
    style = "up" if by > 0 else "down" if by < 0 else ""
    said = f"Candidate {result.candidate.hash[:12]} against {against}, {period}, decided for the same {whole.people:,} people"
    cost = "costs as much as today" if not by else f"costs {money_text(abs(by), currency)} {'more' if by > 0 else 'less'}"
    return (
        f"<h1>What if: {escape(result.candidate.title)}</h1>"
        f'<p class="soft lead">{said}: it {cost}. {badge}</p>'
        '<div class="figures four">'
        f"<div class='figure {style}'><b>{escape(amount)}</b><span>against {was}</span></div>"
        f"<div class='figure'><b>{gain:,}</b><span>gain, {whole.newly_in:,} newly in</span></div>"
        f"<div class='figure'><b>{lose:,}</b><span>lose, {whole.newly_out:,} newly out</span></div>"
        f"<div class='figure'><b>{whole.undetermined:,}</b><span>undetermined</span></div>"
        "</div>"
    )


def _differences(result: SimulationResult) -> str:
    if result.active is None:
        return ""
    rows = "".join(f"<li>{escape(said.replace('->', '→'))}</li>" for said in result.differences)
    body = f'<ul class="rows">{rows}</ul>' if rows else '<p class="none">The documents say the same.</p>'
    return _section("What the candidate changes", "The two documents, compared in words.", body)


def _both(wide: str, narrow: str) -> str:
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def _budget(result: SimulationResult) -> str:
    body = _both(charts.waterfall(result), charts.waterfall(result, 340))
    currency = result.currency
    if len(result.months) > 1:
        body += "<h3>Paid by the end of each month, as if every period of the year came out as this one</h3>"
        body += _both(charts.months(result), charts.months(result, 340, 220))
    if result.budget is not None:
        said = f"{money_text(abs(result.budget.left_minor), currency)} {'left' if result.budget.left_minor >= 0 else 'too much'}"
        per = "once" if result.budget.per == "once" else "a year"
        body += f'<p class="none">The document has a budget of {money_text(result.budget.amount_minor, currency)} {per}: {said}.</p>'
    return _section("What it costs", "From what the active rule pays to what the candidate would pay, by what changes for whom.", body)


def _dimension(result: SimulationResult, dimension: Dimension) -> str:
    keys = "".join(f'<span class="{band}">{words}</span>' for band, words in BAND_WORDS.items())
    groups = list(dimension.groups)
    many = len(groups) > MOST_SHOWN
    shown = sorted(groups, key=lambda group: -abs(group.tally.difference_minor))[:LARGEST_SHOWN] if many else groups
    if dimension.kind == "decile":
        title, says = f"Who gains and who loses, by {dimension.title}", "Ten groups of about the same number of people, from the lowest to the highest."
    else:
        title, says = f"By {dimension.title}", "The same five bands."
    measured = f"by the {result.bands_of.replace('_', ' ')} of a year" if result.bands_of else "by what the active rule pays"
    if many:
        says = f"The {LARGEST_SHOWN} of {len(groups)} groups in which most money moves."
    body = f'<div class="keys">{keys}</div>{_groups(dimension, shown, result.currency)}'
    if many:
        body += f"<details><summary><span>All {len(groups)} groups</span></summary>{_groups(dimension, groups, result.currency)}</details>"
    return _section(title, f"{says} Bands measure a change {measured}; the undetermined are in none.", body)


def _groups(dimension: Dimension, groups: Sequence[Group], currency: str) -> str:
    head = f"<thead><tr><th>{escape(dimension.title.capitalize())}</th><th>People in each band</th><th class='number'>For each, on average</th></tr></thead>"
    rows = "".join(_group(group.label, group.tally, currency) for group in groups)
    return f'<table class="bands">{head}<tbody>{rows}</tbody></table>'


def _group(label: str, tally: Tally, currency: str) -> str:
    told = ", ".join(f"{getattr(tally, band):,} {words}" for band, words in BAND_WORDS.items() if getattr(tally, band)) or "all undetermined"
    bar = "".join(f'<i class="{band}" style="flex:{getattr(tally, band)}"></i>' for band in BANDS if getattr(tally, band))
    each = round(tally.difference_minor / tally.people) if tally.people else 0
    average = ("+" if each > 0 else "−" if each < 0 else "") + money_text(abs(each), currency).rsplit(" ", 1)[0]
    return (
        f'<tr><td>{escape(label.replace("_", " "))}<br/><small class="soft">{tally.people:,}</small></td>'
        f'<td><div class="share" role="img" aria-label="{escape(told)}" title="{escape(told)}">{bar}</div></td>'
        f'<td class="number">{average}<br/><small class="soft">{escape(charts.short(tally.difference_minor, currency, signed=True))}</small></td></tr>'
    )


def _curves(result: SimulationResult) -> str:
    if not result.families:
        return ""
    both, currency = result.active is not None, result.currency
    parts = PER_YEAR[parse_period(result.candidate.period).kind]
    keys = '<span class="now-key"><i></i>candidate</span>' + ('<span class="was-key"><i></i>active rule</span>' if both else "")
    apart = "</div><div>" if len(result.families) == 1 else ""  # a single family's two plots stand beside each other
    plots = "".join(
        f"<div><h3>{escape(family.label.capitalize())} <small class='soft'>{family.people:,} alike</small></h3>"
        f"{charts.curve(family, result.cliffs, currency, both=both)}{apart}{charts.marginal(family, currency, parts, both=both)}</div>"
        for family in result.families
    )
    how = "by the solver" if result.cliffs_by == "proof" else "by deciding these families along it and halving every fall down to one unit"
    rows = "".join(
        f"<tr><td>{cliff.rule.capitalize()}</td><td>{escape(cliff.family)}</td><td class='number'>{money_text(cliff.at_minor, currency)}</td>"
        f"<td class='number'>{money_text(cliff.loss_minor, currency)}</td></tr>"
        for cliff in result.cliffs
    )
    head = "<thead><tr><th>Rule</th><th>Family</th><th class='number'>At</th><th class='number'>One unit more costs</th></tr></thead>"
    along = result.families[0].along_title
    table = (
        f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'
        if rows
        else '<p class="none">No cliff: no unit more costs more than it brings.</p>'
    )
    says = f"What the most common families are paid at each {along}, and how much of one unit more they lose. Cliffs were found {how}."
    return _section(f"Along the {along}", says, f'<div class="legend">{keys}</div><div class="plots">{plots}</div><h3>Largest cliffs</h3>{table}')


def _bars(causes: Sequence[Cause], currency: str, colour: str) -> str:
    largest = max(cause.people for cause in causes)
    return "".join(
        f'<li><div class="row"><span>{escape(cause.text)} <small>{escape(cause.law)}</small></span>'
        f"<b>{cause.people:,} <small>{money_text(cause.amount_minor, currency)}</small></b></div>"
        f'<span class="track {colour}"><i style="width:{100 * cause.people / largest:.2f}%"></i></span></li>'
        for cause in causes
    )


def _causes(result: SimulationResult) -> str:
    parts = []
    for title, causes, colour in (("Newly out", result.newly_out_by, "c-bad"), ("Newly in", result.newly_in_by, "c-good")):
        if causes:
            parts.append(f'<h3>{title}</h3><ul class="rows">{_bars(causes, result.currency, colour)}</ul>')
    says = "The first condition that flipped for each: of those newly out the one they now fail, of those newly in the one that had kept them out."
    return _section("Why", says, "".join(parts) or '<p class="none">Nobody is newly in or newly out by a condition.</p>')


def _decisions(result: SimulationResult) -> str:
    rows = "".join(
        f"<tr><td>{cell.active}</td><td>{cell.candidate}</td><td class='number'>{cell.people:,}</td>"
        f"<td class='number'>{money_text(cell.candidate_minor - cell.active_minor, result.currency)}</td></tr>"
        for cell in result.decisions
    )
    head = "<thead><tr><th>Active rule</th><th>Candidate</th><th class='number'>People</th><th class='number'>Difference</th></tr></thead>"
    return _section("How the two decide the same people", "Who is granted may still be left with nothing.", f"<table>{head}<tbody>{rows}</tbody></table>")


def _payability(result: SimulationResult) -> str:
    held, currency = result.payability, result.currency
    title = "Who could not be paid"
    if held is None:
        return _section(title, "Whether money would reach its people.", '<p class="none">Nothing is known here of accounts.</p>')
    if not held.unpaid:
        return _section(title, f"{held.payable:,} people could be paid on the day.", '<p class="none">Everybody could be paid.</p>')
    largest = held.unpaid[0].people
    rows = "".join(
        f'<li><div class="row"><span>{escape(row.sentence)}</span><b>{row.people:,} <small>{money_text(row.amount_minor, currency)}</small></b></div>'
        f'<span class="track c-wait"><i style="width:{100 * row.people / largest:.2f}%"></i></span><small>Lifted by: {escape(row.lifted_by)}</small></li>'
        for row in held.unpaid
    )
    says = f"{held.payable:,} of those granted money could be paid {money_text(held.payable_minor, currency)}; the others would be held."
    return _section(title, says, f'<ul class="rows">{rows}</ul>')


def _certainty(result: SimulationResult) -> str:
    rows = "".join(
        f"<tr><td>{_ACCEPTS[row.accepts]}</td><td class='number'>{row.granted:,}</td><td class='number'>{row.undetermined:,}</td>"
        f"<td class='number'>{money_text(row.candidate_minor, result.currency)}</td><td class='number optional'>{row.differ:,}</td></tr>"
        for row in result.certainty
    )
    head = "<thead><tr><th>Facts</th><th class='number'>Granted</th><th class='number'>Undetermined</th><th class='number'>Cost</th>"
    head += "<th class='number optional'>Decided otherwise</th></tr></thead>"
    alone = len(result.certainty) == 1
    says = "Every fact is final, or nothing is said of it." if alone else "The candidate where only final facts count, and where provisional ones do."
    return _section("How sure the facts are", says, f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>')


def _foot(result: SimulationResult) -> str:
    active = f"active rule {result.active.hash}" if result.active else "no active rule"
    return (
        f'<footer><p class="hash">Simulation {simulation_hash(result)}: candidate {result.candidate.hash}, {active}, {result.population.kind} '
        f"{result.population.hash}, seed {result.seed}. People stand here by their pseudonyms; no account number is in this page.</p></footer>"
    )
