"""Tables of households and of their members, as people hand them to `payout rules evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from streams.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
KOREA = ROOT / "benefits/kr-relief-2020/2020-04-30.yaml"
HOUSEHOLDS = "subject,channel\nh1,\nh2,account\nh3,credit_card\nh4,\n"
MEMBERS = "household,member,registered,alive\nh1,a,yes,yes\nh2,c,yes,\nh1,b,yes,yes\nh3,d,yes,yes\n"


@pytest.fixture
def evaluated(tmp_path, capsys):
    """Runs `payout rules evaluate` on files of these texts: the exit code, the amounts by subject or what stands on stderr."""

    def run(facts: str, members: str | None = None, suffix: str = ".csv"):
        (tmp_path / f"facts{suffix}").write_text(facts)
        command = ["rules", "evaluate", str(KOREA), "--facts", str(tmp_path / f"facts{suffix}"), "--output", str(tmp_path / "out.csv")]
        if members is not None:
            (tmp_path / "members.csv").write_text(members)
            command += ["--members", str(tmp_path / "members.csv")]
        with pytest.raises(SystemExit) as ended:
            main(command)
        said = capsys.readouterr()
        if ended.value.code:
            return ended.value.code, said.err
        out = pl.read_csv(tmp_path / "out.csv")
        return 0, dict(zip(out["subject"], zip(out["decision"], out["amount_minor"], strict=True), strict=True))

    return run


def test_members_of_a_second_file_are_counted_wherever_their_rows_stand(evaluated):
    expected = {"h1": ("granted", 600_000), "h2": ("undetermined", 0), "h3": ("refused", 0), "h4": ("undetermined", 0)}
    assert evaluated(HOUSEHOLDS, MEMBERS) == (0, expected)


def test_members_as_lists_say_nobody_and_not_known_apart(evaluated):
    here = {"registered": True, "alive": True}
    lines = [{"subject": name, "channel": None, "members": members} for name, members in (("h1", [here] * 3), ("h2", []), ("h3", None))]
    expected = {"h1": ("granted", 800_000), "h2": ("refused", 0), "h3": ("undetermined", 0)}
    assert evaluated("\n".join(map(json.dumps, lines)), suffix=".ndjson") == (0, expected)


def test_what_follows_from_members_may_stand_in_a_column_of_its_own(evaluated):
    assert evaluated("subject,channel,household_size\nh1,,4\n") == (0, {"h1": ("granted", 1_000_000)})


@pytest.mark.parametrize(
    ("facts", "members", "said"),
    [
        (HOUSEHOLDS, None, "household_size: the table has no column for this fact. Give a table of members, or the column itself."),
        (HOUSEHOLDS, MEMBERS.replace("h3,d", "h9,d"), "members, row 4: there is no household 'h9'. Give it a row in the table of facts."),
        (HOUSEHOLDS, MEMBERS.replace("household,", "home,"), "members, household: the table of members has no column 'household'"),
        (HOUSEHOLDS, MEMBERS.replace("alive", "alife"), "members, alive: the members have no column for this fact, did you mean 'alife'?"),
        ("subject,channel,household_size\nh1,,4\n", "household,registered,alive\nh1,yes,yes\n",
         "household_size: the column follows from the members that are given"),
        (HOUSEHOLDS, MEMBERS.replace("d,yes", "d,perhaps"), "row 4, registered: 'perhaps'"),
    ],
)  # fmt: skip
def test_a_wrong_table_of_members_is_told_with_its_place(facts, members, said, evaluated):
    code, err = evaluated(facts, members)
    assert code == 2
    assert said in err
