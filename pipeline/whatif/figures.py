"""The sums of a comparison as figures: tallies of changes and bands, groups, and the conditions that flipped."""

from __future__ import annotations

from pipeline.rules import GRANTED, Condition, Rule, outcomes
from pipeline.texts import in_language

from .groups import Grouping, folded
from .result import BANDS, CHANGES, Cause, Dimension, Group, Tally

CODES, ALL_CODES = 8, 64
"""A row's code is its change times `CODES` and its band; all codes are below `ALL_CODES`."""

Sums = dict[tuple[object, ...], list[int]]
"""By key: people, active_minor, candidate_minor."""


def tally_of(codes: dict[object, list[int]]) -> Tally:
    """How many each change and each band meets, of the sums by code."""
    counts = dict.fromkeys((*CHANGES, *BANDS), 0)
    total = [0, 0, 0]
    for code, held in codes.items():
        change, band = divmod(int(str(code)), CODES)
        counts[CHANGES[change]] += held[0]
        if band < len(BANDS):
            counts[BANDS[band]] += held[0]
        total = [before + more for before, more in zip(total, held, strict=True)]
    return Tally(people=total[0], active_minor=total[1], candidate_minor=total[2], **counts)


def dimension_of(grouping: Grouping, sums: Sums) -> Dimension:
    """The groups in their order, of the sums by group and code."""
    by_group: dict[object, dict[object, list[int]]] = {}
    for (group, code), held in sums.items():
        by_group.setdefault(group, {})[code] = held
    ordered = sorted(by_group, key=grouping.order)  # type: ignore[arg-type]
    sizes = [(grouping.label(group), sum(held[0] for held in by_group[group].values())) for group in ordered]  # type: ignore[arg-type]
    names, merged = folded(sizes), dict[str, dict[object, list[int]]]()
    for group, (label, _) in zip(ordered, sizes, strict=True):
        codes = merged.setdefault(names[label], {})
        for code, held in by_group[group].items():
            codes[code] = [before + more for before, more in zip(codes.get(code, [0, 0, 0]), held, strict=True)]
    groups = tuple(Group(label=label, tally=tally_of(codes)) for label, codes in merged.items())
    return Dimension(name=grouping.name, title=grouping.title, kind=grouping.kind, groups=groups)


def causes_of(rule: Rule, sums: Sums, minor: int, nothing: str) -> tuple[Cause, ...]:
    """The first condition that each group fails, by how many people it concerns; `minor` picks the money that counts."""
    found: dict[str, list[int]] = {}
    for (decision, bits), held in sums.items():
        failing = "amount" if decision == GRANTED else _first_failing(rule, int(str(bits)))
        total = found.setdefault(failing, [0, 0])
        total[0] += held[0]
        total[1] += held[minor]
    items = {item.id: item for item in (*rule.conditions, *rule.exclusions)}
    causes = []
    for name, (people, amount) in found.items():
        item = items.get(name)
        law = rule.law[item.law].cite if item is not None and item.law else ""
        text = nothing if item is None else _words(item, item in rule.conditions)
        causes.append(Cause(id=name, text=text, law=law, people=people, amount_minor=amount))
    return tuple(sorted(causes, key=lambda cause: (-cause.people, cause.id)))


def _first_failing(rule: Rule, bits: int) -> str:
    conditions = {item.id for item in rule.conditions}
    return next(item.id for item, state in outcomes(rule, bits) if state == ("no" if item.id in conditions else "yes"))


def _words(item: Condition, must_hold: bool) -> str:
    """How a condition failed: what people call it, and what it says."""
    title, said = in_language(item.title), f"not {item.text}" if must_hold else item.text
    return f"{title} ({said})" if title else said
