"""A second reading of a rule document, for the tests only: a tiny interpreter over exact fractions that knows neither Polars nor the compiler."""

from __future__ import annotations

import ast
from calendar import isleap
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from math import ceil, floor

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
    """Decides one subject by one document. Amounts are in minor units."""

    def __init__(self, document: dict) -> None:
        self.document = document
        self.minor = 1 if document["decides"].get("currency") in ("JPY", "KRW") else 100

    def literal(self, text: str, kind: str) -> Value:
        if kind == "money":
            return number(text) * self.minor
        if kind == "percent":
            return number(text) / 100
        if kind == "yes_no":
            return text == "yes"
        if kind == "date":
            return day(text)
        return text if kind == "text" else number(text)

    def decide(self, facts: dict[str, int | bool | str | None], on: int, days: dict[str, int], members: list[dict] | None = None) -> Verdict:
        self.on, self.days, self.seen = on, days, {}
        made = {name: self.aggregate(name, aggregate, members) for name, aggregate in self.document.get("aggregates", {}).items()}
        self.seen = dict(made)
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

    def aggregate(self, name: str, aggregate: dict, members: list[dict] | None) -> Seen:
        """By trying every way in which what is unknown of each member could be settled, as far as that matters."""
        (how,) = aggregate.keys() & {"count", "sum", "any", "all", "min", "max"}
        unknown = Seen(None, frozenset({name}))
        if members is None or len(members) > int(number(self.document["members"]["most"])):
            return unknown
        outcomes: set[Value | tuple[()]] = {self.of_nobody(how)}
        for member in members:
            self.seen = {fact: self.fact(fact, written, member[fact]) for fact, written in self.document["members"]["facts"].items()}
            counts = self.read(aggregate["where"]).value if "where" in aggregate else True
            value = Seen(True) if aggregate[how] == "members" else self.read(aggregate[how])
            if "round" in aggregate:
                to = number(aggregate["round"]["to"]) * self.minor
                value = self.strict(lambda value, to=to: whole(value / to, aggregate["round"]["mode"]) * to, value)
            ways: set[Value | tuple[()]] = set()
            if counts is not True:
                ways |= outcomes
            if counts is not False:
                possible = (True, False) if how in ("count", "any", "all") else (Fraction(0), Fraction(10**12), Fraction(-(10**12)))
                for given in possible if value.value is None else (value.value,):
                    ways |= {self.with_one_more(how, before, given) for before in outcomes}
            outcomes = ways
        if len(outcomes) > 1:
            return unknown
        (outcome,) = outcomes
        return Seen(number(aggregate["if_none"]) * (self.minor if "minor" in aggregate else 1) if outcome == () else outcome)

    def of_nobody(self, how: str) -> Value | tuple[()]:
        return {"count": Fraction(0), "sum": Fraction(0), "any": False, "all": True}.get(how, ())

    def with_one_more(self, how: str, before: Value | tuple[()], value: Value) -> Value:
        if how == "count":
            return before + (1 if value else 0)
        if before == ():
            return value
        return {"sum": lambda: before + value, "any": lambda: before or value, "all": lambda: before and value,
                "min": lambda: min(before, value), "max": lambda: max(before, value)}[how]()  # fmt: skip

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
        facts = [self.seen[fact] for fact in parameter["by"]]
        if any(seen.value is None for seen in facts):
            return Seen(None, frozenset().union(*(seen.missing for seen in facts)))
        for seen, (fact, keys) in zip(facts, parameter["by"].items(), strict=True):
            found = [index for index, key in enumerate(keys) if self.within(seen.value, key, self.type_of(fact))]
            if not found:
                return Seen(None)
            listed = listed[found[0]]
        return Seen(self.literal(listed, parameter["type"]))

    def type_of(self, name: str) -> str:
        facts = self.document["facts"] | self.document.get("members", {}).get("facts", {})
        return facts[name]["type"] if name in facts else "number"

    def within(self, value: Value, key: str, kind: str) -> bool:
        if isinstance(value, str | bool):
            return value == self.literal(key, kind)
        low, _, high = key.partition("..") if ".." in key else key.partition("-") if "-" in key[1:] else (key, "", key)
        above = not low or self.literal(low, kind) <= value
        if high.startswith("<"):
            return above and value < self.literal(high[1:], kind)
        return above and (not high or value <= self.literal(high, kind))

    def step(self, step: dict) -> Seen:
        (block,) = step.keys() & {"is", "taper", "table", "scale", "spread"}
        seen = {"is": self.read, "taper": self.taper, "table": self.table, "scale": self.scale, "spread": self.part}[block](step[block])
        for key, pick in (("floor", max), ("cap", min)):
            if key in step:
                bound = Seen(number(step[key]) * self.minor)
                seen = self.strict(pick, seen, bound)
        if "round" in step:
            to = number(step["round"]["to"]) * self.minor
            seen = self.strict(lambda value: whole(value / to, step["round"]["mode"]) * to, seen)
        return seen

    def amount(self, text: str) -> Seen:
        return self.read(text) if text[0].isalpha() or text[0] == "(" else Seen(number(text) * self.minor)

    def rate(self, text: str) -> Seen:
        return Seen(number(text.rstrip(" %")) / 100) if text.endswith("%") else self.read(text)

    def taper(self, taper: dict) -> Seen:
        of, parts = self.read(taper["of"]), number(taper.get("spread", "1"))
        if "from" in taper:

            def over(of: Fraction, start: Fraction, end: Fraction, take: Fraction) -> Fraction:
                return take * min(max(of - start, 0), end - start) / (end - start) / parts

            return self.strict(over, of, self.amount(taper["from"]), self.amount(taper["until"]), self.amount(taper["take"]))
        above = self.amount(taper["above"])
        if "each" not in taper:
            return self.strict(lambda of, above, rate: max(of - above, 0) * rate / parts, of, above, self.rate(taper["rate"]))
        each, started = self.amount(taper["each"]["size"]), taper["each"]["count"] == "started"

        def steps(of: Fraction, above: Fraction, size: Fraction) -> Fraction:
            exact = max(of - above, 0) / size
            return Fraction(ceil(exact) if started else floor(exact))

        if "rate" in taper:
            return self.strict(lambda of, above, size, rate: steps(of, above, size) * size * rate / parts, of, above, each, self.rate(taper["rate"]))
        return self.strict(lambda of, above, size, take: steps(of, above, size) * take / parts, of, above, each, self.amount(taper["take"]))

    def table(self, table: dict) -> Seen:
        for row in table["rows"]:
            cells = []
            for name, listed in row.get("when", {}).items():
                seen = self.seen[name]
                kind = self.document["facts"][name]["type"] if name in self.document["facts"] else "money"
                keys = listed if isinstance(listed, list) else [listed]
                cells.append(self.strict(lambda value, keys=keys, kind=kind: any(self.within(value, key, kind) for key in keys), seen))
            held = self.kleene(False, cells)
            if held.value is None:
                return held
            if held.value:
                return self.read(row["gives"]) if row["gives"][0].isalpha() else Seen(self.literal(row["gives"], table["type"]))
        return Seen(None)

    def scale(self, scale: dict) -> Seen:
        of, known = self.read(scale["of"]), [(self.amount(one["above"]), self.rate(one["rate"])) for one in scale["brackets"]]

        def tax(of: Fraction, *flat: Fraction) -> Fraction:
            starts, rates, owed = flat[::2], flat[1::2], Fraction(0)
            for index, (start, rate) in enumerate(zip(starts, rates, strict=True)):
                end = starts[index + 1] if index + 1 < len(starts) else max(of, start)
                owed += rate * (min(max(of, start), end) - start)
            return owed

        return self.strict(tax, of, *(seen for pair in known for seen in pair))

    def part(self, spread: dict) -> Seen:
        months = {"year": 12, "quarter": 3, "month": 1}
        long, short = months[self.per(ast.parse(spread["of"], mode="eval").body)], months[self.document["decides"]["period"]]
        to, count = number(spread["to"]) * self.minor if "to" in spread else Fraction(1), long // short
        turn = (date.fromordinal(self.days["period.start"] + EPOCH).month - 1) % long // short

        def one(of: Fraction) -> Fraction:
            equal = whole(of / count / to, "down") * to
            shares = [equal] * count
            shares[0 if spread["remainder"] == "first" else -1] += of - sum(shares)
            return shares[turn]

        return self.strict(one, self.read(spread["of"]))

    def per(self, node: ast.expr) -> str:
        """For how long the first amount in an expression is."""
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("per_"):
            return ast.unparse(node.func).removeprefix("per_")
        if isinstance(node, ast.Name):
            for place in ("facts", "parameters"):
                if node.id in self.document[place]:
                    return self.document[place][node.id].get("per", "")
            step = next((step for step in self.document["amount"]["steps"] if step["id"] == node.id), {})
            return self.per(ast.parse(step["is"], mode="eval").body) if "is" in step else ""
        return next(filter(None, (self.per(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))), "")

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
        name = ast.unparse(node.func)
        if name.startswith("per_"):
            months = {"year": 12, "quarter": 3, "month": 1}
            factor = Fraction(months[name.removeprefix("per_")], months[self.per(node.args[0])])
            return self.strict(lambda value: value * factor, self.node(node.args[0]))
        return self.call(name, [self.node(arg) for arg in node.args])

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

        def months(birth: Fraction, on: Fraction) -> Fraction:
            born, now = (date.fromordinal(int(value) + EPOCH) for value in (birth, on))
            return Fraction(12 * (now.year - born.year) + now.month - born.month - (now.day < born.day))

        def birthday(birth: Fraction, age: Fraction) -> Fraction:
            born = date.fromordinal(int(birth) + EPOCH)
            year = min(born.year + int(age), 9999)
            late = (born.month, born.day) == (2, 29) and not isleap(year)
            return Fraction((date(year, 3, 1) if late else born.replace(year=year)).toordinal() - EPOCH)

        functions = {
            "min": min, "max": max, "abs": abs, "positive": lambda a: max(a, Fraction(0)), "spread": lambda a, b: a / b,
            "full_steps": lambda a, b: Fraction(a // b), "started_steps": lambda a, b: Fraction(-(-a // b)), "years": years,
            "full_months": months, "birthday": birthday, "days": lambda a, b: b - a,
            "year": lambda a: Fraction(date.fromordinal(int(a) + EPOCH).year), "date": lambda a: day(a),
        }  # fmt: skip
        return self.strict(functions[name], *args)
