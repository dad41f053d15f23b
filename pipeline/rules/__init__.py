"""Rules: a benefit as a dated document, checked whole, and the one evaluator that decides by it."""

from .check import load_rule
from .definitions import FactSpec
from .descriptions import document_schema
from .evaluate import DECISIONS, GRANTED, REFUSED, UNDETERMINED, decide, physical_type
from .explain import Explanation, explain, missing_facts, outcomes
from .letter import letter
from .periods import ONCE, Period, parse_period
from .rule import Condition, Parameter, Rule, RuleFact, Step
from .trial import TestResult, run_tests

__all__ = [
    "DECISIONS", "GRANTED", "ONCE", "REFUSED", "UNDETERMINED", "Condition", "Explanation", "FactSpec", "Parameter", "Period", "Rule", "RuleFact", "Step",
    "TestResult", "decide", "document_schema", "explain", "letter", "load_rule", "missing_facts", "outcomes", "parse_period", "physical_type",
    "run_tests",
]  # fmt: skip
