"""The rules that ship, and those of the tests: their own tests, and a nation decided unit for unit."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipeline.rules import ONCE, decide, document_schema, explain, letter, load_rule, parse_period, run_tests

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted([*(ROOT / "benefits").rglob("*.yaml"), *(ROOT / "tests/rules/documents").glob("*.yaml")])
EIP1 = ROOT / "benefits/us-eip1/2020-03-27.yaml"


@pytest.fixture(scope="module")
def units() -> pl.DataFrame:
    data = pl.read_parquet(ROOT / "data/us-cps-tax-units.parquet")
    return data.with_columns(pl.col("unit_id").cast(pl.String).alias("subject"), pl.col("agi_cents").alias("income"), alive=pl.lit(True), resident=pl.lit(True))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_document_passes_its_own_tests(path, catalogue):
    assert [str(result) for result in run_tests(load_rule(path.read_text(), catalogue)) if not result.passed] == []


def test_the_first_round_as_the_law_has_it_is_exact_for_every_unit(units, catalogue):
    decided = decide(load_rule(EIP1.read_text(), catalogue), units, ONCE)
    assert decided.get_column("amount_minor").equals(units.get_column("eip1_law_cents"))
    assert (decided.get_column("amount_minor") > 0).sum() == 258_841
    assert decided.get_column("amount_minor").sum() == 47_351_545_903


def test_the_first_round_as_tax_calculator_has_it_is_exact_for_every_unit(units, catalogue):
    decided = decide(load_rule((ROOT / "tests/rules/documents/us-eip1-taxcalc.yaml").read_text(), catalogue), units, ONCE)
    assert decided.get_column("amount_minor").equals(units.get_column("eip1_taxcalc_cents"))
    assert (decided.get_column("amount_minor") > 0).sum() == 261_628
    assert decided.get_column("amount_minor").sum() == 48_189_136_318


def test_no_unit_of_unknown_income_life_or_residence_is_granted_anything(units, catalogue):
    rule = load_rule(EIP1.read_text(), catalogue)
    for fact in ("income", "filing_status", "children_under_17", "claimed_as_dependent", "alive", "resident"):
        unknown = units.head(2_000).with_columns(pl.lit(None, dtype=units.schema[fact]).alias(fact))
        decided = decide(rule, unknown, ONCE)
        assert decided.filter(pl.col("decision") == 1).height == 0, fact
        assert decided.get_column("amount_minor").sum() == 0, fact


def test_an_income_beyond_its_range_is_unknown_and_never_wraps(catalogue):
    rule = load_rule(EIP1.read_text(), catalogue)
    row = {"filing_status": "single", "children_under_17": 0, "claimed_as_dependent": False, "alive": True, "resident": True}
    table = pl.DataFrame([{**row, "income": income} for income in (2**63 - 1, -(2**63), 10**12, 10**12 + 1)])
    assert decide(rule, table, ONCE).get_column("decision").to_list() == [2, 2, 1, 2]


def test_one_row_is_decided_as_it_is_among_thousands(units, catalogue):
    rule, some = load_rule(EIP1.read_text(), catalogue), units.head(300)
    whole = decide(rule, some, ONCE)
    assert pl.concat([decide(rule, some[index], ONCE) for index in range(some.height)]).equals(whole)


def test_an_empty_table_gives_an_empty_decision(units, catalogue):
    rule = load_rule(EIP1.read_text(), catalogue)
    assert decide(rule, units.head(0), ONCE).schema == decide(rule, units.head(1), ONCE).schema


def test_a_column_of_floats_is_refused_with_its_name(units, catalogue):
    rule = load_rule(EIP1.read_text(), catalogue)
    with pytest.raises(TypeError, match="the column 'income' is Float64, the fact is money and takes Int64"):
        decide(rule, units.head(1).with_columns(pl.col("income").cast(pl.Float64)), ONCE)


def test_equal_documents_have_equal_hashes_whatever_their_layout(catalogue):
    text = EIP1.read_text()
    same = (
        text.replace("1_200", "1200")
        .replace("# The first round", "# Another comment")
        .replace("decides: {for: person, period: once,", "decides: {period: once, for: person,")
    )
    assert same != text
    assert load_rule(same, catalogue).hash == load_rule(text, catalogue).hash
    assert load_rule(text.replace("2_400", "2_401"), catalogue).hash != load_rule(text, catalogue).hash


def test_the_error_of_the_heat_cheque_of_2022_does_not_pass_the_documents_own_tests(catalogue):
    """Whoever adds up capital income with its sign, as was done in 2022, pays household incomes of 660,000 less interest of 20,000."""
    text = (ROOT / "benefits/dk-heat-cheque/2022-04-01.yaml").read_text()
    wrong = load_rule(text.replace("positive(net_capital_income)", "net_capital_income"), catalogue)
    assert [result.name for result in run_tests(wrong) if not result.passed] == ["negative capital income takes nothing off, which was the error of 2022"]
    facts = {"personal_income": 66_000_000, "net_capital_income": -2_000_000, "listed_heating": True}
    assert decide(wrong, pl.DataFrame([facts]), ONCE).row(0, named=True)["amount_minor"] == 600_000
    assert decide(load_rule(text, catalogue), pl.DataFrame([facts]), ONCE).row(0, named=True)["amount_minor"] == 0


def test_thirteen_thousand_eight_hundred_wrong_cheques_are_the_published_loss(catalogue):
    cheque = load_rule((ROOT / "benefits/dk-heat-cheque/2022-04-01.yaml").read_text(), catalogue).parameters["cheque"].values[0][0]
    assert 13_800 * cheque == 82_800_000_00


def test_the_relief_of_korea_is_paid_in_whole_won(catalogue):
    rule = load_rule((ROOT / "benefits/kr-relief-2020/2020-04-30.yaml").read_text(), catalogue)
    decided = decide(rule, pl.DataFrame({"household_size": [1, 2, 3, 4, 50, 51, None], "channel": [None] * 7}), ONCE)
    assert decided.get_column("amount_minor").to_list() == [400_000, 600_000, 800_000, 1_000_000, 1_000_000, 0, 0]
    assert decided.get_column("decision").to_list() == [1, 1, 1, 1, 1, 2, 2]
    assert "granted 1,000,000 KRW" in explain(rule, decided.row(3, named=True), {"household_size": 4}, ONCE, "kr-1").headline


def test_a_refusal_says_which_single_fact_would_change_it(catalogue):
    rule = load_rule(EIP1.read_text(), catalogue)
    facts = {"income": 3_000_000, "filing_status": "single", "children_under_17": 0, "claimed_as_dependent": True, "alive": True, "resident": True}
    told = explain(rule, decide(rule, pl.DataFrame([facts]), ONCE).row(0, named=True), facts, ONCE, "us-000017")
    assert [(change.fact, change.value, change.amount_minor) for change in told.changes] == [("claimed_as_dependent", False, 120_000)]
    assert "  - us-000017 is claimed as a dependent on another return. (26 U.S.C. § 6428(d)(2))" in letter(told)


def test_two_failed_conditions_have_no_single_way_out(catalogue):
    rule = load_rule(EIP1.read_text(), catalogue)
    facts = {"income": 3_000_000, "filing_status": "single", "children_under_17": 0, "claimed_as_dependent": True, "alive": False, "resident": True}
    assert explain(rule, decide(rule, pl.DataFrame([facts]), ONCE).row(0, named=True), facts, ONCE).changes == ()


def test_a_grant_is_explained_step_by_step_with_the_law(catalogue):
    rule, period = load_rule((ROOT / "benefits/dk-child-benefit/2022-01-01.yaml").read_text(), catalogue), parse_period("2022-Q1")
    facts = {"age": 8, "resident": True, "income": 87_000_000}
    text = letter(explain(rule, decide(rule, pl.DataFrame([facts]), period).row(0, named=True), facts, period, "dk-1"))
    assert text.splitlines()[0] == "Child benefit, 1st quarter 2022: granted 2,688.50 DKK for dk-1."
    assert "  Reduction for income: 209.50 DKK = rate of reduction of the part of income of the guardian above income limit, in 4 equal parts. (" in text
    assert "      with income of the guardian 870,000.00 DKK per year; income limit 828,100.00 DKK per year; rate of reduction 2%\n" in text
    assert "(Børne- og ungeydelsesloven § 1 a)" in text


def test_an_undetermined_decision_says_what_is_missing(catalogue):
    rule, period = load_rule((ROOT / "benefits/dk-child-benefit/2022-01-01.yaml").read_text(), catalogue), parse_period("2022-Q1")
    facts = {"age": 8, "resident": True, "income": None}
    told = explain(
        rule,
        decide(rule, pl.DataFrame([facts], schema={"age": pl.Int64, "resident": pl.Boolean, "income": pl.Int64}), period).row(0, named=True),
        facts,
        period,
    )
    assert (told.decision, told.missing) == ("undetermined", ("income",))
    assert "What is not known:\n  Income of the guardian is not known.\n" in letter(told)


def test_a_failing_test_tells_expected_got_and_the_step_where_they_part(catalogue):
    text = (ROOT / "benefits/dk-child-benefit/2022-01-01.yaml").read_text().replace("reduction: 209.50", "reduction: 210.00")
    failed = [result for result in run_tests(load_rule(text, catalogue)) if not result.passed]
    (told,) = map(str, failed)
    assert told.startswith(
        "test 'income of 870,000 takes 209.50 off the quarter': expected reduction 210.00 DKK, got 209.50 DKK; step reduction = taper_rate of "
    )
    assert told.endswith("with income 870,000.00 DKK per year, income_limit 828,100.00 DKK per year, taper_rate 2% (Børne- og ungeydelsesloven § 1 a)")


def test_a_day_outside_the_rule_is_refused(catalogue):
    rule = load_rule((ROOT / "benefits/dk-child-benefit/2022-01-01.yaml").read_text(), catalogue)
    with pytest.raises(ValueError, match="not in force on 2021-01-01"):
        decide(rule, pl.DataFrame({"age": [1], "resident": [True], "income": [0]}), parse_period("2021-Q1"))


def test_the_schema_names_every_key_of_the_documents():
    properties = document_schema()["properties"]
    assert {"format", "benefit", "facts", "parameters", "eligible_when", "amount", "tests"} <= set(properties)
