"""The deliberate defects still fit the code, and the tests that must catch them exist; `make soak` tries them."""

from __future__ import annotations

import ast
import re

import pytest

from loadtests.mutants import ROOT, Mutant, load_mutants

MUTANTS = load_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_fits_the_code_and_names_tests_that_exist(mutant: Mutant) -> None:
    mutated = mutant.applied((ROOT / mutant.file).read_text())
    if mutant.file.endswith(".py"):
        ast.parse(mutated)
    for test in mutant.tests:
        file, _, name = test.partition("::")
        function = re.escape(name.partition("[")[0])
        assert re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE), f"{test} does not exist"


def test_mutants_have_names_of_their_own() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert sorted(names) == sorted(set(names))


def test_a_mutant_whose_text_is_gone_says_so() -> None:
    gone = Mutant("gone", "pipeline/money.py", "this text is nowhere", "", [])
    with pytest.raises(ValueError, match="has the text to replace 0 times"):
        gone.applied((ROOT / gone.file).read_text())


def test_the_page_of_proofs_lists_every_defect() -> None:
    page = (ROOT / "docs" / "proof.md").read_text().partition("| defect |")[2]
    listed = re.findall(r"^\| ([^|`]+) \| `([^`]+)` \|", page, re.MULTILINE)
    assert listed == [(mutant.name, mutant.file) for mutant in MUTANTS]
