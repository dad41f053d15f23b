"""`payout rules simulate` on a file, as a policy team types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.commands.rules import app

ROOT = Path(__file__).resolve().parent.parent.parent
EIP1 = ROOT / "benefits/us-eip1/2020-03-27.yaml"
HEAT = ROOT / "benefits/dk-heat-cheque/2022-04-01.yaml"
PEOPLE = """\
subject,income,filing_status,children_under_17,claimed_as_dependent,alive,resident,state
a,30000.00,single,0,no,yes,yes,NY
b,80000.00,single,0,no,yes,yes,NY
c,120000.00,married_joint,2,no,yes,yes,CA
d,9000.00,single,0,yes,yes,yes,CA
e,,single,0,no,yes,yes,CA
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAYOUT_HOME", str(tmp_path / "home"))
    (tmp_path / "people.csv").write_text(PEOPLE)
    text = EIP1.read_text().partition("tests:")[0]
    (tmp_path / "higher.yaml").write_text(text.replace("{2020-03-27: 500}", "{2020-03-27: 600}").replace("[75_000, 150_000,", "[70_000, 150_000,"))
    return tmp_path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_candidate_is_compared_with_another_document_and_the_files_lie_in_the_home(here: Path):
    code, out, err = run("simulate", here / "higher.yaml", "--against", EIP1, "--facts", here / "people.csv")
    assert (code, err) == (0, "")
    assert "5 people:" in out
    assert "newly in   0, newly out 0" in out
    assert "more       1, less 1, the same 1, nothing under both 1" in out
    assert "undecided  1" in out
    names = sorted(path.name for path in (here / "home" / "reports").iterdir())
    assert [Path(name).suffix for name in names] == [".csv", ".html", ".json"]
    assert all(f"hash {name[len('simulation-') :].partition('.')[0]}" in out for name in names)


def test_a_new_benefit_is_compared_with_nothing(here: Path):
    code, out, _ = run("simulate", here / "higher.yaml", "--against", "nothing", "--facts", here / "people.csv", "--output", here / "out", "--json")
    said = json.loads(out)
    assert (code, said["result"]["active"], said["result"]["whole"]["newly_in"]) == (0, None, 3)
    assert Path(said["files"]["html"]).parent == here / "out"


def test_people_are_grouped_by_what_is_asked_for(here: Path):
    base = ("simulate", here / "higher.yaml", "--against", EIP1, "--facts", here / "people.csv", "--json")
    groups = {row["name"]: [group["label"] for group in row["groups"]] for row in json.loads(run(*base, "--by", "state")[1])["result"]["dimensions"]}
    assert groups == {"state": ["CA", "NY"]}
    code, _, err = run(*base, "--by", "stat")
    assert code == 2
    assert "did you mean 'state'?" in err.lower().replace("Did", "did")


def test_the_solvers_cliffs_are_told_as_such(here: Path):
    code, out, _ = run("simulate", EIP1, "--against", "nothing", "--facts", here / "people.csv", "--prove", "--json")
    assert code == 0
    assert json.loads(out)["result"]["cliffs_by"] == "proof"
    assert json.loads(out)["result"]["cliffs"] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--against", "nothing", "--facts", "nowhere.csv"), "nowhere.csv: cannot be read"),
        (("--against", "nothing", "--facts", "people.txt"), "is no kind of table"),
        (("--against", "nothing", "--facts", "people.csv", "--period", "2022"), "--period: the benefit is decided once"),
        (("--against", "nothing", "--facts", "people.csv", "--snapshot", "abc"), "cannot be given together with --facts"),
        (("--against", str(HEAT), "--facts", "people.csv"), "pays DKK, the candidate USD"),
    ],
)
def test_what_cannot_be_done_is_told_with_its_place(here: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str):
    monkeypatch.chdir(here)
    code, _, err = run("simulate", EIP1, *arguments)
    assert code == 2
    assert told in err
