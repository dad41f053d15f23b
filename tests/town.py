"""A small town with every kind of trouble, taken by the real lanes, paid through the sandbox bank: what the commands are asked about."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog
from story import ACCOUNT, RESIDENCY, TAX, Said, Story, account, death, income, own_number, person, resident, withdrawn

from connectors.sandbox_bank import Behaviour, SandboxBank
from pipeline.orders import end_to_end_id, order_id
from streams import logs
from streams.cli import main
from streams.settings import SHIPPED

BEHAVIOUR = Behaviour(7, 0.25, 0.25, False)
PAYABLE = [f"us-ok-{number:02}" for number in range(12)]
SHARED = [f"us-shared-{number}" for number in range(4)]
CANARY_IBAN, CANARY_NAME, CANARY_CIVIL = "DK5000400440116243", "Kanariefugl Jensen", "010170-1234"
BROKEN_IBAN = "DK5100400440116243"
SHARED_NUMBER = "99887766554433"
CANARIES = [CANARY_IBAN, BROKEN_IBAN, CANARY_NAME, CANARY_CIVIL, SHARED_NUMBER]


def fate(subject: str) -> str:
    """What the sandbox bank does with the first order of a subject."""
    return BEHAVIOUR.fate(end_to_end_id(order_id("us-eip1", subject, "once", 1), 1))[0]


def events() -> list[Said]:
    """What the registries say at first; 3 records of them break their contract."""
    said = [record for subject in PAYABLE for record in person(subject)]
    said += [record for subject in SHARED for record in (resident(subject), account(subject, number=SHARED_NUMBER), income(subject, 30_000))]
    said += [*person("us-married", 80_000, filing="married_joint", children=2)]
    said += [resident("us-no-account"), income("us-no-account", 20_000)]
    said += [resident("us-closed"), account("us-closed", status="closed"), income("us-closed", 20_000)]
    said += [resident("us-invalid"), account("us-invalid", scheme={"scheme": "iban", "iban": BROKEN_IBAN}), income("us-invalid", 20_000)]
    said += [*person("us-dead"), death("us-dead")]
    said += [resident("us-abroad", resident=False), account("us-abroad"), income("us-abroad", 20_000)]
    said += [resident("us-unknown"), account("us-unknown", scheme={"scheme": "iban", "iban": CANARY_IBAN}), income("us-unknown", None)]
    said += [*person("us-disputed"), income("us-disputed", 40_000, id="tax-us-disputed-1")]
    wrong = income("us-mended", 200_000, 1)
    said += [resident("us-mended"), account("us-mended"), wrong, withdrawn(wrong, 2), income("us-mended", 10_000, 3)]
    named = resident("us-named").value.replace(b'"birth_date"', f'"name":"{CANARY_NAME}","civil_number":"{CANARY_CIVIL}","birth_date"'.encode())
    said += [Said(RESIDENCY, b"us-named", named), Said(TAX, b"", b'{"specversion":"1.0","id":"cut'), Said(ACCOUNT, b"us-bad", b"\xff\xfe")]
    return said


DEAD_LETTERS = 3


class Town(NamedTuple):
    """The town after its payments, and everything it logged meanwhile."""

    story: Story
    log: io.StringIO


def build(home: Path) -> Town:
    """The town: told, paid, answered by the bank, told of two changes, and paid again."""
    log = io.StringIO()
    logs.configure("debug", "json", home, stream=log)
    story = Story(home)
    story.tell(events())
    story.pay()
    bank = SandboxBank(home, bic=story.installation.settings.bank.bank_bic, behaviour=BEHAVIOUR)
    bank.handle_all()
    bank.close()
    story.pay()
    story.tell(income("us-married", 200_000, 2, filing="married_joint", children=2))  # paid too much: a claim
    story.tell(income(PAYABLE[0], 90_000, 2))
    story.pay()
    return Town(story, log)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One town for all tests of a module, which only look at it."""
    built = build(tmp_path_factory.mktemp("town") / "home")
    yield built
    built.story.close()


class Answer(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


class Payout:
    """The command `payout`, called in this process for one installation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], story: Story) -> None:
        self._capsys = capsys
        settings = story.installation.settings
        monkeypatch.setenv("PAYOUT_HOME", str(settings.home))
        monkeypatch.setenv("PAYOUT_STORE_URLS", " ".join(story.urls))
        monkeypatch.setenv("PAYOUT_SHARDS", str(story.shards))
        monkeypatch.setenv("PAYOUT_TRUST_RULES", "true")
        monkeypatch.setenv("PAYOUT_RULES", " ".join(str(rule) for rule in settings.rules))

    def __call__(self, *arguments: str) -> Answer:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = self._capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Answer(int(ended.value.code or 0), said.out, said.err)

    def armed(self, failpoint: str, *arguments: str) -> int:
        """The exit code of the command in a process of its own, which kills itself at a named point."""
        command = [sys.executable, "-c", "from streams.cli import main; main()", *arguments]
        return subprocess.run(command, env=os.environ | {"PAYOUT_FAILPOINT": failpoint}, cwd=SHIPPED, check=False, capture_output=True).returncode


@pytest.fixture
def quiet_afterwards() -> Iterator[None]:
    """Commands set up the log of the process; here it is taken down again."""
    import logging

    yield
    root = logging.getLogger()
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = []
    structlog.reset_defaults()


def account_numbers() -> list[str]:
    """Every account number that anybody in the town has."""
    people = [*PAYABLE, "us-married", "us-closed", "us-dead", "us-abroad", "us-disputed", "us-mended"]
    return [own_number(subject) for subject in people]
