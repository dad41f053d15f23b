"""The commands that ask the solver, as a person types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.commands.rules import app

ROOT = Path(__file__).resolve().parent.parent.parent
EIP1, CHILD, HEAT = (next((ROOT / "benefits" / name).glob("*.yaml")) for name in ("us-eip1", "dk-child-benefit", "dk-heat-cheque"))


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def edited(tmp_path):
    def write(path: Path, old: str, new: str) -> Path:
        text = path.read_text(encoding="utf-8")
        assert old in text
        changed = tmp_path / "rule.yaml"
        changed.write_text(text.replace(old, new), encoding="utf-8")
        return changed

    return write


def test_prove_ends_with_0_where_all_is_proved():
    code, out, _ = run("prove", EIP1)
    assert code == 0
    assert "proved       claims[0]: more income, never more amount" in out
    assert "3 claims: 3 proved; 16 parts of the document: 16 reached as they should be" in out


def test_prove_ends_with_1_and_the_people_where_a_claim_fails(edited):
    path = edited(EIP1, "{at_most: full}", "{at_most: 2_000}")
    code, out, _ = run("prove", path)
    assert code == 1
    assert "FAILS        claims[2]: amount at most 2_000" in out
    assert "granted" in out
    assert "3 claims: 2 proved, 1 failed" in out
    code, out, _ = run("prove", path, "--json")
    told = json.loads(out)
    failed = [finding for finding in told["documents"][0]["findings"] if finding["outcome"] == "fails"]
    assert (code, told["ok"], [finding["place"] for finding in failed]) == (1, False, ["claims[2]"])
    assert failed[0]["people"][0]["amount_minor"] > 200_000


def test_prove_ends_with_2_where_a_claim_is_wrong(edited):
    code, out, err = run("prove", edited(EIP1, "{at_most: full}", "{at_most: ful}"))
    assert (code, out) == (2, "")
    assert "claims[2].at_most: unknown name 'ful', did you mean 'full'?" in err


def test_prove_takes_documents_and_folders_and_goes_on_after_one_that_is_wrong(edited):
    wrong = edited(EIP1, "{at_most: full}", "{at_most: ful}")
    code, out, err = run("prove", wrong, EIP1, "--json")
    documents = json.loads(out)["documents"]
    assert (code, [document["ok"] for document in documents]) == (2, [False, True])
    assert documents[0]["problems"][0]["path"] == "claims[2].at_most"
    code, out, err = run("prove", EIP1.parent)
    assert (code, err, out.count("parts of the document")) == (0, "", 1)


def test_cliffs_names_the_income_and_what_is_lost():
    code, out, _ = run("cliffs", HEAT, "--of", "personal_income", "--given", "net_capital_income=0", "--given", "listed_heating=yes")
    assert code == 0
    assert out.startswith("personal_income 650000.00, from 2022-04-01: one more unit costs 5,999.99 DKK more than it brings")
    assert out.endswith("no other cliff\n")


def test_cliffs_says_that_there_is_none():
    assert run("cliffs", EIP1) == (0, "no cliff: one more unit of income never costs more than it brings\n", "")


def test_cliffs_asks_which_income_where_there_are_several_and_tells_all_that_is_wrong():
    code, _, err = run("cliffs", HEAT, "--given", "listed_heating=maybe", "--given", "listed_heatin=no", "--given", "nonsense")
    assert code == 2
    assert "--of: dk-heat-cheque reads 2 amounts and does not say which is the income. It reads personal_income, net_capital_income." in err
    assert "--given: listed_heating: 'maybe' is neither yes nor no" in err
    assert "--given: unknown fact 'listed_heatin', did you mean 'listed_heating'?" in err
    assert "--given: 'nonsense' is not FACT=VALUE." in err


def test_cliffs_refuses_a_value_outside_of_its_range():
    code, _, err = run("cliffs", EIP1, "--given", "children_under_17=41")
    assert code == 2
    assert "--given: children_under_17: '41' is outside of its range, where it counts as unknown" in err


def test_diff_finds_a_person_for_every_way_in_which_documents_part(edited):
    code, out, _ = run("diff", CHILD, edited(CHILD, "age < 15", "age < 14"), "--people")
    assert code == 0
    assert "granted becomes refused:\n  old: age 14," in out
    assert "Proved never to happen: " in out


def test_diff_proves_that_documents_decide_alike(edited):
    path = edited(CHILD, "age < 15", "not age >= 15")
    code, out, _ = run("diff", CHILD, path, "--people")
    assert code == 0
    assert out.endswith("Proved: both decide everybody alike.\n")
    told = json.loads(run("diff", CHILD, path, "--people", "--json")[1])
    assert {one["outcome"] for one in told["people"]} == {"proved"}
    assert len(told["changes"]) == 1


def test_examples_are_ready_to_be_tests(tmp_path):
    code, out, _ = run("examples", HEAT)
    assert code == 0
    text = HEAT.read_text(encoding="utf-8")
    path = tmp_path / "rule.yaml"
    path.write_text(text[: text.index("\ntests:") + len("\ntests:\n")] + out, encoding="utf-8")
    assert run("test", path, "--coverage")[0] == 0
    told = json.loads(run("examples", HEAT, "--json")[1])
    assert f"{len(told['found'])} of {len(told['found'])} tests as expected" in run("test", path)[1]


def test_what_the_page_about_proof_shows_is_what_the_commands_say(tmp_path, monkeypatch):
    page = (ROOT / "docs/rules/proof.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml document\n(.*?)```", page, re.DOTALL)
    (tmp_path / "winter.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "later.yaml").write_text(text.replace("age >= 67", "age > 67"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"```console\n\$ payout rules (.*?)\n(.*?)```", page, re.DOTALL)
    assert [command.split()[0] for command, _ in shown] == ["prove", "cliffs", "examples", "diff"]
    for command, expected in shown:
        told = run(*command.split())[1]
        if expected.endswith("...\n"):
            told = told[: len(expected) - 4] + "...\n"
        assert told == expected
