"""Proofs about rules: claims, what nobody reaches, the people by whom two documents differ, cliffs, and examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_rule_oracle import CATALOGUE

from pipeline.problems import Malformed
from pipeline.rules import load_rule, run_tests
from pipeline.rules.coverage import branch_coverage
from pipeline.rules.proof import FAILS, NOT_DECIDED, PROVED, claims_hold, hold, prove
from pipeline.rules.proof.cliffs import cliffs
from pipeline.rules.proof.differences import DIFFERS, differences, differently_asked
from pipeline.rules.proof.examples import examples

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = sorted((ROOT / "benefits").rglob("*.yaml"))
EIP1, CHILD, HEAT = (
    next(path for path in SHIPPED if path.parent.name == name).read_text(encoding="utf-8") for name in ("us-eip1", "dk-child-benefit", "dk-heat-cheque")
)
TIMEOUT_S = 90
HEAD = """
format: benefit-rule/1
benefit: tried
title: {en: Tried}
in_force: {from: 2020-01-01, to: TO}
law: {a: {cite: A}}
decides: {for: person, period: PERIOD, parameters_at: AT, currency: DKK}
facts:
  wage: {type: money, from: tax.wage, range: 0..1_000_000}
  children: {type: number, from: home.children, range: 0..9}
  kind: {type: text, from: home.kind, one_of: [one, two, three]}
  resident: {type: yes_no, from: home.resident}
  born: {type: date, from: home.born, range: 1900-01-01..2030-12-31}
"""


def document(body: str, period: str = "once", at: str = "period.start", to: str = "null") -> str:
    text = HEAD.replace("PERIOD", period).replace("AT", at).replace("TO", to)
    return text + ("" if "eligible_when" in body else "eligible_when: []\n") + body


def tried(body: str, **said: str):
    return load_rule(document(body, **said), CATALOGUE)


def with_claims(text: str, claims: str) -> str:
    """A document with other claims than its own."""
    before, _, after = text.partition("\nclaims:\n")
    return f"{before}\nclaims: {claims}\n" + after[after.index("tests:") :] if after else f"{text}\nclaims: {claims}\n"


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def not_proved(rule) -> list[tuple[str, str, str]]:
    return [(finding.place, finding.text, finding.message) for finding in prove(rule, TIMEOUT_S) if finding.outcome != PROVED]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_everything_that_a_shipped_benefit_claims_and_says_is_proved(path, catalogue):
    rule = load_rule(path.read_text(encoding="utf-8"), catalogue)
    findings = prove(rule, TIMEOUT_S)
    assert [finding for finding in findings if finding.outcome != PROVED] == []
    assert len(claims_hold(rule, TIMEOUT_S)) == len(rule.claims) >= 2


def test_more_income_never_has_more_of_the_economic_impact_payment(catalogue):
    (finding,) = claims_hold(load_rule(with_claims(EIP1, "[{more: income, never_more: net}]"), catalogue), TIMEOUT_S)
    assert (finding.outcome, finding.text) == (PROVED, "more income, never more net")


def test_a_claim_that_fails_shows_two_people_apart_in_that_fact_alone(catalogue):
    (finding,) = claims_hold(load_rule(with_claims(EIP1, "[{more: children_under_17, never_more: amount}]"), catalogue), TIMEOUT_S)
    one, other = finding.people
    assert finding.outcome == FAILS
    assert {name for name in one.given if one.given[name] != other.given[name]} == {"children_under_17"}
    assert int(other.given["children_under_17"]) == int(one.given["children_under_17"]) + 1
    assert other.amount_minor > one.amount_minor


def test_the_error_of_the_heat_cheque_cannot_be_claimed_away(catalogue):
    wrong = changed(HEAT, ("personal_income + positive(net_capital_income)", "personal_income + net_capital_income"))
    failed = [finding for finding in claims_hold(load_rule(wrong, catalogue), TIMEOUT_S) if finding.outcome == FAILS]
    assert [finding.text for finding in failed] == ["the same for every net_capital_income, where net_capital_income <= 0"]
    assert {person.decision for person in failed[0].people} == {"granted", "refused"}


@pytest.mark.parametrize(
    ("claim", "outcome"),
    [
        ("{at_most: full}", PROVED),
        ("{at_most: 4_746}", PROVED),
        ("{at_most: 4_745.99}", FAILS),
        ("{at_least: 0}", PROVED),
        ("{at_least: 0.01}", FAILS),
        ("{at_least: 2_898, of: full}", PROVED),
        ("{at_least: 2_898.01, of: full}", FAILS),
        ("{at_least: 2_898, where: income <= income_limit}", PROVED),
        ("{at_least: 2_898, where: income > income_limit}", FAILS),
        ("{at_least: 2_898, where: income <= 828_100}", PROVED),
        ("{at_least: 2_898, where: 900_000 < income}", FAILS),
        ("{more: age, never_more: amount}", PROVED),
        ("{more: age, never_less: amount}", FAILS),
        ("{more: income, never_less: reduction}", PROVED),
        ("{same_for: [income], where: income < income_limit}", PROVED),
        ("{same_for: [age], where: age >= 7}", FAILS),
        ("{same_for: [age, income], where: age >= 15}", PROVED),
    ],
)
def test_a_claim_is_proved_or_fails_in_whichever_stretch_it_fails(claim, outcome, catalogue):
    (finding,) = claims_hold(load_rule(with_claims(CHILD, f"[{claim}]"), catalogue), TIMEOUT_S)
    assert (finding.outcome, bool(finding.people)) == (outcome, outcome == FAILS)


def test_a_claim_that_fails_in_one_period_only_names_that_period():
    rule = tried(
        """parameters: {yearly: {type: money, per: year, from: {2020-01-01: 1_000.03}}}
amount: {steps: [{id: part, spread: {of: yearly, remainder: last}}], pay: part}
claims: [{at_most: 250}, {at_most: 250.03}]
""",
        period="quarter",
    )
    fails, holds = claims_hold(rule, TIMEOUT_S)
    assert (fails.outcome, holds.outcome) == (FAILS, PROVED)
    assert fails.people[0].given["period"].endswith("-Q4")


def test_a_claim_about_ages_holds_on_every_day_of_every_period():
    rule = tried(
        """parameters: {sum: {type: money, from: {2020-01-01: 100}}}
amount: {steps: [{id: paid, is: "sum * max(years(born, period.start), 0)", cap: 1_800}], pay: paid}
claims:
  - {more: born, never_more: amount}
  - {at_most: 1_700, where: "days(born, period.start) < 18 * 365"}
  - {at_most: 1_700, where: "days(born, period.start) < 18 * 365 + 30"}
  - {at_most: 1_700, where: "years(born, period.start) < 18"}
""",
        period="month",
        to="2023-12-31",
    )
    outcomes = [finding.outcome for finding in claims_hold(rule, TIMEOUT_S)]
    assert outcomes == [PROVED, PROVED, FAILS, PROVED]


def test_what_is_not_decided_in_time_is_not_proved():
    numbers = "{type: number, from: home.children, range: 1..5_000}\n  share: {type: number, from: home.share, range: 1..5_000}"
    text = document("""parameters: {sum: {type: money, from: {2020-01-01: 1}}, unit: {type: money, from: {2020-01-01: 200}}}
eligible_when:
  - id: cubes
    when: children * children * children + share * share * share == full_steps(wage, unit) * full_steps(wage, unit) * full_steps(wage, unit)
amount: {steps: [{id: paid, is: sum}], pay: paid}
claims: [{at_most: 0}]
""")
    rule = load_rule(changed(text, ("{type: number, from: home.children, range: 0..9}", numbers)), CATALOGUE)
    (finding,) = claims_hold(rule, 1)
    assert (finding.outcome, finding.people) == (NOT_DECIDED, ())
    assert finding.message.startswith("not decided in 1 s")
    assert not hold([finding])


def test_a_document_without_claims_has_none_that_fail():
    assert claims_hold(tried("amount: {steps: [{id: paid, is: wage}], pay: paid}\n")) == []


def test_without_the_solver_no_claim_counts_as_proved():
    script = f"""
import sys
sys.modules["z3"] = None
from pathlib import Path
from connectors.registries import load_registries
from pipeline.rules import load_rule
from pipeline.rules.proof import claims_hold, hold
findings = claims_hold(load_rule(Path({str(SHIPPED[0])!r}).read_text(), load_registries(Path("registries")).catalogue))
sys.exit(hold(findings) or {{finding.outcome for finding in findings}} != {{"not_decided"}} or "payout[prove]" not in findings[0].message)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ("[{more: wag, never_more: paid}]", "claims[0].more: unknown fact 'wag', did you mean 'wage'? (line 16, column 17)"),
        ("[{more: wage, never_more: pad}]", "claims[0].never_more: unknown step 'pad', did you mean 'paid'?"),
        ("[{more: resident, never_more: paid}]", "claims[0].more: 'resident' is yes_no, of which there is no more and no less"),
        ("[{never_more: paid}]", "claims[0]: never_more needs more"),
        ("[{at_most: 5, at_least: 3}]", "claims[0]: a claim says one thing, this one both at_most and at_least"),
        ("[{at_most: 5_000, where: wage < 0.001}]", "claims[0].where: 0.001 has more decimals than DKK has"),
        ("[{where: resident}]", "claims[0]: a claim says one of never_more, never_less, at_most, at_least, same_for"),
        ("[{at_most: children}]", "claims[0].at_most: cannot compare money and number"),
        ("[{at_most: 5, more: wage}]", "claims[0].more: more stands beside never_more or never_less, not at_most"),
        ("[{same_for: [kin]}]", "claims[0].same_for[0]: unknown fact 'kin', did you mean 'kind'?"),
        ("[{same_for: [kind], of: paid}]", "claims[0].of: of stands beside at_most or at_least, not same_for"),
        ("[{at_most: 5, where: wage}]", "claims[0].where: where is yes or no, 'wage' is money"),
        ("[{at_mots: 5}]", "claims[0].at_mots: unknown key 'at_mots', did you mean 'at_most'?"),
    ],
)
def test_a_wrong_claim_is_told_with_its_place(claims, problem):
    with pytest.raises(Malformed) as raised:
        tried(f"amount: {{steps: [{{id: paid, is: wage}}], pay: paid}}\nclaims: {claims}\n")
    assert problem in str(raised.value)


def test_a_condition_that_cannot_fail_or_hold_is_found():
    found = not_proved(
        tried("""eligible_when: [{id: few, when: children <= 9}, {id: any, when: resident}]
excluded_when: [{id: many, when: children > 9 and resident}]
amount: {steps: [{id: paid, is: wage}], pay: paid}
""")
    )
    assert found == [
        ("eligible_when[0]", "few can fail: children <= 9", "it never fails"),
        ("excluded_when[0]", "many can hold: children > 9 and resident", "it never holds"),
    ]


def test_conditions_that_together_refuse_everybody_are_found():
    found = not_proved(
        tried("""eligible_when: [{id: few, when: children < 3}, {id: many, when: children > 5}]
amount: {steps: [{id: paid, is: wage}], pay: paid}
""")
    )
    assert found == [("amount.pay", "somebody is granted the benefit", "nobody ever is")]


def test_branches_rows_brackets_tapers_and_keys_that_nobody_reaches_are_found():
    found = not_proved(
        tried("""parameters:
  sum: {type: money, from: {2020-01-01: 100}}
  far: {type: money, from: {2020-01-01: 2_000_000}}
  by_children: {type: money, by: {children: [0-2, 3-9]}, from: {2020-01-01: [1, 2]}}
eligible_when: [{id: few, when: children < 3}]
amount:
  steps:
    - {id: branched, is: "sum if children < 5 else wage"}
    - {id: tapered, taper: {of: wage, above: far, rate: 5 %}}
    - {id: scaled, scale: {of: wage, brackets: [{above: 0, rate: 1 %}, {above: 1_500_000, rate: 2 %}]}}
    - id: listed
      table: {type: money, hit: first, rows: [{when: {children: 0-1}, gives: 1}, {when: {children: 2}, gives: 2}, {when: {children: 3-9}, gives: 3}]}
    - {id: paid, is: branched + tapered + scaled + listed + by_children, round: {to: 1, mode: half_up}}
  pay: paid
""")
    )
    assert [place for place, _, _ in found] == [
        "amount.steps[0]",
        "amount.steps[1].taper",
        "amount.steps[2].scale.brackets[1]",
        "amount.steps[3].table.rows[2]",
        "parameters.by_children",
    ]


def test_values_by_date_that_no_period_uses_are_found():
    found = not_proved(
        tried(
            "parameters: {sum: {type: money, from: {2020-01-01: 1, 2020-02-15: 2, 2020-03-01: 3}}}\namount: {steps: [{id: paid, is: sum}], pay: paid}\n",
            period="quarter",
        )
    )
    assert [text for _, text, _ in found] == ["a period is decided by the values from 2020-02-15"]


def test_the_person_whom_under_17_and_under_18_tell_apart_is_found(catalogue):
    under_17 = changed(CHILD, ("age < 15", "age < 17"), ("[0-2, 3-6, 7-14]", "[0-2, 3-6, 7-17]"))
    under_18 = changed(under_17, ("age < 17", "age < 18"))
    found = {difference.way: difference for difference in differences(load_rule(under_17, catalogue), load_rule(under_18, catalogue), TIMEOUT_S)}
    person = found["refused becomes granted"]
    assert (person.old.given["age"], person.old.decision, person.new.decision) == ("17", "refused", "granted")
    assert {way for way, difference in found.items() if difference.outcome == DIFFERS} == {
        "refused becomes granted", "refused becomes undetermined", "under_15 comes out otherwise",
    }  # fmt: skip


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_a_document_decides_as_itself_and_this_is_proved(path, catalogue):
    rule = load_rule(path.read_text(encoding="utf-8"), catalogue)
    assert {difference.outcome for difference in differences(rule, rule, TIMEOUT_S)} == {PROVED}


def test_a_fact_that_is_assumed_differs_for_people_of_whom_it_is_unknown_alone(catalogue):
    assumed = changed(EIP1, ("range: 0..40}", "range: 0..40, if_missing: {assume: 0}}"))
    found = [one for one in differences(load_rule(EIP1, catalogue), load_rule(assumed, catalogue), TIMEOUT_S) if one.outcome != PROVED]
    assert [one.way for one in found] == ["undetermined becomes granted"]
    assert found[0].old.missing == ("children_under_17",)


def test_another_way_to_say_the_same_is_proved_to_be_the_same(catalogue):
    other = changed(CHILD, ("age < 15", "not (age >= 15)"), ('"full - reduction", floor: 0', '"positive(full - reduction)"'))
    assert {difference.outcome for difference in differences(load_rule(CHILD, catalogue), load_rule(other, catalogue), TIMEOUT_S)} == {PROVED}


def test_documents_for_other_periods_are_not_compared(catalogue):
    with pytest.raises(Malformed, match="the old document says 'once', the new one 'quarter'"):
        differences(load_rule(HEAT, catalogue), load_rule(CHILD, catalogue), TIMEOUT_S)


def test_a_fact_of_another_year_is_named(catalogue):
    later = changed(HEAT, ("dk_household.personal_income, year: 2020", "dk_household.personal_income, year: 2021"))
    assert differently_asked(load_rule(HEAT, catalogue), load_rule(later, catalogue)) == ["personal_income"]


def test_the_cliff_of_the_heat_cheque_is_found_at_650000(catalogue):
    found = cliffs(load_rule(HEAT, catalogue), "personal_income", {"net_capital_income": 0, "listed_heating": True}, TIMEOUT_S)
    (cliff,) = found.found
    assert (cliff.first, cliff.last, cliff.places, cliff.loss_minor) == ("650000.00", "650000.00", 1, 599_999)
    assert (cliff.before.amount_minor, cliff.after.amount_minor, cliff.after.given["personal_income"]) == (600_000, 0, "650000.01")
    assert found.complete


def test_a_taper_has_no_cliff_and_this_is_proved(catalogue):
    found = cliffs(load_rule(EIP1, catalogue), "income", {}, TIMEOUT_S)
    assert (found.found, found.complete) == ((), True)


def test_cliffs_are_told_from_the_largest_down_each_with_its_incomes():
    rule = tried("""parameters: {sum: {type: money, from: {2020-01-01: 1_000}}}
amount:
  steps:
    - {id: taken, taper: {of: wage, above: 10_000, each: {size: 2_000, count: started}, take: 100}}
    - {id: lost, table: {type: money, hit: first, rows: [{when: {wage: ..<13_000}, gives: 0}, {gives: 350}]}}
    - {id: paid, is: sum - taken - lost, floor: 0}
  pay: paid
""")
    found = cliffs(rule, "wage", {}, TIMEOUT_S)
    assert [(cliff.first, cliff.last, cliff.places, cliff.loss_minor) for cliff in found.found] == [
        ("12999.99", "12999.99", 1, 34_999),
        ("10000.00", "20000.00", 6, 9_999),
        ("22000.00", "22000.00", 1, 4_999),
    ]
    assert found.complete


def test_what_a_year_of_payments_loses_is_held_against_the_income_of_a_year(catalogue):
    whole = changed(CHILD, ("round: {to: 0.01, mode: half_up}", "round: {to: 1, mode: down}"))
    (cliff, *_) = cliffs(load_rule(whole, catalogue), "income", {"age": 8, "resident": True}, TIMEOUT_S).found
    assert (cliff.over, cliff.loss_minor) == ("year", 4 * 100 - 1)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_the_examples_of_a_benefit_pass_as_its_tests_and_reach_all_of_it_but_what_asks_members(path, catalogue):
    text = path.read_text(encoding="utf-8")
    found = examples(load_rule(text, catalogue), TIMEOUT_S)
    again = load_rule(f"{text[: text.index(chr(10) + 'tests:')]}\ntests:\n{found.yaml()}\n", catalogue)
    assert [str(result) for result in run_tests(again) if not result.passed] == []
    assert len(again.tests) == len(found.found)
    assert [unreached for unreached in branch_coverage(again).missing if not unreached.path.startswith("aggregates.")] == []


def test_examples_stand_on_both_sides_of_a_boundary(catalogue):
    found = {example.name: example for example in examples(load_rule(HEAT, catalogue), TIMEOUT_S).found}
    inside, outside = (found[f"income, household_income <= income_limit: just {side}"] for side in ("inside", "outside"))
    assert (inside.expect["decision"], outside.expect["decision"]) == ("granted", "refused")
    assert inside.expect["household_income"] == "650000.00"
    assert outside.expect["refused_by"] == ("income",)
