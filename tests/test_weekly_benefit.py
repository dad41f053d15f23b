"""A benefit decided per week, from what a registry says to the orders of each week."""

from __future__ import annotations

from pathlib import Path

from story import Story, account, death, resident

from pipeline.orders import Kind, State

DOCUMENT = """
format: benefit-rule/1
benefit: weekly-help
title: {en: Weekly help}
in_force: {from: 2020-04-06, to: null}
law: {a: {cite: "Weekly Help Act, s. 1"}}
decides: {for: person, period: week, parameters_at: period.start, currency: USD}
facts:
  resident: {type: yes_no, from: residency.resident, at: period.start}
  alive: {type: yes_no, from: residency.alive, at: period.start}
parameters:
  rate: {type: money, per: week, law: a, from: {2020-04-06: 100, 2020-04-13: 110}}
eligible_when:
  - {id: resident, when: resident and alive, law: a}
amount:
  steps: [{id: paid, is: rate, law: a}]
  pay: paid
"""


def test_each_week_is_decided_and_ordered_by_itself_and_a_death_takes_back_the_weeks_after_it(tmp_path: Path):
    rule = tmp_path / "weekly-help.yaml"
    rule.write_text(DOCUMENT, encoding="utf-8")
    story = Story(tmp_path / "home", rules=[f"{rule}@2020-W15", f"{rule}@2020-W16"])
    story.hears(resident("anna"), account("anna"))
    assert sorted((order.kind, order.amount_minor, order.state) for order in story.orders()) == [
        (Kind.ORIGINAL, 10_000, State.RELEASED),
        (Kind.ORIGINAL, 11_000, State.RELEASED),
    ]
    assert story.ask("SELECT period FROM benefit_period ORDER BY period") == [("2020-W15",), ("2020-W16",)]
    story.hears(death("anna", day="2020-04-08"))
    assert story.ask("SELECT owed_minor, live_minor, claim_minor FROM entitlement JOIN benefit_period USING (benefit_period_id) ORDER BY period") == [
        (10_000, 10_000, 0),
        (0, 11_000, 11_000),
    ]
    story.audit()
    story.close()
