"""The commands about rules, as a person types them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from streams.commands.rules import app

ROOT = Path(__file__).resolve().parent.parent.parent
EIP1 = str(ROOT / "benefits/us-eip1/2020-03-27.yaml")
HEAD = "subject,income,filing_status,children_under_17,claimed_as_dependent,alive,resident\n"


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def people(tmp_path):
    def write(rows: str) -> Path:
        path = tmp_path / "people.csv"
        path.write_text(HEAD + rows)
        return path

    return write


def test_a_shipped_rule_is_well():
    code, out, _ = run("check", EIP1, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)


def test_a_wrong_document_ends_with_2_and_its_problems(tmp_path):
    path = tmp_path / "rule.yaml"
    path.write_text(Path(EIP1).read_text().replace("when: resident,", "when: residnt,"))
    code, out, err = run("check", path)
    assert (code, out) == (2, "")
    assert "eligible_when[1].when: unknown name 'residnt', did you mean 'resident'?" in err


def test_a_failing_test_ends_with_1(tmp_path):
    path = tmp_path / "rule.yaml"
    path.write_text(Path(EIP1).read_text().replace("reduction: 250, amount: 950", "reduction: 250, amount: 951"))
    assert run("test", path)[0] == run("check", path)[0] == 1
    assert "expected amount 951.00, got 950.00" in run("test", path)[1]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson"])
def test_a_table_is_decided_into_every_format(people, tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    code, text, _ = run(
        "evaluate", EIP1, "--facts", people("a,80000.00,single,0,no,yes,yes\nb,,single,0,no,yes,yes\nc,1.50,single,0,yes,yes,yes\n"), "--output", out, "--json"
    )
    money = {"column": "income", "read_as": "amounts", "lowest_minor": 1_50, "highest_minor": 80_000_00, "currency": "USD"}
    assert (code, json.loads(text)) == (
        0, {"subjects": 3, "granted": 1, "refused": 1, "undetermined": 1, "amount_minor": 95_000, "currency": "USD", "output": str(out),
            "money_columns": [money]},
    )  # fmt: skip
    read = {"parquet": pl.read_parquet, "csv": pl.read_csv, "ndjson": pl.read_ndjson}[suffix](out)
    assert read.columns == ["subject", "decision", "amount_minor", "currency", "missing", "full", "reduction", "net"]
    assert read.row(0)[:4] == ("a", "granted", 95_000, "USD")
    assert read.row(1)[1:3] == ("undetermined", 0)
    assert read.row(1)[4] == "income"


def test_whole_numbers_of_a_money_column_are_minor_units(people, tmp_path):
    run("evaluate", EIP1, "--facts", people("a,8000000,single,0,no,yes,yes\n"), "--output", tmp_path / "out.csv")
    assert pl.read_csv(tmp_path / "out.csv").item(0, "amount_minor") == 95_000


def test_what_cannot_be_read_in_a_table_is_told_with_its_row(people, tmp_path):
    code, _, err = run("evaluate", EIP1, "--facts", people("a,8e5,single,x,no,yes,yes\na,1,single,0,maybe,yes,yes\n"), "--output", tmp_path / "out.csv")
    assert code == 2
    assert err.splitlines() == [
        "payout: subject: 'a' stands in several rows. Give each subject one row.",
        "payout: row 1, income: '8e5' is not a number, write it like 1_234.5",
        "payout: row 1, children_under_17: 'x' is not a number, write it like 1_234.5",
        "payout: row 2, claimed_as_dependent: 'maybe' is neither yes nor no",
    ]
    assert not (tmp_path / "out.csv").exists()


def test_a_missing_column_and_a_column_of_floats_are_told(tmp_path):
    path = tmp_path / "people.parquet"
    row = {"subject": "a", "income": 1.5, "filing_statu": "single", "children_under_17": 0, "claimed_as_dependent": False, "alive": True, "resident": True}
    pl.DataFrame([row]).write_parquet(path)
    code, _, err = run("evaluate", EIP1, "--facts", path, "--output", tmp_path / "out.csv")
    assert code == 2
    assert "income: the column is Float64, the fact is money. Give money as whole minor units or as text like 1234.50." in err
    assert "filing_status: the table has no column for this fact, did you mean 'filing_statu'?" in err


@pytest.mark.parametrize("content", [b"", b"\x00\xff\x00", b"subject\n"])
def test_a_file_that_is_no_table_is_bad_input(tmp_path, content):
    for suffix in ("csv", "parquet", "ndjson"):
        path = tmp_path / f"people.{suffix}"
        path.write_bytes(content)
        assert run("evaluate", EIP1, "--facts", path, "--output", tmp_path / "out.csv")[0] == 2


def test_a_decision_is_explained_with_the_law(people):
    path = people("a,80000.00,single,0,no,yes,yes\n")
    code, out, _ = run("explain", EIP1, "--facts", path, "--subject", "a")
    assert code == 0
    assert "granted 950.00 USD for a." in out
    assert "(26 U.S.C. § 6428(c))" in out
    assert json.loads(run("explain", EIP1, "--facts", path, "--subject", "a", "--json")[1])["amount_minor"] == 95_000
    assert run("explain", EIP1, "--facts", path, "--subject", "b")[0] == 2


def test_list_show_and_schema_print_one_json_document():
    assert {entry["benefit"] for entry in json.loads(run("list", "--json")[1])} >= {"us-eip1", "dk-one-time-2000"}
    assert json.loads(run("show", EIP1, "--json")[1])["currency"] == "USD"
    assert json.loads(run("schema")[1])["title"] == "Benefit rule"


def test_another_period_than_the_rules_is_bad_usage(people, tmp_path):
    code, _, err = run("evaluate", EIP1, "--facts", people("a,1,single,0,no,yes,yes\n"), "--period", "2022-Q1", "--output", tmp_path / "out.csv")
    assert (code, err) == (2, "payout: --period: the benefit is decided once, not for 2022-Q1\n")


def test_dates_of_a_table_may_be_dates_or_text(catalogue):
    from pipeline.rules import load_rule
    from pipeline.rules.tables import fact_table

    text = Path(EIP1).read_text().replace("parameters_at: period.start", "parameters_at: event.date").split("tests:")[0]
    rule = load_rule(text, catalogue)
    row = {"subject": "a", "income": 1, "filing_status": "single", "children_under_17": 0, "claimed_as_dependent": False, "alive": True, "resident": True}
    for written in (date(2020, 4, 1), "2020-04-01"):
        assert fact_table(rule, pl.DataFrame([{**row, "event_date": written}])).item(0, "event_day") == 18_353


@pytest.mark.parametrize(
    ("income", "read_as", "said"),
    [(("7500000", "100"), "minor units", "1.00 to 75,000.00 USD"), (("7500000.00", "100"), "amounts", "100.00 to 7,500,000.00 USD")],
)
def test_it_is_said_how_each_money_column_was_read_and_its_range(people, tmp_path, income, read_as, said):
    facts = people("".join(f"{name},{amount},single,0,no,yes,yes\n" for name, amount in zip("ab", income, strict=True)))
    wanted = f"income: read as {read_as}, {said}"
    assert wanted in run("evaluate", EIP1, "--facts", facts, "--output", tmp_path / "out.csv")[1].splitlines()
    assert wanted in run("explain", EIP1, "--facts", facts, "--subject", "a")[2].splitlines()
    (column,) = json.loads(run("evaluate", EIP1, "--facts", facts, "--output", tmp_path / "out.csv", "--json")[1])["money_columns"]
    assert (column["column"], column["read_as"]) == ("income", read_as)


def test_a_money_column_without_amounts_is_said_to_be_unknown(people, tmp_path):
    text = run("evaluate", EIP1, "--facts", people("a,,single,0,no,yes,yes\n"), "--output", tmp_path / "out.csv")[1]
    assert "income: unknown in every row" in text
