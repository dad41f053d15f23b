"""The members of a household, read out of a document: the facts of each of them, and the aggregates that are facts of the household."""

from __future__ import annotations

from fractions import Fraction

from pipeline.facts import FIRST_DAY, LAST_DAY
from pipeline.money import parse_minor

from . import document, terms
from .gaps import lacking_keys
from .rule import Aggregate, Condition, Members, RuleFact, leaves
from .scalars import Path
from .steps import Steps
from .terms import INT64_MAX, Kind, Refused, Term
from .values import read_day, read_number

HOW = ("count", "sum", "any", "all", "min", "max")
EVERYBODY = "members"
"""What `count` says to count all members."""
MAX_MEMBERS = 1_000
_VALUES = {"sum": ("money", "number", "years"), "min": ("money", "number", "years", "date"), "max": ("money", "number", "years", "date")}


class MemberSteps(Steps):
    """Members and aggregates beside the steps."""

    def members(self) -> Members | None:
        """The members that a rule for households looks at, with what it reads of each."""
        given, path = self.doc.members, ("members",)
        if given is None:
            if self.doc.aggregates:
                self.bad(("aggregates",), "aggregates are made of members, and the document has none", "Say members.facts.", key=True)
            return None
        if self.doc.decides.for_ != "household":
            self.bad(path, f"a {self.doc.decides.for_} has no members", "Say decides.for: household, or leave members out.", key=True)
        spec = self.catalogue.get(given.of)
        if spec is None or spec.type != "text":
            texts = [name for name, known in self.catalogue.items() if known.type == "text"]
            self.unknown(("members", "of"), "no text that a registry tells is", given.of, texts)
        if not 1 <= given.most <= MAX_MEMBERS:
            self.bad(("members", "most"), f"{given.most:,} members at most, it is 1 to {MAX_MEMBERS:,}")
        for name, fact in given.facts.items():
            self.fact(name, fact, of_member=True)
        return Members(given.of, given.at or self.doc.decides.parameters_at, min(max(given.most, 1), MAX_MEMBERS), tuple(self.member_facts.values()))

    def aggregate(self, name: str, given: document.Aggregate) -> None:
        """One aggregate, as a fact of the household under its name."""
        path: Path = ("aggregates", name)
        self.law((*path, "law"), given.law)
        if not self.claim(path, name):
            return
        self.names[name] = terms.UNKNOWN
        said = [how for how in HOW if getattr(given, how) is not None]
        if len(said) != 1:
            message = f"{name!r} has both {' and '.join(said)}" if said else f"{name!r} needs one of {', '.join(HOW)}"
            self.bad(path, message, "Give each of them a name of its own." if said else "", key=True)
            return
        (how,) = said
        text = str(getattr(given, how)).strip()
        term = terms.yes_no(True) if how == "count" and text == EVERYBODY else self.expression((*path, how), text, of_member=True)
        where = None if given.where is None else self.expression((*path, "where"), given.where, of_member=True)
        if term is None or (where is None) is not (given.where is None):
            return
        try:
            self._settled(path, name, given, how, term, where)
        except Refused as refused:
            self.bad((*path, how), str(refused), refused.mend)

    def _settled(self, path: Path, name: str, given: document.Aggregate, how: str, term: Term, where: Term | None) -> None:
        if where is not None and where.kind.type != "yes_no":
            self.bad((*path, "where"), f"who counts is yes or no, {given.where!r} is {where.kind}")
            return
        wanted = _VALUES.get(how, ("yes_no",))
        if term.kind.type not in wanted:
            mend = f"Write sum: {term}, or count a condition." if how == "count" and term.numeric else ""
            raise Refused(f"{how} is of {' or '.join(wanted)}, {term} is {term.kind}", mend)
        for key in ("round", "if_none"):
            if getattr(given, key) is not None and (how not in _VALUES or (key, how) == ("if_none", "sum")):
                self.bad((*path, key), f"{key} is for {'min and max' if key == 'if_none' else 'sum, min and max'}, {name!r} is a {how}", key=True)
                return
        term = self._rounded(path, given, term)
        none = self._none(path, name, given, how, term)
        aggregate = Aggregate(how, term, where, none, given.law)
        fact = self._fact_of(name, given, aggregate)
        self.facts[name] = fact
        self.names[name] = self.fact_term(fact, Kind(fact.type, fact.per))
        self._has_values(path, aggregate)

    def _rounded(self, path: Path, given: document.Aggregate, term: Term) -> Term:
        if given.round is not None:
            to = self.bound((*path, "round", "to"), given.round.to, term.kind)
            if to is not None:
                return terms.rounded(term, to.low if to.op == "const" else Fraction(0), given.round.mode)
        elif term.den != 1 and term.numeric:
            unit = "minor units" if term.kind.type == "money" else "units"
            raise Refused(f"{term} is no whole number of {unit} but of 1/{term.den}", "Say round, which rounds each member's value.")
        return term

    def _none(self, path: Path, name: str, given: document.Aggregate, how: str, term: Term) -> int | None:
        """What min and max are of nobody: it must be said, since it is neither zero nor unknown by itself."""
        if how not in ("min", "max"):
            return None
        if given.if_none is None:
            raise Refused(f"what is {name!r} where no member counts?", "Say if_none, such as if_none: 0.")
        try:
            if term.kind.type == "money":
                return parse_minor(given.if_none, self.currency)
            number = Fraction(read_day(given.if_none)) if term.kind.type == "date" else read_number(given.if_none)
            if number.denominator != 1:
                raise ValueError(f"{given.if_none!r} is not a whole number")
            return int(number)
        except ValueError as error:
            self.bad((*path, "if_none"), str(error))
            return 0

    def _fact_of(self, name: str, given: document.Aggregate, aggregate: Aggregate) -> RuleFact:
        assert self.doc.members is not None
        how, term, most = aggregate.how, aggregate.term, self.doc.members.most
        low, high = int(term.low), int(term.high)
        kind, bounds = term.kind.type, None
        if how == "count":
            kind, bounds = "number", (0, most)
        elif how == "sum":
            kind = "number" if kind == "years" else kind
            bounds = (min(low, 0) * most, max(high, 0) * most)
            if max(-bounds[0], bounds[1]) > INT64_MAX:
                raise Refused(f"may overflow: {term} of {most} members does not fit 64 bits", "Narrow the range of the facts it uses.")
        elif kind == "date":
            bounds = (FIRST_DAY, LAST_DAY)
        elif kind != "yes_no":
            none = aggregate.if_none or 0
            bounds = (min(low, none), max(high, none))
        text = f"{how} of {getattr(given, how)}" + (f" where {given.where}" if given.where else "")
        return RuleFact(name, kind, text, self.doc.members.at or self.doc.decides.parameters_at, per=term.kind.per, range=bounds, aggregate=aggregate)

    def _has_values(self, path: Path, aggregate: Aggregate) -> None:
        """A parameter by facts of members must have a value for every member who counts."""
        where = () if aggregate.where is None else (Condition("where", aggregate.where, "", ""),)
        used = {str(leaf.value) for term in (aggregate.term, aggregate.where) if term is not None for leaf in leaves(term) if leaf.op == "parameter"}
        keyed = {name: parameter for name, parameter in self.parameters.items() if name in used and parameter.by}
        for parameter, by, lacking, _ in lacking_keys(self.member_facts, keyed, {}, where, (), self.currency):
            message = f"{parameter.name!r} has no value where {by} is {lacking}"
            self.bad((*path, aggregate.how), message, "Add the keys, or a `where` that keeps those members out.")
