"""Expressions and blocks of a rule in words: what a document calculates, said with the titles that people know."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction

from pipeline.facts import day
from pipeline.texts import Language, message

from . import document
from .values import is_number, read_number

Title = Callable[[str], str]

_SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "−", ast.Mult: "×", ast.Div: "÷", ast.Eq: "=", ast.NotEq: "≠", ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥",
}  # fmt: skip
_TIGHT = (ast.Name, ast.Attribute, ast.Constant)
_DAYS = {
    "period.start": message("the first day of the period"), "period.end": message("the last day of the period"),
    "payment.date": message("the day of payment"), "event.date": message("the day of the event"),
}  # fmt: skip
_CALLS = {
    "min": message("the lowest of {all}"), "max": message("the highest of {all}"), "abs": message("{one} without its sign"),
    "positive": message("{one}, but at least 0"), "spread": message("{one} ÷ {two}"), "per_year": message("{one} per year"),
    "per_quarter": message("{one} per quarter"), "per_month": message("{one} per month"),
    "full_steps": message("the number of full steps of {two} in {one}"), "started_steps": message("the number of started steps of {two} in {one}"),
    "years": message("the full years from {one} to {two}"), "full_months": message("the full months from {one} to {two}"),
    "birthday": message("the day on which somebody born on {one} is {two}"),
    "days": message("the days from {one} to {two}"), "year": message("the year of {one}"),
}  # fmt: skip
_ROUNDED = {
    "half_up": message("rounded to {to}, a half away from zero"), "up": message("rounded to {to}, away from zero"),
    "down": message("rounded to {to}, towards zero"),
}  # fmt: skip


class Phrases:
    """Says the expressions of one rule in one language; `title` gives the title of a name, `choice` what people call a text."""

    def __init__(self, language: Language, title: Title, choice: Title) -> None:
        self.language, self.title, self.choice = language, title, choice

    def expression(self, text: str) -> str:
        """An expression, or a written number."""
        if is_number(text.strip()):
            return self.language.number(read_number(text.strip()))
        try:
            return self._say(ast.parse(text.strip(), mode="eval").body)
        except SyntaxError:
            return text.strip()

    def step(self, step: document.Step) -> str:
        """A step: how it is calculated, then its floor, cap and rounding."""
        parts = [self._block(step)]
        if step.floor is not None:
            parts.append(self.language.tell("at least {limit}", limit=self.expression(step.floor)))
        if step.cap is not None:
            parts.append(self.language.tell("at most {limit}", limit=self.expression(step.cap)))
        if step.round is not None:
            parts.append(self.language.tell(_ROUNDED[step.round.mode], to=self.expression(step.round.to)))
        return ", ".join(parts)

    def row(self, step: document.Step, number: int) -> str:
        """For whom a row of a table holds."""
        assert step.table is not None
        cells = [self._cell(name, listed) for name, listed in step.table.rows[number].when.items()]
        return self.language.listed(cells) if cells else self.language.tell("everybody")

    def _block(self, step: document.Step) -> str:
        if step.is_ is not None:
            return self.expression(step.is_)
        if step.taper is not None:
            return self._taper(step.taper)
        if step.scale is not None:
            brackets = [
                self.language.tell("{rate} of the part above {limit}", rate=self._rate(one.rate), limit=self.expression(one.above))
                for one in step.scale.brackets
            ]
            return self.language.tell("of {income}: {brackets}, each up to the next", income=self.expression(step.scale.of), brackets="; ".join(brackets))
        if step.table is not None:
            names = dict.fromkeys(name for row in step.table.rows for name in row.when)
            if not names:
                return self.language.tell("an amount that is the same for everybody")
            return self.language.tell("by a table of {names}", names=self.language.listed(self.title(name) for name in names))
        if step.spread is not None:
            whole = self.expression(step.spread.of)
            if step.spread.remainder == "first":
                return self.language.tell("{amount} in equal parts, what they leave is in the first", amount=whole)
            return self.language.tell("{amount} in equal parts, what they leave is in the last", amount=whole)
        return step.id

    def _taper(self, taper: document.Taper) -> str:
        of, above = self.expression(taper.of), self.expression(taper.above or "0")
        if taper.from_ is not None:
            start, end = self.expression(taper.from_), self.expression(taper.until or "0")
            text = self.language.tell(
                "the share of {amount} that {income} has passed from {start} to {end}", amount=self.expression(taper.take or "0"),
                income=of, start=start, end=end,
            )  # fmt: skip
        elif taper.each is not None:
            size = self.expression(taper.each.size)
            amount = self.expression(taper.take) if taper.take else self.language.tell("{rate} of the step", rate=self._rate(taper.rate or "0"))
            values = {"amount": amount, "size": size, "income": of, "limit": above}
            if taper.each.count == "started":
                text = self.language.tell("{amount} for each started {size} of {income} above {limit}", **values)
            else:
                text = self.language.tell("{amount} for each full {size} of {income} above {limit}", **values)
        else:
            text = self.language.tell("{rate} of the part of {income} above {limit}", rate=self._rate(taper.rate or "0"), income=of, limit=above)
        return self.language.tell("{amount}, in {parts} equal parts", amount=text, parts=self.language.number(taper.spread)) if taper.spread else text

    def _rate(self, text: str) -> str:
        written = text.strip().removesuffix("%").strip()
        if text.strip().endswith("%") and is_number(written):
            return self.language.percent(read_number(written) / 100)
        return self.expression(text)

    def _cell(self, name: str, listed: str | list[str]) -> str:
        keys = [self._key(key) for key in (listed if isinstance(listed, list) else [listed])]
        return f"{self.title(name)} {self.language.listed(keys, 'or')}"

    def _key(self, text: str) -> str:
        low, dots, high = text.partition("..")
        dashed = re.fullmatch(r"\s*(\d[\d_.]*)\s*-\s*(\d[\d_.]*)\s*", text, re.ASCII) if not dots else None
        if dashed:
            low, dots, high = dashed[1], "..", dashed[2]
        if not dots:
            return self.language.yes_no(text in ("yes", "true")) if text in ("yes", "no", "true", "false") else self._end(text)
        below, high = high.startswith("<"), high.removeprefix("<")
        if not low.strip():
            return self.language.tell("under {limit}", limit=self._end(high)) if below else self.language.tell("up to {limit}", limit=self._end(high))
        if not high.strip():
            return self.language.tell("{limit} or more", limit=self._end(low))
        if below:
            return self.language.tell("from {low} to under {high}", low=self._end(low), high=self._end(high))
        return self.language.tell("from {low} to {high}", low=self._end(low), high=self._end(high))

    def _end(self, text: str) -> str:
        text = text.strip()
        if is_number(text):
            return self.language.number(read_number(text))
        return self._day(text) or self.choice(text)

    def _day(self, text: str) -> str:
        try:
            return self.language.day(day(date.fromisoformat(text)))
        except ValueError:
            return ""

    def _say(self, node: ast.expr) -> str:
        say: Mapping[type[ast.expr], Callable[..., str]] = {
            ast.Name: lambda name: self.title(name.id), ast.Attribute: self._attribute, ast.Constant: self._constant, ast.BinOp: self._operation,
            ast.UnaryOp: self._sign, ast.BoolOp: self._logic, ast.Compare: self._comparison, ast.IfExp: self._choice, ast.Call: self._call,
        }  # fmt: skip
        known = say.get(type(node))
        return known(node) if known else ast.unparse(node)

    def _tight(self, node: ast.expr) -> str:
        text = self._say(node)
        tight = isinstance(node, _TIGHT) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "date")
        return text if tight else f"({text})"

    def _attribute(self, node: ast.Attribute) -> str:
        text = ast.unparse(node)
        return self.language.tell(_DAYS[text]) if text in _DAYS else text

    def _constant(self, node: ast.Constant) -> str:
        if isinstance(node.value, str):
            return self.choice(node.value)
        return self.language.number(Fraction(str(node.value)))

    def _operation(self, node: ast.BinOp) -> str:
        weak = isinstance(node.op, ast.Add | ast.Sub)
        product = isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Mult | ast.Div)
        left = self._say(node.left) if isinstance(node.left, ast.BinOp) and (weak or product) else self._tight(node.left)
        strong = isinstance(node.right, ast.BinOp) and isinstance(node.right.op, ast.Mult | ast.Div)
        right = self._say(node.right) if isinstance(node.right, ast.BinOp) and weak and (strong or isinstance(node.op, ast.Add)) else self._tight(node.right)
        return f"{left} {_SIGNS.get(type(node.op), '?')} {right}"

    def _sign(self, node: ast.UnaryOp) -> str:
        if isinstance(node.op, ast.Not):
            return self.language.tell("not {condition}", condition=self._tight(node.operand))
        return f"−{self._tight(node.operand)}"

    def _logic(self, node: ast.BoolOp) -> str:
        parts = [self._say(value) if not isinstance(value, ast.BoolOp | ast.IfExp) else f"({self._say(value)})" for value in node.values]
        return self.language.listed(parts, "standard" if isinstance(node.op, ast.And) else "or")

    def _comparison(self, node: ast.Compare) -> str:
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn) and isinstance(node.comparators[0], ast.List | ast.Tuple):
            items = self.language.listed((self._say(item) for item in node.comparators[0].elts), "or")
            if isinstance(node.ops[0], ast.In):
                return self.language.tell("{one} is {items}", one=self._tight(node.left), items=items)
            return self.language.tell("{one} is not {items}", one=self._tight(node.left), items=items)
        parts = [self._tight(node.left)]
        for op, right in zip(node.ops, node.comparators, strict=True):
            parts += [_SIGNS.get(type(op), ast.unparse(node)), self._tight(right)]
        return " ".join(parts)

    def _choice(self, node: ast.IfExp) -> str:
        return self.language.tell(
            "{one} if {condition}, otherwise {other}", one=self._say(node.body), condition=self._say(node.test), other=self._say(node.orelse)
        )

    def _call(self, node: ast.Call) -> str:
        name, args = ast.unparse(node.func), node.args
        if name == "date" and args and isinstance(args[0], ast.Constant):
            return self._day(str(args[0].value)) or str(args[0].value)
        if name not in _CALLS or not args:
            return f"{self.title(name)}({', '.join(self._say(arg) for arg in args)})"
        listed = self.language.listed(self._tight(arg) for arg in args)
        return self.language.tell(_CALLS[name], all=listed, one=self._tight(args[0]), two=self._tight(args[-1]))
