"""The page of a what-if: one file that needs nothing else, with every figure of the result, and the JSON and CSV beside it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import polars as pl
import pytest
from lxml import etree
from msgspec.structs import replace

from connectors.facts_file import FactsFile
from connectors.registries import load_registries
from connectors.report.whatif import simulation_page, write_simulation
from connectors.report.whatif_charts import falls, short
from connectors.rule_files import read_rule
from pipeline.rules import Rule, load_rule, parse_period
from pipeline.whatif import Side, SimulationResult, decode_simulation, simulate, simulation_hash

ROOT = Path(__file__).resolve().parent.parent
REGISTRIES = load_registries(ROOT / "registries")
CHILD = ROOT / "benefits/dk-child-benefit/2022-01-01.yaml"


def lower(text: str) -> Rule:
    """The child benefit with a ceiling of income, and a lower rate for the eldest."""
    ceiling = 'eligible_when:\n  - {id: not_rich, when: "income <= ceiling", law: P1a}'
    text = text.partition("tests:")[0].replace("eligible_when:", ceiling).replace("2_898]", "2_500]")
    parameter = "  ceiling: {type: money, per: year, law: P1a, from: {2022-01-01: 900_000}}\n  income_limit:"
    return load_rule(text.replace("  income_limit:", parameter), REGISTRIES.catalogue)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SimulationResult:
    path = tmp_path_factory.mktemp("people") / "people.parquet"
    people = 400
    table = {
        "subject": [f"dk-<{number:03}>" for number in range(people)],
        "age": [number % 17 for number in range(people)],
        "resident": [number % 50 != 0 for number in range(people)],
        "income": [None if number % 90 == 7 else number * 250_000 for number in range(people)],
        "income:status": ["preliminary" if number % 5 == 0 else "final" for number in range(people)],
        "hold": ["no_account" if number % 8 == 0 else "" for number in range(people)],
    }
    pl.DataFrame(table).write_parquet(path)
    period = parse_period("2022-Q1")
    sides = Side(lower(CHILD.read_text()), period), Side(read_rule(CHILD, REGISTRIES), period)
    return simulate(*sides, FactsFile(path, *sides))


def tree(page: str) -> etree._Element:
    return etree.fromstring(page.removeprefix("<!DOCTYPE html>\n").encode())


def words(page: str) -> str:
    return " ".join(" ".join(tree(page).find("body").itertext()).split())


def test_the_page_is_well_formed_and_fetches_nothing(result: SimulationResult):
    page = simulation_page(result)
    root = tree(page)
    assert {"script", "link", "img", "iframe", "object", "image", "use"}.isdisjoint({etree.QName(element).localname for element in root.iter()})
    assert not [name for element in root.iter() for name in element.attrib if etree.QName(name).localname in ("src", "href")]
    assert not re.search(r"url\(|@import", page)


def test_every_plot_says_in_words_what_it_shows(result: SimulationResult):
    root = tree(simulation_page(result))
    plots = [element for element in root.iter() if element.get("role") == "img"]
    assert len(plots) > 20
    assert all(element.get("aria-label") for element in plots)


def test_the_page_tells_the_figures_of_the_result(result: SimulationResult):
    said, whole = words(simulation_page(result)), result.whole
    assert f"{whole.newly_in + whole.more:,} gain, {whole.newly_in:,} newly in" in said
    assert f"{whole.newly_out + whole.less:,} lose, {whole.newly_out:,} newly out" in said
    assert f"{whole.undetermined:,} undetermined" in said
    assert "The person has assigned no account." in said
    assert "not income <= ceiling" in said
    assert "Only final facts count" in said
    assert "✓ within its budget" in said
    assert "Paid by the end of each month, as if every period of the year came out as this one" in said
    assert simulation_hash(result) in said


def test_a_cliff_is_marked_with_its_place_and_its_loss(result: SimulationResult):
    largest = max(result.cliffs, key=lambda cliff: cliff.loss_minor)
    assert largest.rule == "candidate"
    assert largest.at_minor == 90_000_000
    assert "at 900,000.00" in words(simulation_page(result))


def test_the_waterfall_leads_from_the_active_rule_to_the_candidate_without_a_gap(result: SimulationResult):
    first, *moves, last = falls(result)
    assert (first.end, last.end) == (result.whole.active_minor, result.whole.candidate_minor)
    levels = [first.end, *(bar.end for bar in moves)]
    assert [bar.start for bar in moves] == levels[:-1]
    assert levels[-1] == last.end
    assert {bar.name for bar in moves} >= {"Paid less", "Newly out"}


def test_names_and_traces_are_text_and_never_markup(result: SimulationResult):
    page = simulation_page(result)
    assert "dk-<" not in page
    assert "dk-&lt;" in page


def test_a_result_without_people_rules_or_income_still_has_a_page(result: SimulationResult):
    empty = replace(result, active=None, families=(), cliffs=(), dimensions=(), payability=None, gains=(), losses=(), drawn=(), budget=None, newly_out_by=())
    said = words(simulation_page(empty))
    assert "Nothing is known here of accounts." in said
    assert "against nothing" in said


def test_the_files_are_named_by_the_hash_and_the_json_is_the_result(result: SimulationResult, tmp_path: Path):
    written = write_simulation(tmp_path, result)
    assert [path.name for path in written] == [f"simulation-{simulation_hash(result)[:12]}.{suffix}" for suffix in ("html", "json", "csv")]
    assert decode_simulation(written[1].read_bytes()) == result
    rows = list(csv.DictReader(written[2].open()))
    assert rows[0]["dimension"] == "all"
    assert int(rows[0]["people"]) == sum(int(row["people"]) for row in rows if row["dimension"] == "age") == 400


@pytest.mark.parametrize(
    ("minor", "said"),
    [(419_000_000_000, "4.19 bn USD"), (-7_980_000_00, "−7.98 m USD"), (123_456, "1,235 USD"), (0, "0 USD"), (1_234_567_890_00, "1.23 bn USD")],
)
def test_amounts_are_short_in_plots(minor: int, said: str):
    assert short(minor, "USD") == said
