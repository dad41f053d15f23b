"""The population made by a seed: its bytes, its shares beside the published ones, and its facts beside what its events say."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from schwifty import IBAN
from town import Answer

from connectors.registries import load_registries
from connectors.rule_files import read_rule
from connectors.synthetic import Country, EventFiles, Made, RuleFacts, load_shares, make_events
from connectors.synthetic.country import People
from connectors.synthetic.draws import Draws
from connectors.synthetic.facts import age_years
from connectors.synthetic.shares import Shares
from connectors.synthetic.writing import pieces
from pipeline.decisions import ActiveRule
from pipeline.facts import History, day, join
from pipeline.problems import Malformed
from pipeline.questions import age_years as exact_age
from pipeline.rules import GRANTED, decide, load_rule, parse_period
from streams.cli import main
from streams.settings import SHIPPED

DAY = date(2022, 1, 1)
SHARES = load_shares(SHIPPED / "data" / "population-dk.yaml")
REGISTRIES = load_registries(SHIPPED / "registries")
BENEFITS = {
    "dk-one-time-1000/2020-06-15": "once",
    "dk-one-time-2000/2022-09-13": "once",
    "dk-heat-cheque/2022-04-01": "once",
    "dk-child-benefit/2022-01-01": "2022-Q1",
    "dk-wage-compensation/2020-03-27": "once",
}


def country(seed: int = 7, on: date = DAY, shares: Shares = SHARES) -> Country:
    return Country(shares, seed, on)


def written(size: int, people: Country | None = None, blocks_at_once: int = 20) -> tuple[bytes, Made]:
    stream = io.BytesIO()
    with EventFiles(stream) as files:
        made = make_events(people or country(), size, REGISTRIES, files, blocks_at_once=blocks_at_once)
    return stream.getvalue(), made


def everybody(size: int) -> People:
    parts = list(pieces(country(), size))
    return People(*(pl.concat(frames) for frames in zip(*parts, strict=True)))


@pytest.fixture(scope="module")
def town() -> tuple[bytes, Made]:
    return written(2_000)


@pytest.fixture(scope="module")
def histories(town: tuple[bytes, Made]) -> dict[str, History]:
    """What is known of each subject once every event has come."""
    known: dict[str, History] = defaultdict(tuple)
    for line in town[0].splitlines():
        event = REGISTRIES.decode(line)
        known[event.subject] = join(known[event.subject], [event.known])[0]
    return known


@pytest.fixture(scope="module")
def people() -> People:
    return everybody(100_000)


# The bytes.


def test_the_bytes_of_a_seed_are_these() -> None:
    assert hashlib.sha256(written(1_000)[0]).hexdigest() == "996e6424f1ee29fe6be9792cd6604f37ad2e407e31c41663e1c0c6e4dab29ae7"


def test_the_size_of_the_pieces_changes_no_byte() -> None:
    assert written(4_000, blocks_at_once=1) == written(4_000, blocks_at_once=3) == written(4_000)


def test_another_seed_gives_other_people() -> None:
    assert written(1_000, country(8))[0] != written(1_000)[0]


def test_a_small_country_is_the_beginning_of_a_large_one() -> None:
    small, large = written(1_000)[0], written(3_000)[0]
    assert large.startswith(small)
    assert len(large) > 2 * len(small)


def test_the_last_household_is_whole_so_that_a_few_more_people_may_come() -> None:
    lines, made = written(1_234)
    assert 1_234 <= made.persons < 1_241
    assert set(lines.splitlines()) < set(written(2_000)[0].splitlines())


@given(st.integers(0, 2**31), st.integers(0, 2**40), st.integers(1, 2**31 - 1))
def test_a_draw_is_that_of_splitmix(seed: int, index: int, end: int) -> None:
    start = int.from_bytes(hashlib.blake2b(f"{seed}/person/age".encode(), digest_size=8).digest())
    word = (index * 0x9E3779B97F4A7C15 + start) % 2**64
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
    word ^= word >> 31
    drawn = pl.DataFrame({"i": [index]}).select(Draws(seed, "person", pl.col("i")).below("age", end)).item()
    assert drawn == (word >> 32) * end >> 32


# The events.


def test_every_event_passes_its_registry_and_no_id_comes_twice(town: tuple[bytes, Made]) -> None:
    events = [REGISTRIES.decode(line) for line in town[0].splitlines()]
    topics = Counter(next(registry.topic for registry in REGISTRIES.registries if registry.name == event.known.registry) for event in events)
    assert topics == town[1].events
    assert len({(event.known.registry, event.known.id) for event in events}) == len(events)


def test_accounts_are_valid_and_ones_own_but_for_those_planted(town: tuple[bytes, Made], histories: dict[str, History]) -> None:
    made = town[1]
    owners: dict[object, set[str]] = defaultdict(set)
    for subject, history in histories.items():
        for event in history:
            if event.registry == "accounts":
                account = (event.values.get("account.iban") or "", event.values.get("account.number"))
                owners[account].add(subject)
    invalid = [subjects for (iban, _), subjects in owners.items() if iban and not IBAN(str(iban), allow_invalid=True).is_valid]
    assert len(invalid) == sum(made.planted[kind] for kind in ("account_invalid", "businesses_account_invalid")) > 0
    persons = everybody(2_000).persons
    shared = persons.filter(pl.col("account_fault") == "account_shared").height
    assert Counter(len(subjects) for subjects in owners.values()) == {1: len(owners) - shared // 5, **({5: shared // 5} if shared else {})}


def test_what_is_planted_is_what_the_events_say(town: tuple[bytes, Made], histories: dict[str, History]) -> None:
    planted = town[1].planted
    persons = {subject: history for subject, history in histories.items() if kind_of(subject) == "person"}
    of = {name: {subject: [event for event in history if event.registry == name] for subject, history in persons.items()} for name in ("accounts", "residency")}
    dead = [subject for subject, said in of["residency"].items() if any("residency.death_date" in event.values for event in said)]
    assert 0 < len(dead) <= planted["dead"]
    assert sum(not said for said in of["residency"].values()) == planted["residency_unknown"]
    assert sum(not said for said in of["accounts"].values()) == planted["no_account"]
    assert sum(any(event.values["account.status"] == "closed" for event in said) for said in of["accounts"].values()) == planted["account_closed"]
    homes = [[event.values.get("residency.household") for event in said if "residency.household" in event.values] for said in of["residency"].values()]
    assert sum(len(set(places)) > 1 for places in homes) == planted["moved_household"] > 0


def test_nobody_is_registered_before_their_birth_or_after_their_death(histories: dict[str, History]) -> None:
    for history in histories.values():
        said = [event for event in history if event.registry == "residency"]
        assert all(event.valid_from >= event.values["residency.birth_date"] for event in said)
        assert all(event.valid_from <= day(DAY) for event in said)
        assert [event.valid_from for event in said] == sorted({event.valid_from for event in said})
        assert not any("residency.death_date" in event.values for event in said[:-1])


# The people.

MEASURED: dict[str, Any] = {
    "aged_0": pl.col("age") == 0,
    "aged_0_14": pl.col("age") < 15,
    "aged_0_17": pl.col("age") < 18,
    "aged_65_up": pl.col("age") >= 65,
    "aged_80_up": pl.col("age") >= 80,
    "children_at_home": pl.col("child") >= 0,
    "married": pl.col("marital_status") == "married",
    "in_copenhagen": pl.col("municipality") == "0101",
    "in_aarhus": pl.col("municipality") == "0751",
    "died_in_the_year": pl.col("died"),
    "emigrated_in_the_year": pl.col("emigrated"),
    "moved_municipality": pl.col("moved"),
    **{name: pl.col("receives") == name for name in ("disability_pension", "senior_pension", "early_retirement", "student_grant")},
}
OF_HOUSEHOLDS: dict[str, Any] = {
    "households_of_1": pl.col("size") == 1,
    "households_of_2": pl.col("size") == 2,
    "households_with_children": pl.col("children") > 0,
    "listed_heating_and_low_income": pl.col("listed_heating") & (pl.col("personal_income") + pl.max_horizontal("capital", 0) <= 650_000),
}
OF_FAMILIES: dict[str, Any] = {"one_child": pl.col("children") == 1, "two_children": pl.col("children") == 2}


def test_every_published_figure_is_measured() -> None:
    others = {"mean_income", "above_top_tax_limit", "businesses", "businesses_compensated", "mean_compensation"}
    assert {*MEASURED, *OF_HOUSEHOLDS, *OF_FAMILIES} | others == {*SHARES.published}
    assert all(figure.keys() >= {"of", "table", "year"} for figure in SHARES.published.values())


@pytest.mark.parametrize("figure", [*MEASURED, *OF_HOUSEHOLDS, *OF_FAMILIES])
def test_a_share_of_a_hundred_thousand_persons_is_the_published_one(figure: str, people: People) -> None:
    households, persons, _ = people
    published = float(SHARES.published[figure]["percent"])
    frame = persons if figure in MEASURED else households if figure in OF_HOUSEHOLDS else households.filter(pl.col("children") > 0)
    measured = 100 * frame.select((MEASURED | OF_HOUSEHOLDS | OF_FAMILIES)[figure].mean()).item()
    assert measured == pytest.approx(published, rel=0.06, abs=0.06)


def test_incomes_are_the_published_ones(people: People) -> None:
    persons = people.persons
    mean = persons.filter(pl.col("age") >= 15).get_column("income").mean()
    assert mean == pytest.approx(1_000 * float(SHARES.published["mean_income"]["thousand"]), rel=0.02)
    above = persons.filter(pl.col("age") >= 18).select(((pl.col("taxed") + pl.max_horizontal("capital", 0)) > 531_000).mean()).item()
    assert 100 * above == pytest.approx(float(SHARES.published["above_top_tax_limit"]["percent"]), abs=1.2)


def test_businesses_are_as_many_and_lost_as_much_as_published(people: People) -> None:
    facts = RuleFacts(*rules()[4], country(), REGISTRIES)
    decided = facts.decide(facts.table(people))
    businesses = people.businesses.height
    assert 1_000 * businesses / people.persons.height == float(SHARES.published["businesses"]["per_thousand_persons"])
    assert 100 * decided.granted / businesses == pytest.approx(float(SHARES.published["businesses_compensated"]["percent"]), abs=1.5)
    assert decided.amount_minor / decided.granted / 100_000 == pytest.approx(float(SHARES.published["mean_compensation"]["thousand"]), rel=0.08)


def test_every_household_has_one_head_and_its_children_a_guardian_in_it(people: People) -> None:
    households, persons, _ = people
    assert persons.filter(pl.col("role") == "head").get_column("household").to_list() == households.get_column("household").to_list()
    guardians = persons.select(guardian="person", guardians_household="household", guardians_age="age")
    children = persons.filter((pl.col("age") < 18) & (pl.col("role") == "child")).join(guardians, on="guardian", how="inner")
    assert children.height == persons.filter((pl.col("age") < 18) & (pl.col("role") == "child")).height > 15_000
    assert children.select((pl.col("household") == pl.col("guardians_household")).all()).item()
    assert children.select((pl.col("guardians_age") - pl.col("age")).min()).item() >= 18


def test_who_joined_a_household_lived_in_another_one_that_exists(people: People) -> None:
    households, persons, _ = people
    joined = persons.filter(pl.col("joined"))
    assert joined.height > 100
    assert joined.select((pl.col("joined_from") != pl.col("household")).all()).item()
    assert set(joined.get_column("joined_from")) < set(households.get_column("household"))


# The facts.

FACTS = """\
format: benefit-rule/1
benefit: facts
title: {en: Facts}
in_force: {from: 2021-01-01}
law: {P1: {cite: A}}
decides: {for: person, period: once, parameters_at: event.date, currency: DKK}
facts:
  age_then: {type: years, from: residency.birth_date, at: event.date}
  born: {type: date, from: residency.birth_date, at: 2021-06-30}
  resident_then: {type: yes_no, from: residency.resident, at: 2021-06-30}
  alive_then: {type: yes_no, from: residency.alive, at: 2021-06-30}
  home_then: {type: text, from: residency.household, at: 2021-06-30}
  home: {type: text, from: residency.household, at: 2022-01-01}
  grant_then: {type: yes_no, from: benefits.student_grant, at: 2020-04-30}
  income: {type: money, per: year, from: dk_tax.income, year: 2022, accept: [final, preliminary]}
  final_income: {type: money, per: year, from: dk_tax.income, year: 2022}
parameters: {one: {type: money, law: P1, from: {2021-01-01: 1}}}
eligible_when: [{id: old, when: age_then >= 40, law: P1, not_held: "{subject} is young."}]
amount: {steps: [{id: net, is: one}], pay: net}
"""


def kind_of(subject: str) -> str:
    return {"dk-h": "household", "dk-b": "business"}.get(subject[:4], "person")


def rules() -> list[tuple[Any, Any]]:
    shipped = [(read_rule(SHIPPED / "benefits" / f"{name}.yaml", REGISTRIES), parse_period(period)) for name, period in BENEFITS.items()]
    return [*shipped, (load_rule(FACTS, REGISTRIES.catalogue), parse_period("once"))]


@pytest.mark.parametrize("number", range(6))
def test_the_facts_of_a_rule_are_those_that_are_read_out_of_the_events(number: int, histories: dict[str, History]) -> None:
    rule, period = rules()[number]
    active = ActiveRule(rule, period, REGISTRIES.catalogue)
    table = RuleFacts(rule, period, country(), REGISTRIES).table(everybody(2_000))
    subjects = [subject for subject in sorted(histories) if active.decides(histories[subject])]
    assert sorted(table.get_column("subject")) == subjects
    rows = {row["subject"]: row for row in table.iter_rows(named=True)}
    ages = {fact.name for fact in rule.facts if fact.type == "years"}
    for subject in subjects:
        event_day = active.reader.event_day(histories[subject])
        values, told = active.reader.read(histories[subject], event_day)
        for fact, value, teller in zip(rule.facts, values, told, strict=True):
            if fact.name in ages and value is not None:
                value = exact_age(int(value), event_day if fact.at == "event.date" else rule.day(fact.at, period))
            assert rows[subject][fact.name] == value, (subject, fact.name)
            if value is not None and f"{fact.name}:status" in rows[subject]:
                assert rows[subject][f"{fact.name}:status"] == teller.status
        if rule.needs_event_day:
            assert rows[subject]["event_day"] == event_day


def test_the_facts_of_members_count_whom_the_events_place_in_a_household(histories: dict[str, History]) -> None:
    rule = read_rule(SHIPPED / "benefits/jp-fixed-sum-2020/2020-04-30.yaml", REGISTRIES)
    facts = RuleFacts(rule, parse_period("once"), country(), REGISTRIES)
    table = facts.table(everybody(2_000))
    on, homes = day(date(2020, 4, 27)), defaultdict(list)
    for subject, history in histories.items():
        said = [event for event in history if event.registry == "residency" and event.valid_from <= on]
        if said and "residency.household" in said[-1].values:
            homes[said[-1].values["residency.household"]].append(subject)
    counted = {subject: count for subject, count in table.select("subject", "residents").iter_rows() if count is not None}
    assert {home: count for home, count in counted.items() if count} == {home: len(members) for home, members in homes.items()}
    named = {event.values["residency.household"] for history in histories.values() for event in history if "residency.household" in event.values}
    assert counted.keys() == named  # nobody lived there on that day, but somebody did on another
    decided = decide(rule, table, parse_period("once"))
    assert facts.decide(table).amount_minor == 100_000 * sum(counted.values()) == int(decided.filter(pl.col("decision") == GRANTED)["amount_minor"].sum())


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.dates(date(1900, 1, 1), date(2100, 1, 1)))
def test_ages_are_counted_to_the_day(born: date, at: date) -> None:
    row = pl.DataFrame({"born": [day(born)], "at": [day(at)]}, schema={"born": pl.Int64, "at": pl.Int64})
    if born <= at:
        assert row.select(age_years(pl.col("born"), pl.col("at"))).item() == exact_age(day(born), day(at))


# The command.


@pytest.fixture
def load(capsysbinary: pytest.CaptureFixture[bytes]) -> Any:
    def run(*arguments: str) -> Answer:
        capsysbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["load", "synth", "population", *arguments])
        said = capsysbinary.readouterr()
        assert b"Traceback" not in said.out + said.err
        return Answer(int(ended.value.code or 0), said.out.decode(), said.err.decode())

    return run


def test_events_come_as_a_file_or_as_one_for_each_topic_with_what_is_expected_beside(load: Any, tmp_path: Path) -> None:
    rule = str(SHIPPED / "benefits/dk-child-benefit/2022-01-01.yaml")
    answer = load("--size", "1000", "--seed", "7", "--output", str(tmp_path / "all.ndjson"), "--rule", rule, "--json")
    assert answer.code == 0
    told, expected = json.loads(answer.out), json.loads((tmp_path / "expected.json").read_text())
    assert told == expected
    assert (told["persons"], told["households"], told["businesses"], told["decisions"][0]["period"]) == (1_000, 475, 56, "2022-Q1")
    assert (tmp_path / "all.ndjson").read_bytes() == written(1_000)[0]
    assert load("--size", "1000", "--seed", "7", "--output", str(tmp_path / "topics")).code == 0
    topics = sorted((tmp_path / "topics").glob("*.ndjson"))
    assert [path.stem for path in topics] == sorted(expected["events"])
    assert sorted(line for path in topics for line in path.read_bytes().splitlines()) == sorted(written(1_000)[0].splitlines())


@pytest.mark.parametrize("on", [date(1992, 1, 1), date(2020, 2, 29), date(2099, 12, 31)])
def test_a_country_may_be_made_on_another_day(on: date) -> None:
    stream = io.BytesIO()
    with EventFiles(stream) as files:
        made = make_events(country(on=on), 1_000, REGISTRIES, files)
    events = [REGISTRIES.decode(line) for line in stream.getvalue().splitlines()]
    assert len(events) == sum(made.events.values())
    assert max(event.known.time_ms for event in events) // 86_400_000 <= day(on)


def test_standard_output_holds_events_and_nothing_else(load: Any) -> None:
    answer = load("--size", "1000", "--seed", "7", "--output", "-")
    assert answer.out.encode() == written(1_000)[0]
    assert "1,000 persons in 475 households and 56 businesses" in answer.err


def test_facts_come_as_a_table_that_evaluate_reads(load: Any, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    rule, table = str(SHIPPED / "benefits/dk-heat-cheque/2022-04-01.yaml"), str(tmp_path / "facts.parquet")
    answer = load("--size", "2000", "--seed", "7", "--as", "facts", "--rule", rule, "--output", table, "--json")
    decided = json.loads(answer.out)["decisions"][0]
    with pytest.raises(SystemExit):
        main(["rules", "evaluate", rule, "--facts", table, "--output", str(tmp_path / "decided.parquet"), "--json"])
    told = json.loads(capsysbinary.readouterr().out)
    assert {name: told[name] for name in ("granted", "refused", "undetermined", "amount_minor")} == {
        name: decided[name] for name in ("granted", "refused", "undetermined", "amount_minor")
    }
    assert decided["granted"] > 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--country", "atlantis", "--output", "x"], "--country: there are no shares of 'atlantis'. Known: dk."),
        (["--as", "tables", "--output", "x"], "--as: 'tables' is neither events nor facts."),
        (["--as", "facts", "--output", "x.parquet"], "--rule: 0 rules are named"),
        (["--as", "facts", "--output", "x.csv", "--rule", str(SHIPPED / "benefits/dk-heat-cheque/2022-04-01.yaml")], "does not end in .parquet"),
        (["--output", "-", "--json"], "--output: - is standard output"),
        (["--output", "x", "--rule", str(SHIPPED / "benefits/dk-child-benefit/2022-01-01.yaml"), "--period", "2022"], "--period: dk-child-benefit is decided"),
        (["--output", "nowhere/x.ndjson"], "--output: there is no folder 'nowhere'."),
        (["--output", str(SHIPPED / "README.md") + "/"], "is a file."),
        (["--output", "x", "--day", "1950-01-01"], "--day: 1950-01-01 is outside the years 1992 to 2099."),
        (["--output", "x", "--size", "99"], "greater than or equal to 100"),
    ],
)
def test_what_cannot_be_made_is_refused_with_its_place_and_its_mend(load: Any, arguments: list[str], words: str) -> None:
    answer = load(*arguments)
    assert answer.code == 2
    assert words in answer.err


def test_shares_whose_households_do_not_fill_a_block_are_refused(tmp_path: Path) -> None:
    text = (SHIPPED / "data/population-dk.yaml").read_text().replace("number: 190,", "number: 191,")
    (tmp_path / "population-dk.yaml").write_text(text)
    with pytest.raises(Malformed, match="1,001 members"):
        load_shares(tmp_path / "population-dk.yaml")


def test_the_snippet_of_the_documents_runs(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [snippet] = re.findall(r"```sh\n(.*?)```", (SHIPPED / "docs/load-testers.md").read_text(), re.DOTALL)
    (tmp_path / "benefits").symlink_to(SHIPPED / "benefits")
    monkeypatch.chdir(tmp_path)
    for line in snippet.splitlines():
        with pytest.raises(SystemExit) as ended:
            main(line.split()[1:])
        assert ended.value.code in (0, None), line
    assert (tmp_path / "town/expected.json").exists()
    assert pl.read_parquet(tmp_path / "decided.parquet").height == pl.read_parquet(tmp_path / "facts.parquet").height > 900
