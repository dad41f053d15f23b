"""Decisions explained: every figure is the evaluator's, what is said to change a refusal changes it, and every language says the same."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings

from connectors.languages import load_language
from connectors.registries import load_registries
from pipeline.facts import FIRST_DAY, LAST_DAY, Known
from pipeline.rules import DECISIONS, GRANTED, ONCE, Period, Rule, decide, explain, letter, load_rule, parse_period, physical_type
from pipeline.rules.aggregates import with_aggregates
from pipeline.rules.figures import assumed
from pipeline.rules.phrases import Phrases
from pipeline.rules.remedies import remedies
from pipeline.rules.sources import Source, sources_of
from pipeline.texts import ENGLISH, has_language

sys.path.insert(0, str(Path(__file__).parent))
import test_rule_members
from test_rule_oracle import BUILDING, a_period, documents, frame, loaded, rows

ROOT = Path(__file__).resolve().parent.parent.parent
BUILDING = settings(BUILDING, max_examples=20)
DANISH = load_language("da", ROOT / "locales")
REGISTRIES = load_registries(ROOT / "registries")
CHILD, CHEQUE, EIP1 = (
    load_rule((ROOT / "benefits" / name).read_text(), REGISTRIES.catalogue)
    for name in ("dk-child-benefit/2022-01-01.yaml", "dk-heat-cheque/2022-04-01.yaml", "us-eip1/2020-03-27.yaml")
)
QUARTER = parse_period("2022-Q1")
SINGLE = {"income": 3_000_000, "filing_status": "single", "children_under_17": 0, "claimed_as_dependent": False, "alive": True, "resident": True}


def table(rule: Rule, *facts: dict) -> pl.DataFrame:
    return pl.DataFrame([pl.Series(fact.name, [row.get(fact.name) for row in facts], dtype=physical_type(fact)) for fact in rule.facts])


def told(rule: Rule, facts: dict, period: Period = ONCE, language=ENGLISH, sources=None):
    return explain(rule, decide(rule, table(rule, facts), period).row(0, named=True), facts, period, "p-1", language=language, sources=sources)


# What holds of every document and everybody.


@BUILDING
@given(documents(), rows)
def test_every_decision_of_every_document_can_be_told_in_every_language_with_the_evaluators_figures(text, row):
    rule = loaded(text)
    period, event_day = a_period(rule, row), row["event_day"]
    decided = decide(rule, frame(rule, [row]), period).row(0, named=True)
    for language in (ENGLISH, DANISH):
        said = explain(rule, decided, row, period, event_day=event_day, language=language)
        assert said.decision == DECISIONS[decided["decision"]]
        assert said.amount_minor == decided["amount_minor"]
        assert said.amount == language.money(decided["amount_minor"], rule.currency)
        written = letter(said, language)
        for step in rule.steps:
            numerator = decided[f"step:{step.id}"]
            value = None if numerator is None else Fraction(numerator, step.denominator)
            (calculated,) = [item for item in said.steps if item.id == step.id]
            assert (None if calculated.exact is None else Fraction(calculated.exact)) == value
            if value is not None and step.term.kind.type == "money":
                assert calculated.value == language.money(value, rule.currency, step.term.kind.per)
            if said.decision == "granted":
                assert calculated.value in written
        assert {fact.name: fact.value for fact in said.facts if fact.type != "date"} == {
            name: value for name, value in assumed(rule, row).items() if name != "born"
        }


@BUILDING
@given(documents(), rows)
def test_what_would_change_a_refusal_changes_it_and_nothing_nearer_does(text, row):
    rule = loaded(text)
    period, event_day = a_period(rule, row), row["event_day"]
    assume(decide(rule, frame(rule, [row]), period).item(0, "decision") == 0)
    by_name = {fact.name: fact for fact in rule.facts}
    for remedy in remedies(rule, row, period, event_day=event_day):
        again = decide(rule, frame(rule, [{**row, remedy.fact: remedy.value}]), period).row(0, named=True)
        assert (again["decision"], again["amount_minor"]) == (GRANTED, remedy.amount_minor)
        if by_name[remedy.fact].type in ("yes_no", "text"):
            continue
        now = assumed(rule, row)[remedy.fact]
        nearer = remedy.value + (1 if now > remedy.value else -1)
        before = decide(rule, frame(rule, [{**row, remedy.fact: nearer}]), period).row(0, named=True)
        assert before["decision"] != GRANTED or before["amount_minor"] == 0 < remedy.amount_minor


@BUILDING
@given(documents(), rows)
def test_no_choice_that_alone_would_change_a_refusal_is_left_out(text, row):
    rule = loaded(text)
    period = a_period(rule, row)
    assume(decide(rule, frame(rule, [row]), period).item(0, "decision") == 0)
    found = {remedy.fact for remedy in remedies(rule, row, period, event_day=row["event_day"])}
    for name, values in {"resident": (True, False), "alive": (True, False), "kind": ("one", "two", "three")}.items():
        others = [value for value in values if row[name] is not None and value != row[name]]
        granted = [decide(rule, frame(rule, [{**row, name: value}]), period).item(0, "decision") == GRANTED for value in others]
        assert any(granted) == (name in found)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(test_rule_members.documents(), test_rule_members.households)
def test_every_decision_on_a_household_can_be_told(text, household):
    rule, period = load_rule(text, test_rule_members.CATALOGUE), parse_period("2023")
    table, people = test_rule_members.frames(rule, [household])
    made = with_aggregates(rule, table, people, period)
    facts, decided = made.row(0, named=True), decide(rule, made, period).row(0, named=True)
    for language in (ENGLISH, DANISH):
        said = explain(rule, decided, facts, period, event_day=household["event_day"], language=language)
        assert said.headline in letter(said, language)
        assert {fact.name: fact.value for fact in said.facts if fact.type != "date"} == {
            fact.name: assumed(rule, facts)[fact.name] for fact in rule.facts if fact.type != "date"
        }
        for change in said.changes:
            again = decide(rule, made.with_columns(pl.lit(change.value, made.schema[change.fact]).alias(change.fact)), period).row(0, named=True)
            several = sum(fact.aggregate is not None for fact in rule.facts) > 1
            of_members = next(fact for fact in rule.facts if fact.name == change.fact).aggregate is not None
            assert (again["decision"], change.amount_minor) == (GRANTED, None if several and of_members else again["amount_minor"])


@pytest.mark.parametrize("path", sorted((ROOT / "benefits").rglob("*.yaml")), ids=lambda path: path.parent.name)
def test_every_condition_fact_parameter_and_step_of_a_shipped_rule_has_its_words_in_both_languages(path: Path):
    rule = load_rule(path.read_text(encoding="utf-8"), REGISTRIES.catalogue)
    named = [*(fact.name for fact in rule.facts), *rule.parameters, *(step.id for step in rule.steps)]
    conditions = [*rule.conditions, *rule.exclusions]
    for language in ("en", "da"):
        assert has_language(rule.title, language)
        assert [name for name in named if not has_language(rule.titles.get(name, {}), language)] == []
        assert [item.id for item in conditions for words in (item.title, item.held_words, item.not_held_words) if not has_language(words, language)] == []
    assert [value for fact in rule.facts for value in fact.one_of if fact.words and value not in fact.words] == []


# What is told of a decision.


def test_a_decision_is_told_in_danish_with_the_law_the_steps_and_the_figures():
    text = letter(told(CHILD, {"age": 8, "resident": True, "income": 87_000_000}, QUARTER, DANISH), DANISH)
    assert text.splitlines()[0] == "Børne- og ungeydelse, 1. kvartal 2022: bevilget 2.688,50 kr. til p-1."
    assert "  + p-1 er 8 år og dermed under 15 år. (Børne- og ungeydelsesloven § 1)\n" in text
    assert "  + p-1 er registreret med bopæl i Danmark den 1. januar 2022. (Børne- og ungeydelsesloven § 1)\n" in text
    assert "  Nedsættelse for indkomst: 209,50 kr. = nedsættelsesprocent af den del af forælderens indkomst, der er over indkomstgrænse, " in text
    assert "      med forælderens indkomst 870.000,00 kr. om året; indkomstgrænse 828.100,00 kr. om året; nedsættelsesprocent 2 %\n" in text


def test_a_refusal_names_the_nearest_amount_at_which_it_would_be_granted():
    facts = {"personal_income": 66_000_000, "net_capital_income": -2_000_000, "listed_heating": True}
    said = told(CHEQUE, facts)
    assert [(change.fact, change.value, change.amount_minor) for change in said.changes] == [("personal_income", 65_000_000, 600_000)]
    assert said.changes[0].text == "Personal income: 650,000.00 DKK per year instead of 660,000.00 DKK per year. Then 6,000.00 DKK would be granted."
    assert told(CHEQUE, {**facts, "listed_heating": False}).changes == ()
    assert "No single fact was found that would change the decision alone." in letter(told(CHEQUE, {**facts, "listed_heating": False}))


def test_a_change_that_pays_goes_before_one_that_is_nearer_and_pays_nothing():
    text = CHEQUE.text.replace("is: cheque,", "is: positive(cheque - personal_income),").replace("per: year, ", "").split("tests:")[0]
    rule = load_rule(text.replace("from: {2022-04-01: 650_000}", "from: {2022-04-01: 8_000}"), REGISTRIES.catalogue)
    (change,) = told(rule, {"personal_income": 900_000, "net_capital_income": 0, "listed_heating": True}).changes
    assert (change.fact, change.value, change.amount_minor) == ("personal_income", 599_999, 1)


def test_a_grant_of_nothing_is_told_as_granted():
    said = told(EIP1, {**SINGLE, "income": 9_900_000})
    assert (said.decision, said.amount_minor) == ("granted", 0)
    assert said.headline == (
        "Economic Impact Payment, first round: granted 0.00 USD for p-1. Every condition is met, and the calculation leaves nothing to pay."
    )


def test_every_fact_has_its_registry_event_status_and_days_and_a_provisional_one_is_named_so():
    known = Known(4, "tax-7", "dk-tax", "registry.dk_tax.assessment.v1", 0, 18_993, 19_358, "preliminary", {"dk_tax.income": 87_000_000})
    person = Known(2, "person-1", "residency", "registry.residency.person.v1", 0, FIRST_DAY, LAST_DAY, "final", {"residency.resident": True})
    events = {"income": "tax-7", "age": "person-1", "resident": "person-1"}
    for language in (ENGLISH, DANISH):
        sources = sources_of(CHILD, REGISTRIES, language, events, (known, person))
        said = told(CHILD, {"age": 8, "resident": True, "income": 87_000_000}, QUARTER, language, sources)
        assert [fact.provisional for fact in said.facts] == [False, False, True]
        lines = letter(said, language).splitlines()
        if language is ENGLISH:
            assert (
                "  Income of the guardian: 870,000.00 DKK per year. Income tax assessments of Denmark: event tax-7, no. 4, "
                "provisional (preliminary), valid from 1 January 2022 to 31 December 2022."
            ) in lines
            assert "  Age of the child: 8. Residents, births and deaths: event person-1, no. 2, final, valid at all times." in lines
        else:
            assert (
                "  Forælderens indkomst: 870.000,00 kr. om året. Skatteforvaltningens årsopgørelser: hændelse tax-7, nr. 4, "
                "foreløbig, gælder fra 1. januar 2022 til 31. december 2022."
            ) in lines


@pytest.mark.parametrize(
    ("event", "why", "sentence"),
    [
        ({}, "not_told", "Personal income is not known. It can be told by: Incomes and heating of Danish households."),
        (
            {"event": "e-1", "status": "preliminary"},
            "not_accepted",
            "Personal income is known only provisionally, and here it counts only when it is final. It can",
        ),
        (
            {"event": "e-1", "status": "final", "disputed": True},
            "disputed",
            "Personal income is not known: the registry said two different things under one id.",
        ),
        ({"event": "e-1", "status": "final"}, "not_usable", "Personal income is not known: what the registry told does not count here."),
    ],
)
def test_what_is_unknown_says_why_and_who_could_tell(event, why, sentence):
    source = Source("dk-households", "Incomes and heating of Danish households", **event)
    said = told(CHEQUE, {"net_capital_income": 0, "listed_heating": True}, sources={"personal_income": source})
    assert said.missing == ("personal_income",)
    (missing,) = said.unknown
    assert (missing.why, missing.registry) == (why, "dk-households")
    assert missing.text.startswith(sentence)


def test_a_fact_that_is_assumed_is_told_so():
    rule = load_rule((ROOT / "benefits/dk-one-time-2000/2022-09-13.yaml").read_text(), REGISTRIES.catalogue)
    said = told(rule, {"alive": True}, language=DANISH)
    assert [change.fact for change in said.changes] == ["disability_pension", "senior_pension", "early_pension", "early_retirement", "flexi_benefit"]
    assert {fact.name: fact.assumed for fact in said.facts}["flexi_benefit"]
    text = letter(said, DANISH)
    assert (
        "  Hver af disse 5 oplysninger alene ville ændre afgørelsen:\n    Førtidspension: ja i stedet for nej. Så ville 2.000,00 kr. blive bevilget.\n" in text
    )
    assert "  Fleksydelse: nej (antaget, fordi ingen har oplyst det).\n" in text


def test_the_members_of_a_household_are_told_by_the_registry_that_knows_them():
    rule = load_rule((ROOT / "benefits/jp-fixed-sum-2020/2020-04-30.yaml").read_text(), REGISTRIES.catalogue)
    said = told(rule, {"residents": None}, sources=sources_of(rule, REGISTRIES, ENGLISH))
    assert said.unknown[0].text == "Residents registered on 27 April 2020 is not known. It can be told by: Residents, births and deaths."
    (change,) = told(rule, {"residents": 0}).changes
    assert (change.value, change.amount_minor) == (1, 100_000)


@pytest.mark.parametrize(
    ("expression", "english", "danish"),
    [
        ("age < 15 and resident", "age < 15 and resident", "alder < 15 og resident"),
        ("min(a, b * 2, 3)", "the lowest of a, (b × 2) and 3", "det laveste af a, (b × 2) og 3"),
        ("kind in ['one_way', 'two']", "kind is one way or two", "kind er one way eller two"),
        ("a if not b else spread(c, 12)", "a if not b, otherwise c ÷ 12", "a, hvis ikke b, ellers c ÷ 12"),
        ("(a + b) * rate - 1_000.5", "(a + b) × rate − 1,000.5", "(a + b) × rate − 1.000,5"),
        ("a - (b - c)", "a − (b − c)", "a − (b − c)"),
        ("years(born, date('2022-01-31')) >= 65", "(the full years from born to 31 January 2022) ≥ 65", "(de hele år fra born til 31. januar 2022) ≥ 65"),
        (
            "positive(a) + started_steps(a, b)",
            "(a, but at least 0) + (the number of started steps of b in a)",
            "(a, dog mindst 0) + (antallet af påbegyndte trin på b i a)",
        ),
        ("a * b / c + d * (e + f)", "a × b ÷ c + d × (e + f)", "a × b ÷ c + d × (e + f)"),
        ("period.start < born", "the first day of the period < born", "periodens første dag < born"),
    ],
)
def test_an_expression_is_said_in_words(expression, english, danish):
    for language, expected in ((ENGLISH, english), (DANISH, danish)):
        titles = {"age": "alder"} if language is DANISH else {}
        assert Phrases(language, lambda name, titles=titles: titles.get(name, name), lambda text: text.replace("_", " ")).expression(expression) == expected


def test_a_condition_without_a_sentence_in_the_language_is_told_by_its_title_or_its_expression():
    text = CHILD.text.replace('    held: {en: "{subject} is {age} years old and so under 15.", da: "{subject} er {age} år og dermed under 15 år."}\n', "")
    rule = load_rule(text.split("tests:")[0], REGISTRIES.catalogue)
    assert told(rule, {"age": 8, "resident": True, "income": 0}, QUARTER, DANISH).reasons[0].text == "Under 15 år: ja."
    untitled = load_rule(rule.text.replace('    title: {en: "under 15 years", da: "under 15 år"}\n', ""), REGISTRIES.catalogue)
    assert told(untitled, {"age": 8, "resident": True, "income": 0}, QUARTER, DANISH).reasons[0].text == "Barnets alder < 15: ja."
    assert told(untitled, {"age": None, "resident": True, "income": 0}, QUARTER, DANISH).reasons[0].text == "Barnets alder < 15: ikke oplyst."
