"""Documents that mean harm, and a program that gives each to `payout rules check` in a process of its own and tells how that ended.

Run as a program with files as arguments: one line of JSON for each, with the exit code, the first problem, how many there are and the most memory.
Without arguments: a table of what the command costs for each document, from its start to its end.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CPU_S = 20
"""A check that takes longer is killed; it takes a fraction of a second."""


def documents(good: str) -> Iterator[tuple[str, str, str]]:
    """(what it is, its text, a part of the problem that refuses it)."""
    days = [(date(2022, 1, 1) + timedelta(days=number)).isoformat() for number in range(1_500)]
    ages = ", ".join(str(age) for age in range(131))
    values = f"type: money, per: year, law: P1, by: {{age: [{ages}]}}"
    least, most = (", ".join(str(start + age) for age in range(131)) for start in (1_000, 9_000))
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]\n" for number in range(1, 12))
    facts = "".join(f"  f{number}: {{type: years, from: residency.birth_dat}}\n" for number in range(1_000))
    steps = "".join(f"    - {{id: s{number}, is: '{f's{number - 1}' if number else 'net'} * 1_000_000'}}\n" for number in range(60))
    tapers = "".join(f"    - {{id: t{number}, taper: {{of: income, from: least, until: most, take: full}}}}\n" for number in range(60))
    incomes = ", ".join(f"{one}..<{one + 1}" for one in range(30))
    cells = [f"{{age: [{', '.join(map(str, range(number, 130, 40)))}], income: [{incomes}]}}" for number in range(40)]
    rows = "".join(f"          - {{when: {cell}, gives: 1}}\n" for cell in cells)
    table = f"    - id: grid\n      table:\n        type: money\n        hit: only_one\n        rows:\n{rows}"
    yield "a hundred megabytes", "# x\n" * 25_000_000, "longer than 524,288 bytes"
    yield "a million rows", "- {when: {age: 1}, gives: 2}\n" * 1_000_000, "longer than 524,288 bytes"
    yield "as many rows as fit", "- {a: 1}\n" * 19_000, "more than 10,000 keys and values"
    yield "nested lists", "[" * 9_000, "more than 24 levels deep"
    yield "lists nested in brackets and commas", "k: " + "[a, " * 2_400, "more than 24 levels deep"
    yield "nested mappings", "{a: " * 2_000, "more than 24 levels deep"
    yield "nested blocks", "\n".join(" " * depth + "a:" for depth in range(900)), "more than 24 levels deep"
    yield "nested questions", "? " * 4_000, "more than 24 levels deep"
    yield "a bomb of aliases", bomb, "anchor &a0 is refused"
    yield "aliases alone", "a: &a 1\nb:\n" + "- *a\n" * 9_000, "anchor &a is refused"
    yield "one endless line", "!" * 500_000, "a line of 500,000 characters"
    yield "nothing but lines", "\n" * 500_000, "500,001 lines"
    yield "unknown keys", good + "\n".join(f"benefitt{number}: 1" for number in range(3_000)), "unknown key 'benefitt0', did you mean 'benefit'?"
    yield "a thousand facts that nobody tells", good.replace("parameters:\n", facts + "parameters:\n"), "1,003 entries, the limit is 64"
    yield "steps that grow", good.replace("  pay: net", steps + "  pay: net"), "may overflow"
    yield "a number of 400 digits", good.replace("full - reduction", f"full * {'9' * 400}"), "may overflow"
    yield "a tower of powers", good.replace('"age < 15"', '"9 ** 9 ** 9 ** 9 > age"'), "only + - * and / calculate"
    yield "brackets in an expression", good.replace('"age < 15"', f'"{"(" * 240}age{")" * 240}"'), "not an expression"
    yield "a change every day", good.replace("{2022-01-01: 828_100}", "{" + ",\n".join(f"{day}: 1" for day in days) + "}"), "the limit is 400"
    yield "ranges of every pair of keys", (
        good.replace("  limit:", f"  least: {{{values}, from: {{2022-01-01: [{least}]}}}}\n  most: {{{values}, from: {{2022-01-01: [{most}]}}}}\n  limit:")
        .replace("  pay: net", tapers + "  pay: net")
    ), "too many values by key to be compared"  # fmt: skip
    yield "a table of too many boxes", good.replace("  pay: net", table + "  pay: net"), "too many regions to be checked"
    yield "a title that turns round", good.replace("{en: Example}", "{en: Exam\u202eelp}"), "U+202E turns the direction of writing"
    yield "a name that turns round", good.replace("id: young", 'id: "yo\u2066ung"'), "U+2066 turns the direction of writing"
    yield "a comment that turns round", good.replace("law:\n", "# \u202e}on :lla ot yap{\nlaw:\n", 1), "U+202E turns the direction of writing"
    yield "a name in letters that look like others", good.replace("  age:", "  \u0430ge:"), "is no name"


def _child(arguments: list[str], said: Path) -> None:
    """Becomes the command, which writes to the file `said`; a process that has forked does not come back from it."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        from streams.cli import main

        main(arguments)
    except SystemExit as ended:
        peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        sys.stdout.write(f"\n{ended.code} {peak.split()[1]}")
        sys.stdout.flush()
    os._exit(0)


def told(path: Path, said: Path) -> dict[str, object]:
    """How the check of a document ended, in a process that begins with everything that the command has in memory."""
    child = os.fork()
    if child == 0:
        _child(["rules", "check", "--json", str(path)], said)
    if os.waitpid(child, 0)[1]:
        return {"file": str(path), "code": None}
    answer, _, end = said.read_text().strip().rpartition("\n")
    document = json.loads(answer)["documents"][0]
    problems = document.get("problems", [])
    first = problems[0]["message"] if problems else ""
    return {"file": str(path), "code": int(end.split()[0]), "peak_kb": int(end.split()[1]), "problems": len(problems), "first": first, "said": len(answer)}


def written(folder: Path) -> dict[str, Path]:
    """The documents as files, by what they are; written by a process of its own, whose memory would count as that of the commands that follow."""
    child = os.fork()
    if child == 0:
        from test_rule_mistakes import GOOD

        names = []
        for name, text, _ in documents(GOOD.replace("tax.income", "dk_tax.income")):
            (folder / f"{len(names)}.yaml").write_text(text, encoding="utf-8")
            names.append(name)
        (folder / "names.json").write_text(json.dumps(names), encoding="utf-8")
        os._exit(0)
    os.waitpid(child, 0)
    return {name: folder / f"{number}.yaml" for number, name in enumerate(json.loads((folder / "names.json").read_text(encoding="utf-8")))}


def table() -> None:
    """What each document costs the command, started anew for each."""
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(f"{'payout rules check':<44} {'code':>4} {'cpu s':>6} {'wall s':>6} {'MB':>4}\n")
        for name, path in written(Path(folder)).items():
            began = time.monotonic()
            with (Path(folder) / "said").open("wb") as file:
                to_file = [(os.POSIX_SPAWN_DUP2, file.fileno(), descriptor) for descriptor in (1, 2)]
                command = [sys.executable, "-m", "streams.cli", "rules", "check", str(path)]
                child = os.posix_spawn(sys.executable, command, os.environ | {"PYTHONPATH": str(ROOT)}, file_actions=to_file)
            _, status, used = os.wait4(child, 0)
            wall_s, cpu_s = time.monotonic() - began, used.ru_utime + used.ru_stime
            sys.stdout.write(f"{name:<44} {os.waitstatus_to_exitcode(status):>4} {cpu_s:>6.2f} {wall_s:>6.2f} {used.ru_maxrss // 1024:>4}\n")
            sys.stdout.flush()


def main(paths: list[str]) -> None:
    import streams.commands.rules.checking  # noqa: F401  everything that the command has in memory

    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            sys.stdout.write(json.dumps(told(Path(path), Path(folder) / "said")) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:]) if sys.argv[1:] else table()
