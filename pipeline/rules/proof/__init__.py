"""Proofs about a compiled rule: what holds of everybody whom it decides, and the people who show that it does not.

For the gate before an approval: ``claims_hold(rule, timeout_s=10) -> list[Finding]`` has one finding for each claim of the document, and
``hold(findings) -> bool`` says whether all of them are proved. A document whose claims fail or are not decided is not approved. The solver
(z3-solver, the extra ``payout[prove]``) is loaded with the first claim; where it is not installed, no claim counts as proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec

from pipeline.rules.rule import Rule

from .findings import FAILS, NOT_DECIDED, OUTCOMES, PROVED, Finding, Person

TIMEOUT_S = 10
NO_SOLVER = "the solver is not installed: pip install 'payout[prove]'"

__all__ = ["FAILS", "NOT_DECIDED", "NO_SOLVER", "OUTCOMES", "PROVED", "TIMEOUT_S", "Finding", "Person", "claims_hold", "hold", "prove", "solver_installed"]


def solver_installed() -> bool:
    return find_spec("z3") is not None


def claims_hold(rule: Rule, timeout_s: int = TIMEOUT_S) -> list[Finding]:
    """A finding for each claim of the document, in its order; `timeout_s` for each."""
    if not rule.claims:
        return []
    if not solver_installed():
        return [Finding("claim", f"claims[{index}]", claim.text, NOT_DECIDED, NO_SOLVER) for index, claim in enumerate(rule.claims)]
    from .claims import prove_claim

    return [prove_claim(rule, index, timeout_s) for index in range(len(rule.claims))]


def hold(findings: Iterable[Finding]) -> bool:
    """Whether everything is proved; what is not decided is not."""
    return all(finding.outcome == PROVED for finding in findings)


def prove(rule: Rule, timeout_s: int = TIMEOUT_S, on_claim: Callable[[Finding], None] = lambda _: None) -> list[Finding]:
    """The claims of a document, and that everything it says is reached by somebody; `on_claim` hears each claim as it is known."""
    from .claims import prove_claim
    from .reached import prove_reached

    found = []
    for index in range(len(rule.claims)):
        found.append(prove_claim(rule, index, timeout_s))
        on_claim(found[-1])
    return [*found, *prove_reached(rule, timeout_s)]
