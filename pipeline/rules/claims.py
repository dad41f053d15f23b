"""The claims of a document, read with it: what it says of everybody whom it decides, to be proved."""

from __future__ import annotations

from . import document
from .rule import Claim
from .scalars import Path
from .steps import Steps
from .terms import Kind, Refused, Term, same_kind

PAID = "amount"
ORDERED = ("money", "number", "percent", "years", "date")


class Claims:
    """Reads the claims of a document whose facts and steps are known."""

    def __init__(self, defined: Steps) -> None:
        self.defined = defined

    def read(self) -> tuple[Claim, ...]:
        claims = [self._claim(("claims", index), claim) for index, claim in enumerate(self.defined.doc.claims)]
        return tuple(claim for claim in claims if claim is not None)

    def _claim(self, path: Path, claim: document.Claim) -> Claim | None:
        before = len(self.defined.problems)
        where = self._where(path, claim)
        said = [name for name in ("never_more", "never_less", "at_most", "at_least", "same_for") if getattr(claim, name)]
        if len(said) != 1:
            both = " and ".join(said)
            message = f"a claim says one thing, this one both {both}" if said else "a claim says one of never_more, never_less, at_most, at_least, same_for"
            self.defined.bad(path, message)
            return None
        (kind,) = said
        found = Claim(kind, text=_text(claim), where=where)
        if kind in ("never_more", "never_less"):
            found = self._pair(path, claim, kind, where)
        elif claim.more is not None:
            self.defined.bad((*path, "more"), f"more stands beside never_more or never_less, not {kind}", key=True)
        elif kind in ("at_most", "at_least"):
            of = claim.of or PAID
            bound = self._bound((*path, kind), str(getattr(claim, kind)), of) if self._result((*path, "of"), of) else None
            found = Claim(kind, of, bound=bound, where=where, text=_text(claim))
        else:
            for index, name in enumerate(claim.same_for):
                self._fact((*path, "same_for", index), name)
            found = Claim(kind, same_for=tuple(claim.same_for), where=where, text=_text(claim))
        if claim.of is not None and kind not in ("at_most", "at_least"):
            self.defined.bad((*path, "of"), f"of stands beside at_most or at_least, not {kind}", key=True)
        return found if len(self.defined.problems) == before else None

    def _pair(self, path: Path, claim: document.Claim, kind: str, where: Term | None) -> Claim:
        of = claim.never_more or claim.never_less or ""
        self._result((*path, kind), of)
        if claim.more is None:
            self.defined.bad(path, f"{kind} needs more: the fact of which one person has more than the other", "Write {more: income, never_more: amount}.")
        elif self._fact((*path, "more"), claim.more) and self.defined.facts[claim.more].type not in ORDERED:
            self.defined.bad((*path, "more"), f"{claim.more!r} is {self.defined.facts[claim.more].type}, of which there is no more and no less")
        return Claim(kind, of, claim.more or "", where=where, text=_text(claim))

    def _fact(self, path: Path, name: str) -> bool:
        if name not in self.defined.facts:
            self.defined.unknown(path, "unknown fact", name, self.defined.facts)
        return name in self.defined.facts

    def _result(self, path: Path, name: str) -> bool:
        known = [PAID, *self.defined.steps]
        if name not in known:
            self.defined.unknown(path, "unknown step", name, known)
        return name in known

    def _bound(self, path: Path, text: str, of: str) -> Term | None:
        step = self.defined.steps[self.defined.doc.amount.pay if of == PAID else of]
        bound = self.defined.bound(path, text, step.term.kind)
        try:
            if bound is not None:
                same_kind(step.term, bound, "compare")
        except Refused as refused:
            self.defined.bad(path, str(refused), refused.mend)
        return bound

    def _where(self, path: Path, claim: document.Claim) -> Term | None:
        term = None if claim.where is None else self.defined.expression((*path, "where"), claim.where, amounts_in=self.defined.currency)
        if term is not None and term.kind != Kind("yes_no"):
            self.defined.bad((*path, "where"), f"where is yes or no, {claim.where!r} is {term.kind}")
        return term


def _text(claim: document.Claim) -> str:
    """A claim in words."""
    if claim.same_for:
        text = f"the same for every {' and '.join(claim.same_for)}"
    elif claim.never_more or claim.never_less:
        text = f"more {claim.more}, never {'more' if claim.never_more else 'less'} {claim.never_more or claim.never_less}"
    else:
        text = f"{claim.of or PAID} at {'most' if claim.at_most else 'least'} {claim.at_most or claim.at_least}"
    return text + (f", where {claim.where}" if claim.where else "")
