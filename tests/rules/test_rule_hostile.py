"""A document that means harm is refused by `payout rules check` with a problem, within bounds of memory and of the processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import documents
from test_rule_mistakes import GOOD

HOSTILE = list(documents(GOOD.replace("tax.income", "dk_tax.income")))
MOST_KB = 200 * 1024
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("hostile")
    paths = {name: folder / f"{number}.yaml" for number, (name, _, _) in enumerate(HOSTILE)}
    for name, text, _ in HOSTILE:
        paths[name].write_text(text, encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("hostile.py")), *map(str, paths.values())]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {entry["file"]: entry for entry in map(json.loads, lines)}
    return {name: found.get(str(path), {}) for name, path in paths.items()}


@pytest.mark.parametrize(("name", "refusal"), [(name, refusal) for name, _, refusal in HOSTILE], ids=[name for name, _, _ in HOSTILE])
def test_a_hostile_document_is_refused_with_its_problem_and_little_memory(told, name, refusal):
    assert told[name]["code"] == 2, "killed after 20 s of the processor" if told[name]["code"] is None else ""
    assert refusal in told[name]["first"]
    assert told[name]["peak_kb"] < MOST_KB
    assert told[name]["problems"] <= 101
    assert told[name]["said"] < 100_000
