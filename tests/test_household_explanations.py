"""Households explained on the real store: what was decided, and each member with the facts that were counted and who told them."""

from __future__ import annotations

from typing import Any

from story import Story, Tale, tale
from test_households import JAPAN, family, lives, owns, told

from connectors.languages import load_language
from connectors.store.queries import queries_of
from pipeline.texts import ENGLISH
from streams.case import case_document
from streams.settings import SHIPPED

__all__ = ["tale"]

DANISH = load_language("da", SHIPPED / "locales")


def case_of(story: Story, subject: str, language: Any = ENGLISH) -> dict[str, Any]:
    with queries_of(story.installation.store) as queries:
        return case_document(queries, story.installation.registries, queries.case(subject), language=language)


def test_a_household_is_explained_with_its_members_and_the_events_that_told_of_them(tale: Tale) -> None:
    story = tale(shards=3, rules=(JAPAN,))
    told(story, family("jp-ito", 2), lives("jp-ito-old", "jp-ito", death_date="2020-02-01"))
    (decision,) = case_of(story, "jp-ito")["decisions"]
    explanation = decision["explanation"]
    assert (explanation["decision"], explanation["amount_minor"]) == ("granted", 200_000)
    alive = {member["member"]: {fact["name"]: fact["value"] for fact in member["facts"]}["alive"] for member in explanation["members"]}
    assert alive == {"jp-ito-0": True, "jp-ito-1": True, "jp-ito-old": False}
    assert {fact["source"]["event"] for member in explanation["members"] for fact in member["facts"] if fact["name"] == "registered"} == {
        "home-jp-ito-0-1", "home-jp-ito-1-1", "home-jp-ito-old-1",
    }  # fmt: skip
    text = decision["text"]
    assert (
        "\nMembers:\n  jp-ito-0:\n    Registered: yes. Residents, births and deaths: event home-jp-ito-0-1, no. 1, final, valid from 1 January 2010.\n" in text
    )
    assert "Registered in jp-ito on 27 April 2020: 2." in text


def test_a_household_that_waits_for_a_head_is_told_why_in_danish(tale: Tale) -> None:
    story = tale(shards=2, rules=(JAPAN,))
    told(story, lives("jp-kato-0", "jp-kato"), owns("jp-kato-0"))
    case = case_of(story, "jp-kato", DANISH)
    assert "bevilget 100.000 JP¥ til jp-kato." in case["decisions"][0]["text"]
    assert "  Beboere registreret den 27. april 2020: 1. Folkeregistret.\n" in case["decisions"][0]["text"]
    (order,) = case["orders"]
    assert order["state"] == "held"
    assert "Ingen, eller mere end én person, er registreret som husstandens overhoved" in order["hold"]["text"]


def test_a_household_without_anybody_is_refused_and_one_more_resident_would_change_it(tale: Tale) -> None:
    story = tale(shards=2, rules=(JAPAN,))
    told(story, lives("jp-abe-0", "jp-abe", "head", resident=False))
    explanation = case_of(story, "jp-abe")["decisions"][0]["explanation"]
    assert explanation["decision"] == "refused"
    assert [(change["fact"], change["value"], change["amount_minor"]) for change in explanation["changes"]] == [("residents", 1, 100_000)]
