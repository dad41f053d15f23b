"""The demo's report: one page that needs nothing else, with the figures it was given."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from rich.console import Console

from connectors.report import Check, Command, DemoSummary, Disposition, Orders, Reason, sampled, terminal_summary, write_demo_report
from connectors.report.charts import ticks

NOTHING = DemoSummary(title="Nothing yet", currency="USD", seed=1)
DEMO = DemoSummary(
    title="Payments <first> & only",
    currency="USD",
    seed=77,
    subjects=1_234,
    granted=1_100,
    granted_minor=132_000_050,
    granted_nothing=40,
    refused=[Reason(code="not_alive", count=30, sentence="Not alive on the day of payment."), Reason(code="not_resident", count=60)],
    undetermined=[Reason(code="income", count=44, sentence="The income is unknown.")],
    orders=[
        Orders(state="held", reason="no_account", count=90, amount_minor=10_800_000, sentence="No account is registered.", remedy="registration of an account"),
        Orders(state="held", reason="account_closed", count=7, amount_minor=840_000),
        Orders(state="rejected", reason="AC04", count=5, amount_minor=600_000),
        Orders(state="returned", reason="MD07", count=3, amount_minor=360_000),
        Orders(state="accepted", count=2, amount_minor=240_000),
        Orders(state="settled", count=993, amount_minor=119_160_050),
    ],
    claims=4,
    claims_minor=90_007,
    events=3_800,
    dispositions=[Disposition(name="applied", count=3_752), Disposition(name="dead_letter", count=48)],
    incomes=[(-500_000 + i * 20_000, 120_000 - i * 100, status) for i in range(400) for status in ("single", "married_joint")],
    throughput=[(0.5, 1_900), (1.0, 1_900)],
    checks=[Check(id="a", name="Every input record has one disposition", ok=True, checked=3_800, violations=0)],
    commands=[Command(line="payout audit", shows="the proof")],
    seconds=1.0,
    events_per_second=3_800.0,
)
FAILED = Check(id="b", name="No order was executed twice", ok=False, checked=993, violations=2)


def changed(**fields: object) -> DemoSummary:
    return DemoSummary(**{name: getattr(DEMO, name) for name in DEMO.__struct_fields__} | fields)


def page_of(summary: DemoSummary, directory: Path) -> str:
    write_demo_report(directory / "reports" / "demo.html", summary)
    return (directory / "reports" / "demo.html").read_text(encoding="utf-8")


def words_of(page: str) -> str:
    return " ".join("".join(tree(page).find("body").itertext()).split())


def tree(page: str) -> etree._Element:
    return etree.fromstring(page.removeprefix("<!DOCTYPE html>\n").encode())


def terminal(summary: DemoSummary, width: int = 110) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(terminal_summary(summary))
    return captured.get()


@pytest.mark.parametrize("summary", [DEMO, NOTHING], ids=["demo", "nothing"])
def test_the_page_is_well_formed_and_fetches_nothing(summary: DemoSummary, tmp_path: Path) -> None:
    page = page_of(summary, tmp_path)
    root = tree(page)
    assert {"script", "link", "img", "iframe", "object", "image", "use"}.isdisjoint({etree.QName(element).localname for element in root.iter()})
    assert not [name for element in root.iter() for name in element.attrib if etree.QName(name).localname in ("src", "href")]
    assert not re.search(r"url\(|@import", page)
    assert set(re.findall(r"https?://[^\"'\s]+", page)) <= {"http://www.w3.org/2000/svg"}


def test_the_page_is_written_whole_with_no_other_file_beside_it(tmp_path: Path) -> None:
    write_demo_report(tmp_path / "demo.html", NOTHING)
    write_demo_report(tmp_path / "demo.html", DEMO)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.html"]
    assert "1,234" in (tmp_path / "demo.html").read_text(encoding="utf-8")


def test_the_same_figures_give_the_same_page(tmp_path: Path) -> None:
    assert page_of(DEMO, tmp_path / "a") == page_of(DEMO, tmp_path / "b")


def test_the_page_shows_the_figures(tmp_path: Path) -> None:
    words = words_of(page_of(DEMO, tmp_path))
    for figure in ("1,234people known", "993payments settled", "1,191,600.50 USD", "3,800 events/s", "3,800 in 1 s", "seed 77", "Dead letter48"):
        assert figure in words


def test_the_title_is_shown_as_text(tmp_path: Path) -> None:
    assert tree(page_of(DEMO, tmp_path)).findtext(".//h1") == "Payments <first> & only"


def test_every_hold_says_its_reason_and_what_lifts_it_the_largest_first(tmp_path: Path) -> None:
    words = words_of(page_of(DEMO, tmp_path))
    assert "97 orders over 116,400.00 USD wait" in words
    assert words.index("No account is registered.90 108,000.00 USDLifted by: registration of an account") < words.index("Account closed7 8,400.00 USD")


def test_every_answer_of_the_bank_says_what_its_code_means(tmp_path: Path) -> None:
    words = words_of(page_of(DEMO, tmp_path))
    assert "AC04Rejected. The account is closed.56,000.00 USD" in words
    assert "MD07Returned. The payee has died.33,600.00 USD" in words
    assert "4 people were paid too much before a correction: 900.07 USD stand as claims." in words


def test_the_funnel_counts_each_order_as_far_as_it_came(tmp_path: Path) -> None:
    assert (DEMO.ordered[0], DEMO.released[0], DEMO.sent[0], DEMO.settled[0]) == (1_100, 1_003, 1_003, 993)
    funnel = next(svg for svg in tree(page_of(DEMO, tmp_path)).iter("{http://www.w3.org/2000/svg}svg") if "settled" in svg.get("aria-label"))
    texts = [element.text for element in funnel.iter("{http://www.w3.org/2000/svg}text")]
    pairs = dict(pairwise(texts))
    assert {name: pairs[name] for name in ("Known", "Granted", "Ordered", "Released", "Sent", "Settled")} == {
        "Known": "1,234",
        "Granted": "1,100",
        "Ordered": "1,100",
        "Released": "1,003",
        "Sent": "1,003",
        "Settled": "993",
    }
    assert {name: pairs[name] for name in ("Refused", "Undetermined", "Held", "Rejected", "Returned", "Under way")} == {
        "Refused": "90",
        "Undetermined": "44",
        "Held": "97",
        "Rejected": "5",
        "Returned": "3",
        "Under way": "2",
    }


def test_a_cancelled_order_is_in_no_stage() -> None:
    assert changed(orders=[*DEMO.orders, Orders(state="cancelled", count=9, amount_minor=9)]).ordered == DEMO.ordered


def test_a_failed_check_is_told_at_the_top_and_in_the_table(tmp_path: Path) -> None:
    good, bad = words_of(page_of(DEMO, tmp_path)), words_of(page_of(changed(checks=[*DEMO.checks, FAILED]), tmp_path))
    assert "audit holds: 1 of 1 checks" in good
    assert "fails" not in good
    assert "1 of 2 audit checks failed" in bad
    assert "✗ failsNo order was executed twice9932" in bad


def test_a_run_without_an_audit_does_not_look_audited(tmp_path: Path) -> None:
    words = words_of(page_of(NOTHING, tmp_path))
    assert "not audited" in words
    assert "audit holds" not in words


def test_the_terminal_shows_decisions_orders_speed_audit_and_what_to_try() -> None:
    shown = terminal(DEMO)
    for line in (
        r"known +1,234",
        r"granted +1,100 +1,320,000.50",
        r"of them with nothing left to pay +40",
        r"refused +90",
        r"undetermined +44",
        r"The income is unknown. +44",
        r"ordered +1,100",
        r"paid +993 +1,191,600.50",
        r"held +97",
        r"No account is registered. +90 +108,000.00",
        r"AC04 The account is closed. +5",
        r"returned +3",
        r"claims \(paid too much\) +4 +900.07",
        r"3,800 events in 1.0 s: 3,800 events/s",
        r"audit: 1 of 1 checks hold",
        r"payout audit  the proof",
    ):
        assert re.search(line, shown), line


def test_the_terminal_names_each_failed_check() -> None:
    assert re.search(r"1 of 2 checks failed\n  No order was executed twice: 2 violations in 993", terminal(changed(checks=[*DEMO.checks, FAILED])))


def test_the_terminal_says_so_where_nothing_was_audited() -> None:
    assert "audit: not run" in terminal(NOTHING)


def test_the_terminal_summary_fits_80_columns() -> None:
    assert max(len(line.rstrip()) for line in terminal(DEMO, width=80).splitlines()) <= 80


@given(st.floats(0.001, 1e12), st.integers(2, 8))
def test_ticks_are_few_even_and_reach_the_largest_value(largest: float, wanted: int) -> None:
    marks = ticks(largest, wanted)
    assert marks[0] == 0
    assert marks[-1] >= largest
    assert len(marks) <= wanted + 1
    assert len({after - before for before, after in pairwise(marks)}) == 1


def test_a_sample_is_small_taken_from_the_whole_and_the_same_each_time() -> None:
    incomes = [(i, i * 2, "single") for i in range(20_000)]
    sample = sampled(incomes, 1_000)
    assert sample == sampled(incomes, 1_000)
    assert len(set(sample)) == 1_000
    assert set(sample) <= set(incomes)
    assert 400 < sum(income < 10_000 for income, _, _ in sample) < 600
