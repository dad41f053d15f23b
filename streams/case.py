"""A person's whole case and an order's whole way as documents: facts with their source, decisions with the law, orders, attempts, answers.

Accounts are masked here, so that nothing further on has to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from connectors.store.dead_letters import DeadLetterStep, letter_name, record_name
from connectors.store.queries import Case, Queries
from connectors.store.sessions import EntitlementRow, OrderRow, StepRow
from connectors.store.tables import DeadLetter
from pipeline.accounts import ASSIGNMENT, account_of, parse_account
from pipeline.decisions import ActiveRule
from pipeline.entitlements import decode_receipt
from pipeline.facts import FIRST_DAY, LAST_DAY, History, Known, Value, day_date, decode_history, disputed_ids, withdrawn_ids
from pipeline.holds import LIFTERS, HoldReason
from pipeline.money import money_text
from pipeline.problems import Malformed
from pipeline.receipts import decode_answer
from pipeline.registry import FactSpec, Registries
from pipeline.rules import explain, letter, load_rule, parse_period
from pipeline.rules.sources import Source, member_sources, sources_of
from pipeline.texts import ENGLISH, Language

Document = dict[str, Any]


def order_document(order: OrderRow) -> Document:
    """An order for people and programs: its account masked, nothing of how it is stored."""
    return {
        "order": order.order, "subject": order.subject, "benefit": order.benefit, "period": order.period, "sequence": order.sequence, "kind": order.kind,
        "state": order.state, "reason": order.reason, "amount_minor": order.amount_minor, "currency": order.currency, "attempt": order.attempt,
        "account": parse_account(order.account).masked() if order.account else "", "created_at": order.created_at,
    }  # fmt: skip


def hold_words(code: str, language: Language = ENGLISH) -> dict[str, str]:
    """The sentence of a hold reason, what lifts it and who can."""
    reason = HoldReason(code)
    return {"sentence": language.tell(reason.sentence), "lifted_by": language.tell(reason.lifted_by), "lifter": reason.lifter}


def hold_document(order: OrderRow, steps: Sequence[StepRow], language: Language = ENGLISH) -> Document:
    """Why a held order has not left, since when, what would release it and who can bring that about."""
    since = next((step.at for step in reversed(_steps_of(order, steps)) if step.after == "held"), order.created_at)
    words = hold_words(order.reason, language)
    who = language.tell(LIFTERS[HoldReason(order.reason).lifter])
    text = language.tell(
        "Held since {since}: {why} The order leaves when this happens: {what} {who}", since=language.instant(since), why=words["sentence"],
        what=words["lifted_by"], who=who,
    )  # fmt: skip
    return {"reason": order.reason, **words, "since": since, "text": text}


def letter_document(letter: DeadLetter, steps: Sequence[DeadLetterStep]) -> Document:
    """A dead letter without its record, and what people did with it."""
    problems = [f"{problem['place']}: {problem['message']} {problem['mend']}".removeprefix(": ").strip() for problem in letter.problems]
    return {
        "id": letter_name(letter), "status": letter.status, "key": letter.record_key.decode(errors="replace"),
        "arrived_at": letter.arrived_at, "problems": problems, "bytes": len(letter.record_value), "resolution": letter.resolution,
        "resolved_at": letter.resolved_at, "steps": [step_document(step) for step in steps],
    }  # fmt: skip


def letter_documents(letters: Sequence[DeadLetter], steps: Sequence[DeadLetterStep]) -> list[Document]:
    """Dead letters with what people did with each."""
    by_letter = _by_letter(steps)
    return [letter_document(letter, by_letter.get(letter_name(letter), ())) for letter in letters]


def _by_letter(steps: Sequence[DeadLetterStep]) -> dict[str, list[DeadLetterStep]]:
    found: dict[str, list[DeadLetterStep]] = {}
    for step in steps:
        found.setdefault(letter_name(step), []).append(step)
    return found


def step_document(step: DeadLetterStep) -> Document:
    """Who did what with a dead letter, when and why, and where the record lies that was put for it."""
    put_at = record_name(step.put_topic, step.put_shard, step.put_offset) if step.step == "put" and step.put_topic else ""
    did = {"replay": "begun to replay", "put": "put into the log again", "close": "closed"}[step.step]
    mended, place = " mended" if step.put_value else "", f", at {put_at}" if put_at else ""
    return {
        "letter": letter_name(step), "step": step.step, "at": step.at, "by": step.person, "because": step.reason,
        "put_at": put_at, "mended": bool(step.put_value), "event": step.put_event, "text": f"{did}{mended} by {step.person}{place}: {step.reason}",
    }  # fmt: skip


def case_document(
    queries: Queries, registries: Registries, case: Case, benefit: str | None = None, period: str | None = None, language: Language = ENGLISH
) -> Document:
    """Everything about a subject, the decisions and orders of one benefit or period only where asked for."""
    history = decode_history(case.history) if case.history is not None else ()

    def wanted(row: EntitlementRow | OrderRow) -> bool:
        return benefit in (None, row.benefit) and period in (None, row.period)

    return {
        "subject": case.subject,
        "shard": case.shard,
        "facts": [{**event, "replay_of": _replay_of(event, case.letter_steps)} for event in facts_document(history, registries)],
        "decisions": [
            decision_document(queries, registries, entitlement, case.subject, history, language) for entitlement in case.entitlements if wanted(entitlement)
        ],
        "orders": [_order(queries, order, case.steps, language) for order in case.orders if wanted(order)],
        "findings": [{"kind": finding.kind, "ident": finding.ident, "found_at": finding.found_at} for finding in case.findings],
        "dead_letters": letter_documents(case.dead_letters, case.letter_steps),
    }


def facts_document(history: History, registries: Registries) -> list[Document]:
    """What each event said, in the order of the registries' sequences: its facts, its days, and whether it still holds."""
    disputed, withdrawn = disputed_ids(history), withdrawn_ids(history)
    return [_event(known, disputed, withdrawn, registries.catalogue) for known in history]


def _replay_of(event: Document, steps: Sequence[DeadLetterStep]) -> str:
    """The dead letter for which an event was put into the log again; empty where it came from its registry."""
    name = f"{event['registry']}/{event['event']}"
    return next((letter_name(step) for step in steps if step.step == "put" and step.put_event == name), "")


def _event(known: Known, disputed: set[tuple[str, str]], withdrawn: set[tuple[str, str]], catalogue: Mapping[str, FactSpec]) -> Document:
    name = known.registry, known.id
    standing = "correction" if known.withdraws else "withdrawn" if name in withdrawn else "disputed" if name in disputed else "holds"
    return {
        "registry": known.registry, "event": known.id, "sequence": known.sequence, "type": known.type,
        "time": datetime.fromtimestamp(known.time_ms / 1000, UTC), "status": known.status, "standing": standing, "withdraws": known.withdraws,
        "valid_from": None if known.valid_from == FIRST_DAY else day_date(known.valid_from).isoformat(),
        "valid_to": None if known.valid_to == LAST_DAY else day_date(known.valid_to).isoformat(),
        "facts": _values(known, catalogue),
    }  # fmt: skip


def _values(known: Known, catalogue: Mapping[str, FactSpec]) -> dict[str, str]:
    if known.type == ASSIGNMENT:
        fields = {name.removeprefix("account."): value for name, value in known.values.items()}
        said = {f"account.{name}": str(fields[name]) for name in ("status", "benefit", "holder") if name in fields}
        return {"account": account_of(fields).masked(), **said}
    return {name: _text(value, catalogue.get(name)) for name, value in sorted(known.values.items())}


def _text(value: Value, spec: FactSpec | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if spec is not None and spec.type == "money":
        return money_text(int(value), spec.currency)
    return day_date(int(value)).isoformat() if spec is not None and spec.type == "date" else str(value)


def decision_document(
    queries: Queries, registries: Registries, entitlement: EntitlementRow, subject: str, history: History, language: Language = ENGLISH
) -> Document:
    """A decision as it stands, explained by the document of its rule as it was stored."""
    receipt = decode_receipt(entitlement.receipt)
    kept = queries.rule_document(entitlement.rule_id)
    document: Document = {
        "benefit": entitlement.benefit, "period": entitlement.period, "currency": entitlement.currency, "owed_minor": entitlement.owed_minor,
        "ordered_minor": entitlement.live_minor, "claim_minor": entitlement.claim_minor, "rule": kept.hash if kept else "", "events": receipt.events,
    }  # fmt: skip
    try:
        rule = load_rule(kept.document if kept else "", registries.catalogue)
    except Malformed as malformed:
        problem = language.tell("The stored rule cannot be read with today's registry documents: {problem}", problem=str(malformed.problems[0]))
        return {**document, "explanation": None, "text": problem, "told_by": {}}
    period = parse_period(entitlement.period)
    active = ActiveRule(rule, period, registries.catalogue)
    row = {
        "decision": entitlement.decision, "amount_minor": entitlement.owed_minor, "missing": receipt.missing, "conditions": receipt.conditions,
        **{f"step:{step.id}": value for step, value in zip(rule.steps, receipt.steps, strict=True)},
    }  # fmt: skip
    facts = {fact.name: value for fact, value in zip(rule.facts, receipt.values, strict=True)}
    event_day = active.event_day(history)
    told_by = {fact.name: receipt.events[index] for fact, index in zip(rule.facts, receipt.told_by, strict=True) if index >= 0}
    sources = sources_of(rule, registries, language, told_by, history)
    members = _members(active, registries, subject, history, event_day, language)
    day = event_day if rule.needs_event_day else None
    explained = explain(rule, row, facts, period, subject, event_day=day, language=language, sources=sources, members=members)  # type: ignore[arg-type]
    return {**document, "explanation": msgspec.to_builtins(explained), "text": letter(explained, language), "told_by": told_by}


def _members(
    active: ActiveRule, registries: Registries, household: str, history: History, event_day: int, language: Language
) -> list[tuple[str, dict[str, Value | None], dict[str, Source]]]:
    """Each member of a household on the day asked, with their facts and where these come from; none where the rule looks at none."""
    read = active.rule.members
    people = active.members.people(household, history, event_day) if active.members is not None else None
    if read is None or people is None:
        return []
    names = [fact.name for fact in read.facts]
    return [(member, dict(zip(names, values, strict=True)), member_sources(active.rule, registries, language, told)) for member, values, told in people]


def _order(queries: Queries, order: OrderRow, steps: Sequence[StepRow], language: Language) -> Document:
    document = order_document(order)
    if order.state == "held":
        document["hold"] = hold_document(order, steps, language)
    document["history"] = [_step(step) for step in _steps_of(order, steps)]
    submission = queries.submission_of(order) if order.release_seq else None
    if submission is not None:
        document["submission"] = {
            "message": submission.message_id, "file": submission.file_name, "created_at": submission.created_at, "execution_on": submission.execution_on
        }  # fmt: skip
    return document


def _steps_of(order: OrderRow, steps: Sequence[StepRow]) -> list[StepRow]:
    return [step for step in steps if (step.benefit_period_id, step.sequence) == (order.benefit_period_id, order.sequence)]


def _step(step: StepRow) -> Document:
    return {
        "at": step.at, "step": step.step, "before": step.before, "after": step.after, "attempt": step.attempt, "reason": step.reason, "cause": step.cause
    }  # fmt: skip


def trace_document(queries: Queries, registries: Registries, order: OrderRow, language: Language = ENGLISH) -> Document:
    """The way of an order: what the registries said, the decision, the order, its attempts and the bank's answers, in time order."""
    case = queries.case(order.subject)
    history = decode_history(case.history) if case.history is not None else ()
    entitlement = next(row for row in case.entitlements if row.benefit_period_id == order.benefit_period_id)
    decision = decision_document(queries, registries, entitlement, order.subject, history, language)
    told = set(decision["events"])
    said = [event for event in facts_document(history, registries) if event["event"] in told or event["type"] == ASSIGNMENT]
    entries = [{"at": event["time"], "what": "event", "who": event["registry"], **_said(event)} for event in said]
    amount = money_text(order.amount_minor, order.currency)
    first = "released" if order.first_state == "released" else "held"
    entries.append({"at": order.created_at, "what": "order", "who": "lane", "text": f"{order.kind} order of {amount}, {first}", "ident": order.order})
    submission = queries.submission_of(order) if order.release_seq else None
    if submission is not None:
        text = f"written to {submission.file_name}, to be executed on {submission.execution_on}"
        entries.append({"at": submission.created_at, "what": "submission", "who": "bank desk", "text": text, "ident": submission.message_id})
    for step in _steps_of(order, case.steps):
        answered = queries.bank_file(step.cause) if step.step not in ("release", "cancel", "send") else None
        reason = f", reason {step.reason}" if step.reason else ""
        file = f", in {answered.file_name}" if answered else ""
        text = f"{step.before} to {step.after}{reason}{file}"
        entries.append({"at": step.at, "what": step.step, "who": "bank" if answered else "lane", "text": text, "ident": step.cause})
    entries += _letters_on_the_way(order, case, {f"{event['registry']}/{event['event']}" for event in said})
    document = order_document(order)
    if order.state == "held":
        document["hold"] = hold_document(order, case.steps, language)
    return {"order": document, "decision": decision, "way": sorted(entries, key=_place)}


def _letters_on_the_way(order: OrderRow, case: Case, said: set[str]) -> list[Document]:
    """The dead letters whose record told of the order's events or was an answer to it, and what people did with them."""
    steps_of = _by_letter(case.letter_steps)
    records = {letter_name(letter): letter for letter in case.dead_letters}
    entries: list[Document] = []
    for name in sorted({*steps_of, *records}):
        steps, letter = steps_of.get(name, []), records.get(name)
        told = any(step.put_event in said for step in steps)
        if not told and not (letter is not None and _answers(order, [letter.record_value, *(step.put_value for step in steps)])):
            continue
        if letter is not None:
            problem = letter_document(letter, ())["problems"][0]
            entries.append({"at": letter.arrived_at, "what": "dead letter", "who": "lane", "text": problem, "ident": name})
        for done in map(step_document, steps):
            if done["step"] != "replay":
                what = "replay" if done["step"] == "put" else "close"
                entries.append({"at": done["at"], "what": what, "who": done["by"], "text": done["text"], "ident": name})
    return entries


def _answers(order: OrderRow, values: Sequence[bytes]) -> bool:
    for value in values:
        try:
            answer = decode_answer(value)
        except Malformed:
            continue
        if (answer.subject, answer.benefit, answer.period, answer.sequence) == (order.subject, order.benefit, order.period, order.sequence):
            return True
    return False


_RANK = {"event": 0, "order": 1, "release": 2, "cancel": 2, "submission": 3, "send": 4}


def _place(entry: Document) -> tuple[datetime, int]:
    """A submission's instant has whole seconds only: within a second the order of the matter decides."""
    return entry["at"].replace(microsecond=0), _RANK.get(entry["what"], 5)


def _said(event: Document) -> Document:
    facts = ", ".join(f"{name} {value}" for name, value in event["facts"].items())
    standing = "" if event["standing"] == "holds" else f" ({event['standing']})"
    return {"text": f"{facts or 'withdraws ' + event['withdraws']}{standing}", "ident": event["event"]}
