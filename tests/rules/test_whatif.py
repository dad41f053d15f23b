"""What-if on people made by hand, whose every figure is known, and the laws that hold for all people."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.facts_file import FactsFile
from connectors.registries import load_registries
from pipeline.problems import Malformed
from pipeline.rules import ONCE, Rule, load_rule, parse_period
from pipeline.whatif import BANDS, CHANGES, Side, SimulationResult, decode_simulation, encode_simulation, simulate, simulation_hash
from pipeline.whatif.months import months_of

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = load_registries(ROOT / "registries").catalogue
ACTIVE = """\
format: benefit-rule/1
benefit: help
title: {en: Help}
in_force: {from: 2020-03-27}
law: {P1: {cite: Help Act § 1}, P2: {cite: Help Act § 2}}
decides: {for: person, period: once, parameters_at: period.start}
facts:
  income: {type: money, from: tax.agi, year: 2019, accept: [final], range: -1_000_000..1_000_000}
  status: {type: text, from: tax.filing_status, year: 2019, one_of: [single, married_joint]}
  resident: {type: yes_no, from: residency.resident}
parameters:
  limit: {type: money, law: P2, from: {2020-03-27: 1_000}}
  full: {type: money, law: P1, from: {2020-03-27: 100}}
eligible_when:
  - {id: resident, when: resident, law: P1}
  - {id: poor, when: "income <= limit", law: P2}
amount:
  steps:
    - {id: net, is: full, law: P1}
  pay: net
limits: {budget: {amount: 450, per: once, when_reached: stop_and_ask}, review_above: 110}
"""
CANDIDATE = (
    ACTIVE.replace("2020-03-27: 1_000}", "2020-03-27: 900}")
    .replace("{2020-03-27: 100}", "{2020-03-27: 104}")
    .replace("{id: net, is: full, law: P1}", "{id: net, is: full + extra, law: P1}")
    .replace("  full: {", "  extra: {type: money, law: P1, by: {status: [single, married_joint]}, from: {2020-03-27: [0, 20]}}\n  full: {")
)
PEOPLE = [
    # subject, income, status, resident
    ("a", 500, "single", True),  # 100 -> 104: more, 4 of 500
    ("b", 500, "married_joint", True),  # 100 -> 124: more, 24 is nearly 5 %
    ("c", 300, "married_joint", True),  # 100 -> 124: more, 24 is 8 %
    ("d", 950, "single", True),  # 100 -> 0 by `poor`
    ("e", 500, "single", False),  # nothing, by `resident`
    ("f", None, "single", True),  # undetermined
    ("g", 5_000, "single", True),  # nothing, by `poor`
    ("h", 990, "married_joint", True),  # 100 -> 0 by `poor`
]
SUBJECTS = ("subject", "income", "status", "resident")


def rule(text: str) -> Rule:
    return load_rule(text, CATALOGUE)


OLD, NEW = rule(ACTIVE), rule(CANDIDATE)


def people(path: Path, rows: list[tuple[object, ...]] = PEOPLE, **more: list[object]) -> Path:
    minor = [(subject, None if income is None else income * 100, *rest) for subject, income, *rest in rows]  # type: ignore[operator]
    table = pl.DataFrame(minor, schema={"subject": pl.String, "income": pl.Int64, "status": pl.String, "resident": pl.Boolean}, orient="row")
    table.with_columns(pl.Series(name, values) for name, values in more.items()).write_parquet(path)
    return path


def what_if(path: Path, new: Rule = NEW, old: Rule | None = OLD, chunk_rows: int = 3, **more: object) -> SimulationResult:
    candidate, active = Side(new, ONCE), None if old is None else Side(old, ONCE)
    return simulate(candidate, active, FactsFile(path, candidate, active, chunk_rows=chunk_rows), **more)  # type: ignore[arg-type]


@pytest.fixture
def result(tmp_path: Path) -> SimulationResult:
    return what_if(people(tmp_path / "people.parquet"))


def test_everybody_is_counted_by_what_the_candidate_means_to_them(result: SimulationResult):
    assert {name: getattr(result.whole, name) for name in CHANGES} == {
        "newly_in": 0, "newly_out": 2, "more": 3, "less": 0, "same": 0, "neither": 2, "undetermined": 1
    }  # fmt: skip


def test_the_money_is_that_of_each_rule(result: SimulationResult):
    assert (result.whole.active_minor, result.whole.candidate_minor, result.whole.difference_minor) == (50_000, 35_200, -14_800)


def test_the_decisions_of_both_rules_stand_in_one_table(result: SimulationResult):
    cells = {(cell.active, cell.candidate): cell.people for cell in result.decisions}
    assert cells == {("granted", "granted"): 3, ("granted", "refused"): 2, ("refused", "refused"): 2, ("undetermined", "undetermined"): 1}


def test_the_first_condition_that_flipped_is_told_with_its_law_and_the_money_lost(result: SimulationResult):
    [cause] = result.newly_out_by
    assert (cause.id, cause.text, cause.law, cause.people, cause.amount_minor) == ("poor", "not income <= limit", "Help Act § 2", 2, 20_000)


def test_who_comes_in_had_been_kept_out_by_the_first_condition_that_they_failed(tmp_path: Path):
    back = what_if(people(tmp_path / "p.parquet"), new=OLD, old=NEW)
    assert [(cause.id, cause.people, cause.amount_minor) for cause in back.newly_in_by] == [("poor", 2, 20_000)]


def test_an_amount_that_comes_to_nothing_is_a_cause_of_its_own(tmp_path: Path):
    nothing = rule(
        ACTIVE.replace(
            "full: {type: money, law: P1, from: {2020-03-27: 100}}",
            "full: {type: money, law: P1, by: {status: [single, married_joint]}, from: {2020-03-27: [100, 0]}}",
        )
    )
    out = what_if(people(tmp_path / "p.parquet"), new=nothing).newly_out_by
    assert [(cause.id, cause.people) for cause in out] == [("amount", 3)]


def test_bands_measure_a_change_by_the_income_of_a_year(result: SimulationResult):
    assert {band: getattr(result.whole, band) for band in BANDS} == {"lose_more": 2, "lose_less": 0, "unchanged": 2, "gain_less": 2, "gain_more": 1}
    assert result.bands_of == "income"


def test_groups_are_by_income_and_by_kind_unless_others_are_asked_for(result: SimulationResult, tmp_path: Path):
    assert [(dimension.name, dimension.kind) for dimension in result.dimensions] == [("income", "decile"), ("status", "value")]
    joint, single = result.dimensions[1].groups
    assert (joint.label, joint.tally.people, joint.tally.newly_out, joint.tally.more, joint.tally.candidate_minor) == ("married_joint", 3, 1, 2, 24_800)
    assert (single.label, single.tally.people, single.tally.undetermined) == ("single", 5, 1)
    asked = what_if(people(tmp_path / "p.parquet", region=["N"] * 3 + ["S"] * 5), by=["region", "resident"])
    assert [[group.label for group in dimension.groups] for dimension in asked.dimensions] == [["N", "S"], ["no", "yes"]]


def test_a_decile_holds_a_tenth_and_the_unknown_stand_apart(tmp_path: Path):
    rows = [(f"{number:03}", number, "single", True) for number in range(1, 101)] + [("x", None, "single", True)]
    [income] = what_if(people(tmp_path / "p.parquet", rows), by=["income"], chunk_rows=7).dimensions
    assert [group.tally.people for group in income.groups] == [10] * 10 + [1]
    assert income.groups[0].label == "1: up to 10.00 USD"
    assert income.groups[-1].label == "unknown"


def test_the_budget_is_held_against_the_month_of_payment(result: SimulationResult):
    assert [(month.month, month.active_minor, month.candidate_minor) for month in result.months] == [("2020-03", 50_000, 35_200)]
    assert result.budget is not None
    assert (result.budget.amount_minor, result.budget.left_minor, result.budget.reached_in) == (45_000, 9_800, "")


def test_a_quarter_is_taken_four_times_and_paid_in_the_months_of_the_schedule():
    quarter = rule((ROOT / "benefits/dk-child-benefit/2022-01-01.yaml").read_text())
    months = months_of(quarter, parse_period("2022-Q3"), 100, 701)
    assert [(month.month, month.candidate_minor, month.so_far_minor) for month in months] == [
        ("2022-01", 701, 701), ("2022-04", 701, 1_402), ("2022-07", 701, 2_103), ("2022-10", 701, 2_804),
    ]  # fmt: skip


def test_who_could_not_be_paid_is_told_with_the_reason(tmp_path: Path):
    held = what_if(people(tmp_path / "p.parquet", hold=["no_account", "", "", "", "no_account", "", "", ""])).payability
    assert held is not None
    assert (held.payable, held.payable_minor) == (0, 0)
    assert [(row.reason, row.people, row.amount_minor) for row in held.unpaid] == [("above_review_limit", 2, 24_800), ("no_account", 1, 10_400)]
    assert what_if(people(tmp_path / "q.parquet")).payability is None


def test_only_final_facts_are_told_beside_the_documents_own_way_and_provisional_ones(tmp_path: Path):
    statuses: list[object] = ["preliminary", None, "final", "final", "final", "final", "final", "final"]
    path = people(tmp_path / "p.parquet", **{"income:status": statuses})
    either = rule(CANDIDATE.replace("accept: [final]", "accept: [final, preliminary]"))
    assert [(row.accepts, row.granted, row.undetermined, row.differ) for row in what_if(path).certainty] == [
        ("final", 2, 2, 0), ("document", 2, 2, 0), ("provisional", 3, 1, 1),
    ]  # fmt: skip
    assert [(row.accepts, row.granted, row.undetermined, row.differ) for row in what_if(path, new=either).certainty] == [
        ("final", 2, 2, 1), ("document", 3, 1, 0), ("provisional", 3, 1, 0),
    ]  # fmt: skip


def test_the_largest_gains_and_losses_are_shown_with_both_traces(result: SimulationResult):
    assert [(person.subject, person.candidate_minor - person.active_minor) for person in result.gains] == [("b", 2_400), ("c", 2_400), ("a", 400)]
    assert [(person.subject, person.change) for person in result.losses] == [("d", "newly_out"), ("h", "newly_out")]
    assert "refused for d" in result.losses[0].candidate_trace
    assert "granted" in result.losses[0].active_trace
    assert len(result.drawn) == len(PEOPLE)


def test_the_twenty_at_random_follow_from_the_seed(tmp_path: Path):
    path = people(tmp_path / "p.parquet", [(f"{number:04}", 500, "single", True) for number in range(1_000)])
    one, again, other = (what_if(path, chunk_rows=400, seed=seed).drawn for seed in (1, 1, 2))
    assert len({person.subject for person in one}) == 20
    assert one == again != other


def test_a_cliff_is_found_at_the_very_unit_and_a_taper_is_none(result: SimulationResult, tmp_path: Path):
    assert result.cliffs_by == "sampling"
    found = {(cliff.rule, cliff.at_minor, cliff.loss_minor) for cliff in result.cliffs}
    assert found == {("active", 100_000, 10_000), ("candidate", 90_000, 10_400), ("candidate", 90_000, 12_400)}
    taper = rule(ACTIVE.replace('  - {id: poor, when: "income <= limit", law: P2}\n', "").replace(
        "{id: net, is: full, law: P1}", '{id: net, is: "full - positive(income - limit) * 0.05", floor: 0, round: {to: 0.01, mode: half_up}}'))  # fmt: skip
    assert what_if(people(tmp_path / "p.parquet"), new=taper, old=None).cliffs == ()


def test_curves_go_along_the_income_for_the_most_common_families_or_for_a_named_one(tmp_path: Path, result: SimulationResult):
    assert [(family.label, family.people) for family in result.families] == [("status married joint", 2), ("status single", 1)]
    first = {point.at_minor: (point.active_minor, point.candidate_minor) for point in result.families[0].points}
    assert (first[90_000], first[90_001], first[100_001]) == ((10_000, 12_400), (10_000, 0), (0, 0))
    named = what_if(people(tmp_path / "p.parquet"), family="h").families[0]
    assert (named.people, named.facts["status"]) == (1, "married joint")
    with pytest.raises(Malformed, match="no row for 'nobody'"):
        what_if(people(tmp_path / "q.parquet"), family="nobody")


def test_the_documents_are_compared_in_words(result: SimulationResult):
    assert any("'limit', from 2020-03-27: 1000 -> 900 (Help Act § 2)" in said for said in result.differences)


def test_without_an_active_rule_everybody_granted_comes_in(tmp_path: Path):
    alone = what_if(people(tmp_path / "p.parquet"), old=None)
    assert (alone.active, alone.whole.newly_in, alone.whole.active_minor, alone.newly_in_by) == (None, 3, 0, ())


def test_the_same_inputs_give_the_same_hash_and_a_result_that_was_edited_is_refused(tmp_path: Path, result: SimulationResult):
    again = what_if(people(tmp_path / "people.parquet"), chunk_rows=8)
    assert simulation_hash(again) == simulation_hash(result)
    assert simulation_hash(what_if(people(tmp_path / "people.parquet"), new=OLD)) != simulation_hash(result)
    written = encode_simulation(result)
    assert decode_simulation(written) == result
    with pytest.raises(Malformed, match="its content has"):
        decode_simulation(written.replace(b'"newly_out": 2', b'"newly_out": 1', 1))
    with pytest.raises(Malformed, match="no result of a simulation"):
        decode_simulation(b"{}")


def test_csv_and_parquet_of_the_same_people_differ_in_nothing_but_their_own_hash(tmp_path: Path, result: SimulationResult):
    table = pl.read_parquet(people(tmp_path / "people.parquet")).with_columns(pl.col("resident").replace_strict({True: "yes", False: "no"}))
    table.write_csv(tmp_path / "people.csv")
    read = what_if(tmp_path / "people.csv")
    assert msgspec.structs.replace(read, population=result.population) == result


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"hold": ["no_acount"] + [""] * 7}, "'no_acount' is not known here, did you mean 'no_account'?"),
        ({"income:status": ["sure"] * 8}, "'sure' is not known here"),
        ({"incom:status": ["final"] * 8}, "is the status of no fact that is read, did you mean 'income'?"),
    ],
)
def test_a_file_that_says_something_unknown_is_refused(tmp_path: Path, more: dict[str, list[object]], told: str):
    with pytest.raises(Malformed) as refused:
        what_if(people(tmp_path / "p.parquet", **more))
    assert told in str(refused.value)


def test_somebody_in_two_rows_and_a_row_of_nobody_are_refused(tmp_path: Path):
    many = [(f"{number:04}", 500, "single", True) for number in range(1_500)]
    with pytest.raises(Malformed, match="1 rows have a subject that another row has"):
        what_if(people(tmp_path / "p.parquet", [*many, many[0]]))
    with pytest.raises(Malformed, match="1 rows have no subject"):
        what_if(people(tmp_path / "q.parquet", [*PEOPLE, (None, 1, "single", True)]))


def test_a_grouping_by_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path):
    with pytest.raises(Malformed, match="Did you mean 'region'|did you mean 'region'"):
        what_if(people(tmp_path / "p.parquet", region=["N"] * 8), by=["regoin"])


def test_numbers_are_groups_of_their_own_negative_ones_too(tmp_path: Path):
    [floors] = what_if(people(tmp_path / "p.parquet", floor=[-1, -1, 0, 12, 12, None, 3, 300]), by=["floor"]).dimensions
    assert {group.label: group.tally.people for group in floors.groups} == {"-1": 2, "0": 1, "12": 2, "300": 1, "3": 1, "unknown": 1}


def test_the_error_of_2022_shows_before_anybody_is_paid(tmp_path: Path):
    right = (ROOT / "benefits/dk-heat-cheque/2022-04-01.yaml").read_text()
    wrong = right.replace("personal_income + positive(net_capital_income)", "personal_income + net_capital_income").partition("\nclaims:")[0]
    wrong = wrong + "\napprovals: {need: {legal: 1, finance: 1}}\n"
    households = {
        "subject": ["a", "b", "c"], "personal_income": [60_000_000, 66_000_000, 66_000_000], "net_capital_income": [0, -2_000_000, None],
        "listed_heating": [True, True, True],
    }  # fmt: skip
    pl.DataFrame(households).write_parquet(tmp_path / "households.parquet")
    found = what_if(tmp_path / "households.parquet", new=rule(wrong), old=rule(right))
    assert (found.whole.newly_in, found.whole.difference_minor, found.newly_in_by[0].id) == (1, 600_000, "income")
    assert [person.subject for person in found.gains] == ["b"]


# Laws.

PERSON = st.tuples(st.one_of(st.none(), st.integers(-1_000, 12_000)), st.sampled_from(["single", "married_joint", None]), st.sampled_from([True, False, None]))
NAMES = ("people", *CHANGES, *BANDS, "active_minor", "candidate_minor")


@pytest.fixture(scope="module")
def law_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws") / "people.parquet"


@settings(max_examples=10)
@given(rows=st.lists(PERSON, min_size=1, max_size=16), chunk=st.integers(1, 17))
def test_groups_add_up_to_the_whole_and_the_changes_to_everybody(law_path: Path, rows: list[tuple[object, ...]], chunk: int):
    found = what_if(people(law_path, [(f"{index:03}", *row) for index, row in enumerate(rows)]), chunk_rows=chunk, by=["income", "status", "resident"])
    whole = found.whole
    assert whole.people == len(rows) == sum(getattr(whole, name) for name in CHANGES) == sum(getattr(whole, name) for name in BANDS) + whole.undetermined
    for dimension in found.dimensions:
        assert {name: sum(getattr(group.tally, name) for group in dimension.groups) for name in NAMES} == {name: getattr(whole, name) for name in NAMES}
    assert sum(cause.people for cause in found.newly_out_by) == whole.newly_out
    assert sum(cause.people for cause in found.newly_in_by) == whole.newly_in
    assert sum(month.candidate_minor for month in found.months) == whole.candidate_minor


@settings(max_examples=10)
@given(rows=st.lists(PERSON, min_size=1, max_size=16))
def test_a_rule_against_itself_changes_nobody_and_an_exchange_exchanges_in_and_out(law_path: Path, rows: list[tuple[object, ...]]):
    path = people(law_path, [(f"{index:03}", *row) for index, row in enumerate(rows)])
    itself = what_if(path, new=OLD, old=OLD).whole
    assert (itself.newly_in, itself.newly_out, itself.more, itself.less, itself.difference_minor) == (0, 0, 0, 0, 0)
    one, other = what_if(path).whole, what_if(path, new=OLD, old=NEW).whole
    assert (one.newly_in, one.newly_out, one.more, one.less) == (other.newly_out, other.newly_in, other.less, other.more)
    assert (one.same, one.neither, one.undetermined, one.difference_minor) == (other.same, other.neither, other.undetermined, -other.difference_minor)
