"""The page of the documentation about one benefit, made from its document: the law, what is read, the numbers, the way to the amount, the tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.documents import Plain, parse_document
from pipeline.facts import LAST_DAY, day_date

from .rule import Rule

Part = Mapping[str, Any]
Row = tuple[str, ...]


def benefit_page(rule: Rule, path: str) -> str:
    """The page as Markdown; `path` is the document's place in the repository."""
    document = parse_document(rule.text).plain()
    assert isinstance(document, dict)
    last = "" if rule.in_force[1] == LAST_DAY else f" to {day_date(rule.in_force[1])}"
    names = ", ".join(dict.fromkeys(rule.title.values()))
    paid = "once" if rule.period_kind == "once" else f"per {rule.period_kind}"
    head = (
        f"# {rule.title.get('en') or names}\n\n`{rule.benefit}`: {names}. Decided for each {rule.decides_for}, {paid}, in {rule.currency}; in force from "
        f"{day_date(rule.in_force[0])}{last}. This page is written from [{path.rpartition('/')[2]}](../../{path}) (`make docs`).\n"
    )
    return "\n".join([head, *(_section(title, header, list(rows)) for title, header, rows in _sections(document) if rows)])


def index_page(rules: Sequence[Rule]) -> str:
    """The list of the benefits that ship."""
    rows: list[Row] = [
        (f"[{rule.title.get('en') or rule.benefit}]({rule.benefit}.md)", rule.decides_for, rule.period_kind, rule.currency, str(day_date(rule.in_force[0])))
        for rule in rules
    ]
    said = "Each is a document in `benefits/`, with its law, its published figures and its edges as tests. The pages are written from them."
    head = f"# The benefits that ship\n\n{said}\n"
    return head + "\n" + _section("Benefits", ("benefit", "decided for each", "paid", "currency", "in force from"), rows)


def _sections(document: Part) -> Iterator[tuple[str, Row, list[Row]]]:
    law: list[Row] = [(key, _link(place), str(place.get("text", ""))) for key, place in document["law"].items()]
    yield "The law", ("key", "place", "what it says"), law
    yield "What is read", ("fact", "type", "from", "for the day"), _facts(document.get("facts", {}))
    members = document.get("members") or {}
    yield "What is read of each member", ("fact", "type", "from", "for the day"), _facts(members.get("facts", {}))
    made: list[Row] = [(*_named(item), _code(item[1], ("title", "law")), str(item[1].get("law", ""))) for item in document.get("aggregates", {}).items()]
    yield "What is made of the members", ("fact", "how", "law"), made
    yield "The numbers", ("parameter", "from", "value", "law"), list(_parameters(document.get("parameters", {})))
    for key, title in (("eligible_when", "What must hold"), ("excluded_when", "What must not hold")):
        yield title, ("condition", "holds when", "law"), [(f"`{item['id']}`", f"`{item['when']}`", str(item.get("law", ""))) for item in document.get(key, [])]
    steps = document["amount"]["steps"]
    yield "The amount", ("step", "is", "law"), [(f"`{step['id']}`", _code(step, ("id", "title", "law")), str(step.get("law", ""))) for step in steps]
    said = [(key, _code(document[key], ())) for key in ("payment", "limits", "corrections") if document.get(key)]
    yield "How it is paid", ("what", "says"), [("the step that is paid", f"`{document['amount']['pay']}`"), *said]
    yield "Left to people", ("law", "what", "handled"), [(item["law"], item["what"], _words(item["handled"])) for item in document.get("not_encoded", [])]
    tests: list[Row] = [(test["name"], _code(test["given"], ()), _code(test["expect"], ()), str(test.get("source", ""))) for test in document.get("tests", [])]
    yield "Figures and edges, as its tests", ("case", "given", "comes out as", "source"), tests


def _section(title: str, header: Row, rows: list[Row]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in (header, *rows)]
    return "\n".join([f"## {title}\n", lines[0], "|" + "---|" * len(header), *lines[1:], ""])


def _link(place: Part) -> str:
    return f"[{place['cite']}]({place['url']})" if place.get("url") else str(place["cite"])


def _named(item: tuple[str, Part]) -> tuple[str]:
    title = item[1].get("title")
    words = title if isinstance(title, str) else (title or {}).get("en", "")
    return (f"`{item[0]}`" + (f": {words}" if words else ""),)


def _facts(facts: Part) -> list[Row]:
    return [(*_named(item), _words(item[1]["type"]), f"`{item[1]['from']}`", str(item[1].get("year") or item[1].get("at", ""))) for item in facts.items()]


def _parameters(parameters: Part) -> Iterator[Row]:
    for name, parameter in parameters.items():
        by = f", by {', '.join(f'{fact} [{_text(keys)}]' for fact, keys in parameter['by'].items())}" if "by" in parameter else ""
        for start, dated in parameter["from"].items():
            value, own = (dated["value"], dated.get("law")) if isinstance(dated, dict) else (dated, None)
            law = _text(own) if own else str(parameter.get("law", ""))
            yield f"{_named((name, parameter))[0]} ({parameter['type']}{by})", start, _text(value), law


def _words(code: str) -> str:
    return code.replace("_", " ").replace("yes no", "yes or no")


def _code(part: Any, without: tuple[str, ...]) -> str:
    kept = {key: value for key, value in part.items() if key not in without} if isinstance(part, dict) else part
    return f"`{_text(kept)}`" if kept else ""


def _text(part: Plain) -> str:
    if isinstance(part, dict):
        return ", ".join(f"{key}: {f'{{{_text(value)}}}' if isinstance(value, dict) else _listed(value)}" for key, value in part.items())
    return ", ".join(_listed(item) for item in part) if isinstance(part, list) else part


def _listed(part: Plain) -> str:
    if isinstance(part, list):
        return f"[{_text(part)}]"
    return f"{{{_text(part)}}}" if isinstance(part, dict) else part
