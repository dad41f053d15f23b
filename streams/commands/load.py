"""The commands for load tests: a whole country of people made by a seed."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.problems import Malformed, Problem
from streams.shipped import SHIPPED

from .speaking import AsJson, money, note, progress_bar, say, say_json

if TYPE_CHECKING:
    from connectors.synthetic import Country, Made, RuleFacts
    from pipeline.registry import Registries

FEWEST, MOST = 100, 10_000_000
FIRST_YEAR, LAST_YEAR = 1992, 2099

app = typer.Typer(
    name="load", help="Populations for load tests, what-if and demonstrations.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
synth = typer.Typer(name="synth", help="Makes people by a seed; nobody living is meant.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.add_typer(synth)


@app.callback()
def load() -> None:
    """Populations for load tests, what-if and demonstrations."""


@synth.callback()
def made_by_seed() -> None:
    """Makes people by a seed; nobody living is meant."""


@synth.command()
def population(
    output: Annotated[str, typer.Option(metavar="FILE|DIR|-", help="A file, a folder with a file for each topic, or - for standard output.")],
    size: Annotated[int, typer.Option(min=FEWEST, max=MOST, help="How many persons; the last household is whole.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 1,
    country: Annotated[str, typer.Option(help="Whose shares: a file data/population-<country>.yaml.")] = "dk",
    day: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", show_default="2022-01-01", help="The day on which the population is as it is.")
    ] = datetime(2022, 1, 1),  # noqa: DTZ001
    kind: Annotated[str, typer.Option("--as", metavar="events|facts", help="Registry events (NDJSON), or the facts of a rule (Parquet).")] = "events",
    rule: Annotated[list[Path] | None, typer.Option("--rule", metavar="RULE.yaml", help="Rules whose decisions are told beside.")] = None,
    period: Annotated[str, typer.Option(help="What the rules decide for: once, 2022, 2022-Q1, 2022-03 or 2022-W05; else the period of --day.")] = "",
    registries: Annotated[Path, typer.Option(envvar="PAYOUT_REGISTRIES", help="The folder of registry documents.")] = SHIPPED / "registries",
    as_json: AsJson = False,
) -> None:
    """Makes a country: households, persons, businesses, incomes, benefits, accounts, and what is planted for the payout to find.

    Beside the output stands expected.json: who there is, what was planted by kind, and what each --rule must decide.
    """
    from connectors.registries import load_registries
    from connectors.synthetic import Country, load_shares

    if kind not in ("events", "facts"):
        raise Malformed([Problem("--as", f"{kind!r} is neither events nor facts.")])
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise Malformed([Problem("--day", f"{day.date()} is outside the years {FIRST_YEAR} to {LAST_YEAR}.", "Incomes of two years before are told.")])
    if output == "-" and (as_json or kind == "facts"):
        raise Malformed([Problem("--output", "- is standard output, which holds events and nothing else here.", "Name a file.")])
    known = load_registries(registries)
    people = Country(load_shares(SHIPPED / "data" / f"population-{country}.yaml"), seed, day.date())
    facts = [_facts(path, period, people, known) for path in rule or ()]
    begun_s = time.monotonic()
    with progress_bar(f"{size:,} persons", unit="persons") as bar:
        bar(0, size)
        made, place = _events(people, size, known, output, facts, bar) if kind == "events" else _table(people, size, output, facts, bar)
    _tell(made, place, kind, time.monotonic() - begun_s, as_json)


def _facts(path: Path, label: str, people: Country, known: Registries) -> RuleFacts:
    """The facts of a rule for the period named, or the one in which the day lies."""
    from connectors.rule_files import read_rule
    from connectors.synthetic import RuleFacts
    from pipeline.facts import day
    from pipeline.rules import parse_period
    from pipeline.rules.periods import period_with

    rule = read_rule(path, known)
    try:
        asked = parse_period(label) if label else period_with(rule.period_kind, day(people.on))
        rule.day("period.start", asked)
        if rule.parameters_at != "event.date":
            rule.segment(rule.day(rule.parameters_at, asked))
    except ValueError as error:
        raise Malformed([Problem("--period", f"{str(error).rstrip('.')}.", "Name a period of the rule with --period, or another --day.")]) from None
    return RuleFacts(rule, asked, people, known)


def _events(people: Country, size: int, known: Registries, output: str, facts: list[RuleFacts], bar: object) -> tuple[Made, Path | None]:
    from connectors.synthetic import EventFiles, make_events

    def made(files: EventFiles) -> Made:
        with files:
            return make_events(people, size, known, files, facts, bar)  # type: ignore[arg-type]

    if output == "-":
        try:
            return made(EventFiles(sys.stdout.buffer)), None
        except BrokenPipeError:
            # The reader has seen enough (| head): nothing more is wanted, and nothing is wrong.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
    place = Path(output)
    if place.is_dir() or output.endswith("/") or not place.suffix:
        if place.exists() and not place.is_dir():
            raise Malformed([Problem("--output", f"{output!r} is a file.", "Name another folder.")])
        place.mkdir(parents=True, exist_ok=True)
        return made(EventFiles(folder=place)), place
    _check_folder(place)
    with place.open("wb") as stream:
        return made(EventFiles(stream)), place


def _check_folder(place: Path) -> None:
    if not place.parent.is_dir():
        raise Malformed([Problem("--output", f"there is no folder {str(place.parent)!r}.", "Make it, or name another file.")])


def _table(people: Country, size: int, output: str, facts: list[RuleFacts], bar: object) -> tuple[Made, Path]:
    from connectors.synthetic import make_facts

    if len(facts) != 1:
        raise Malformed([Problem("--rule", f"{len(facts)} rules are named; a table of facts is that of one rule.", "Name one with --rule RULE.yaml.")])
    place = Path(output)
    if place.suffix != ".parquet":
        raise Malformed([Problem("--output", f"{output!r} does not end in .parquet, the kind of table that is written.", "Name such a file.")])
    _check_folder(place)
    return make_facts(people, size, facts[0], place, bar), place  # type: ignore[arg-type]


def _tell(made: Made, place: Path | None, kind: str, seconds: float, as_json: bool) -> None:
    import resource

    import msgspec

    if place is not None:
        beside = (place if place.is_dir() else place.parent) / "expected.json"
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
    if as_json:
        say_json(made)
        return
    tell = say if place is not None else note
    events = sum(made.events.values())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    tell(f"{made.persons:,} persons in {made.households:,} households and {made.businesses:,} businesses on {made.day}, by seed {made.seed}.")
    if kind == "events":
        tell(f"{events:,} events: " + ", ".join(f"{count:,} {topic}" for topic, count in made.events.items()) + ".")
    tell("Planted: " + ", ".join(f"{count:,} {_words(name)}" for name, count in made.planted.items() if count) + ".")
    for decided in made.decisions:
        amount = money(decided.amount_minor, decided.currency)
        decisions = f"{decided.granted:,} granted {amount}, {decided.refused:,} refused, {decided.undetermined:,} undetermined"
        held = ", ".join(f"{count:,} {_words(reason)}" for reason, count in decided.held.items())
        tell(f"{decided.benefit} {decided.period}: {decisions}" + (f"; held: {held}." if held else "."))
    rate = f"{events / seconds:,.0f} events/s" if kind == "events" else f"{made.persons / seconds:,.0f} persons/s"
    tell(f"Done in {seconds:.1f} s, {rate}, at most {peak_mb:,} MB" + (f"; {place} and expected.json beside." if place is not None else "."))


def _words(name: str) -> str:
    return name.replace("_", " ")
