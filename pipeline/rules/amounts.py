"""The shape of an amount in a rule document: its steps, and the blocks that they are made of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .scalars import Name, Per, Scalar, Whole, Words


class _Part(BaseModel):
    """A part of a rule document. What its keys mean stands below each, where `descriptions` finds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Each(_Part):
    """The steps in which an excess counts."""

    size: Scalar
    """How much one step is: an amount, or a parameter."""
    count: Literal["started", "full"]
    """Whether a step counts when it is started or when it is full."""


class Taper(_Part):
    """What an income takes off: a rate of the part above a limit, an amount for each step of it, or an amount over a range."""

    of: Scalar
    """The income that is looked at: an expression."""
    above: Scalar | None = None
    """The limit above which it counts: an amount, or an expression."""
    rate: Scalar | None = None
    """The share of the part above the limit: 5 %, or an expression."""
    each: Each | None = None
    """Counts the part above the limit in whole steps."""
    from_: Scalar | None = Field(alias="from", default=None)
    """The income up to which nothing is taken: an amount, or a parameter."""
    until: Scalar | None = None
    """The income from which all of `take` is taken: an amount, or a parameter."""
    take: Scalar | None = None
    """What each step takes, or what is taken at the end of the range: an amount, or an expression."""
    spread: Whole | None = None
    """Over how many payments it is taken."""


class Bracket(_Part):
    """A bracket of a scale: the part of the income above its limit, up to the next bracket."""

    above: Scalar
    """Where the bracket begins: an amount, or a parameter."""
    rate: Scalar
    """The share of the part in the bracket: 5 %, or an expression."""


class Scale(_Part):
    """A marginal scale: each bracket's rate on the part of the income in it."""

    of: Scalar
    """The income that is looked at: an expression."""
    brackets: list[Bracket] = Field(min_length=1, max_length=32)
    """From the lowest to the highest."""


class Row(_Part):
    """A row of a table: for whom it holds, and what it gives."""

    when: dict[Name, Scalar | list[Scalar]] = {}
    """Of each fact or earlier step its values: 3, 0-2, 0..<10_000, 15.., a text, yes, no, or a list of them. Who is not named does not matter."""
    gives: Scalar
    """A written value of the table's type, or an expression."""
    law: str = ""
    """The place in the law that says so."""


class Table(_Part):
    """Rows with conditions on facts and a value each, without gaps."""

    type: Literal["money", "number", "percent", "ratio"]
    """What the rows give."""
    per: Per | None = None
    """Of money: for how long the amount is."""
    hit: Literal["only_one", "first"]
    """Whether rows may not overlap, or the first that holds counts."""
    rows: list[Row] = Field(min_length=1)
    """From the first to the last; together they cover everybody."""


class Spread(_Part):
    """What one period has of an amount per year or quarter; the parts add up to the whole."""

    of: Scalar
    """The whole: an amount per year or quarter in whole minor units."""
    remainder: Literal["first", "last"]
    """The period of the year or quarter that has what equal parts leave."""
    to: Scalar | None = None
    """The multiple down to which each part is rounded; the smallest unit of the currency where left out."""


class Rounding(_Part):
    """To which multiple, and what becomes of a half: away from zero; `up` is away from zero, `down` towards it."""

    to: Scalar
    """A written amount, such as 0.01 or 1."""
    mode: Literal["half_up", "up", "down"]
    """What becomes of the rest."""


class Step(_Part):
    """One step of the amount: an expression or one of the blocks, then floor, cap and round, in this order."""

    id: Name
    """A name for its value, which later steps, conditions and tests may use."""
    title: Words = {}
    """What people call it, by language; the id with blanks if left out."""
    is_: Scalar | None = Field(alias="is", default=None)
    """An expression."""
    taper: Taper | None = None
    """What an income takes off."""
    table: Table | None = None
    """The value of the row that holds."""
    scale: Scale | None = None
    """A marginal scale over brackets."""
    spread: Spread | None = None
    """The period's part of an amount per year or quarter."""
    floor: Scalar | None = None
    """The least the step can be: an amount, or an expression."""
    cap: Scalar | None = None
    """The most the step can be: an amount, or an expression."""
    round: Rounding | None = None
    """To which multiple it is rounded; nothing is rounded without being told."""
    law: str = ""
    """The place in the law that says so."""


class Amount(_Part):
    """How the amount is calculated, and which step is paid."""

    steps: list[Step] = Field(min_length=1)
    """In the order in which they are calculated."""
    pay: Name
    """The step that is paid."""
