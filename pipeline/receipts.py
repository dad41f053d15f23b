"""Messages between the lanes and the bank: released orders out, the channel's answers back, each keyed by its subject."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .orders import PASSED, Step
from .problems import Malformed, Problem

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class Money(msgspec.Struct, frozen=True, gc=False):
    """An amount in minor units of a currency."""

    minor: int
    currency: str


class ReleasedOrder(msgspec.Struct, frozen=True, gc=False):
    """A message of `payment.orders`: an order that may leave, with the account it goes to.

    `release_seq` is gapless per shard: whoever has handled n ignores what comes again with n or less. Where shards were divided it goes on
    with a higher number. `account` is the text form of `pipeline.accounts`.
    """

    release_seq: int
    order: str
    attempt: int
    subject: str
    benefit: str
    period: str
    sequence: int
    amount: Money
    account: str


class Answer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A message of `payment.receipts`: what a channel did with one attempt of an order.

    `id` names the answer (the same answer read twice has the same id), `reason` is an ISO 20022 external code or empty,
    `cause` the message of the bank that said it.
    """

    id: str
    subject: str
    benefit: str
    period: str
    sequence: Count
    attempt: Count
    step: Step
    reason: str = ""
    cause: str = ""


_encode = msgspec.json.Encoder().encode
_orders = msgspec.json.Decoder(ReleasedOrder)
_answers = msgspec.json.Decoder(Answer)


def encode(message: ReleasedOrder | Answer) -> bytes:
    """A message as JSON."""
    return _encode(message)


def decode_released(data: bytes) -> ReleasedOrder:
    """A released order; Malformed where it is none."""
    try:
        return _orders.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed([Problem("", f"not a released order: {error}")]) from None


def decode_answer(data: bytes) -> Answer:
    """A channel's answer; Malformed where it is none. Some steps are our own, and no channel can take them."""
    try:
        answer = _answers.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed([Problem("", f"not an answer of a channel: {error}")]) from None
    problems = []
    if answer.step not in PASSED:
        problems.append(Problem("step", f"{answer.step.value} is no answer of a channel", f"Answers are {', '.join(PASSED)}."))
    if b"\\u0000" in data:
        texts = {name: value for name, value in msgspec.structs.asdict(answer).items() if isinstance(value, str)}
        problems += [Problem(name, f"{value!r} holds a NUL character", "Send visible characters.") for name, value in texts.items() if "\0" in value]
    if problems:
        raise Malformed(problems)
    return answer
