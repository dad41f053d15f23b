"""A second reading of a rule document, for the tests only: a tiny interpreter over exact fractions that knows neither Polars nor the compiler."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

Value = Fraction | bool | str | None
EPOCH = date(1970, 1, 1).toordinal()


@dataclass
class Seen:
    """A value, and the unknown facts for which it is unknown."""

    value: Value
    missing: frozenset[str] = frozenset()


@dataclass
class Verdict:
    decision: str
    amount: Fraction
    missing: frozenset[str]
    conditions: dict[str, Value]
    steps: dict[str, Value] = field(default_factory=dict)


def number(text: str) -> Fraction:
    return Fraction(text.replace("_", ""))


def day(text: str) -> Fraction:
    return Fraction(date.fromisoformat(text).toordinal() - EPOCH)


def whole(value: Fraction, mode: str) -> Fraction:
    size, sign = abs(value), (-1 if value < 0 else 1)
    floor = size.numerator // size.denominator
    if mode == "half_up":
        floor += size - floor >= Fraction(1, 2)
    if mode == "up":
        floor += size != floor
    return Fraction(sign * floor)


class Oracle:
    """Decides one subject by one document. Amounts are in minor units; the currency has two decimals."""

    def __init__(self, document: dict) -> None:
        self.document = document

    def literal(self, text: str, kind: str) -> Value:
        if kind == "money":
            return number(text) * 100
        if kind == "percent":
            return number(text) / 100
        if kind == "yes_no":
            return text == "yes"
        if kind == "date":
            return day(text)
        return text if kind == "text" else number(text)

    def decide(self, facts: dict[str, int | bool | str | None], on: int, days: dict[str, int]) -> Verdict:
        self.on, self.days, self.seen = on, days, {}
        for name, fact in self.document["facts"].items():
            self.seen[name] = self.fact(name, fact, facts[name])
        steps: dict[str, Value] = {}
        for step in self.document["amount"]["steps"]:
            self.seen[step["id"]] = self.step(step)
            steps[step["id"]] = self.seen[step["id"]].value
        outcomes = {
            item["id"]: (self.read(item["when"]), wanted)
            for key, wanted in (("eligible_when", True), ("excluded_when", False))
            for item in self.document.get(key, [])
        }
        pay = self.seen[self.document["amount"]["pay"]]
        conditions = {name: seen.value for name, (seen, _) in outcomes.items()}
        if any(seen.value is (not wanted) for seen, wanted in outcomes.values()):
            return Verdict("refused", Fraction(0), frozenset(), conditions, steps)
        if pay.value is not None and all(seen.value is wanted for seen, wanted in outcomes.values()):
            assert isinstance(pay.value, Fraction)
            return Verdict("granted", pay.value, frozenset(), conditions, steps)
        missing = frozenset().union(pay.missing, *(seen.missing for seen, _ in outcomes.values() if seen.value is None))
        return Verdict("undetermined", Fraction(0), missing, conditions, steps)

    def fact(self, name: str, fact: dict, given: int | bool | str | None) -> Seen:
        value: Value = given if isinstance(given, bool | str) or given is None else Fraction(given)
        kind = fact["type"]
        if value is not None and "range" in fact:
            low, high = (self.literal(part, "number" if kind == "percent" else kind) for part in fact["range"].split(".."))
            value = value if low <= value <= high else None
        if value is not None and "one_of" in fact and value not in fact["one_of"]:
            value = None
        if value is None and isinstance(fact.get("if_missing"), dict):
            value = self.literal(fact["if_missing"]["assume"], "number" if kind == "percent" else kind)
        if value is None:
            return Seen(None, frozenset({name}))
        return Seen(value / 100 if kind == "percent" else value)

    def parameter(self, name: str) -> Seen:
        parameter = self.document["parameters"][name]
        start = max(text for text in parameter["from"] if day(text) <= self.on)
        listed = parameter["from"][start]
        if "by" not in parameter:
            return Seen(self.literal(listed, parameter["type"]))
        ((fact, keys),) = parameter["by"].items()
        seen = self.seen[fact]
        if seen.value is None:
            return seen
        for key, text in zip(keys, listed, strict=True):
            low, _, high = key.partition("-")
            if seen.value == key or (isinstance(seen.value, Fraction) and number(low) <= seen.value <= number(high or low)):
                return Seen(self.literal(text, parameter["type"]))
        return Seen(None)

    def step(self, step: dict) -> Seen:
        if "is" in step:
            seen = self.read(step["is"])
        else:
            taper = step["taper"]
            parts = [self.read(taper[key]) for key in ("of", "above", "rate")]
            seen = self.strict(lambda of, above, rate: max(of - above, 0) * rate / number(taper.get("spread", "1")), *parts)
        for key, pick in (("floor", max), ("cap", min)):
            if key in step:
                bound = Seen(number(step[key]) * 100)
                seen = self.strict(pick, seen, bound)
        if "round" in step:
            to = number(step["round"]["to"]) * 100
            seen = self.strict(lambda value: whole(value / to, step["round"]["mode"]) * to, seen)
        return seen

    def strict(self, calculate, *seen: Seen) -> Seen:
        if any(item.value is None for item in seen):
            return Seen(None, frozenset().union(*(item.missing for item in seen)))
        return Seen(calculate(*(item.value for item in seen)))

    def read(self, text: str) -> Seen:
        self.text = text
        return self.node(ast.parse(text.strip(), mode="eval").body)

    def node(self, node: ast.expr) -> Seen:
        if isinstance(node, ast.Name):
            return self.seen[node.id] if node.id in self.seen else self.parameter(node.id)
        if isinstance(node, ast.Attribute):
            return Seen(Fraction(self.days[ast.unparse(node)]))
        if isinstance(node, ast.Constant):
            return Seen(node.value if isinstance(node.value, str) else Fraction(str(node.value)))
        if isinstance(node, ast.BoolOp):
            return self.kleene(isinstance(node.op, ast.Or), [self.node(value) for value in node.values])
        if isinstance(node, ast.UnaryOp):
            return self.strict((lambda value: not value) if isinstance(node.op, ast.Not) else (lambda value: -value), self.node(node.operand))
        if isinstance(node, ast.BinOp):
            operation = {ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b, ast.Div: lambda a, b: a / b}[type(node.op)]
            return self.strict(operation, self.node(node.left), self.node(node.right))
        if isinstance(node, ast.IfExp):
            when = self.node(node.test)
            return when if when.value is None else self.node(node.body if when.value else node.orelse)
        if isinstance(node, ast.Compare):
            return self.comparison(node)
        assert isinstance(node, ast.Call)
        return self.call(ast.unparse(node.func), [self.node(arg) for arg in node.args])

    def kleene(self, decisive: bool, parts: list[Seen]) -> Seen:
        if any(part.value is decisive for part in parts):
            return Seen(decisive)
        unknown = [part for part in parts if part.value is None]
        return Seen(None, frozenset().union(*(part.missing for part in unknown))) if unknown else Seen(not decisive)

    def comparison(self, node: ast.Compare) -> Seen:
        operations = {ast.Eq: lambda a, b: a == b, ast.NotEq: lambda a, b: a != b, ast.Lt: lambda a, b: a < b, ast.LtE: lambda a, b: a <= b,
                      ast.Gt: lambda a, b: a > b, ast.GtE: lambda a, b: a >= b}  # fmt: skip
        left, parts = node.left, []
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                found = self.kleene(True, [self.strict(lambda a, b: a == b, self.node(left), self.node(item)) for item in right.elts])
                parts.append(found if isinstance(op, ast.In) else self.strict(lambda value: not value, found))
            else:
                parts.append(self.strict(operations[type(op)], self.node(left), self.node(right)))
            left = right
        return self.kleene(False, parts)

    def call(self, name: str, args: list[Seen]) -> Seen:
        def years(birth: Fraction, on: Fraction) -> Fraction:
            born, now = (date.fromordinal(int(value) + EPOCH) for value in (birth, on))
            return Fraction(now.year - born.year - ((now.month, now.day) < (born.month, born.day)))

        functions = {
            "min": min, "max": max, "abs": abs, "positive": lambda a: max(a, Fraction(0)), "spread": lambda a, b: a / b,
            "full_steps": lambda a, b: Fraction(a // b), "started_steps": lambda a, b: Fraction(-(-a // b)), "years": years, "days": lambda a, b: b - a,
            "year": lambda a: Fraction(date.fromordinal(int(a) + EPOCH).year), "date": lambda a: day(a),
        }  # fmt: skip
        return self.strict(functions[name], *args)
