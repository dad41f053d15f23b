"""Rules: a benefit as a dated document, checked whole, and the one evaluator that decides by it."""

from .check import load_rule
from .definitions import FactSpec
from .document import document_schema
from .evaluate import DECISIONS, GRANTED, REFUSED, UNDETERMINED, decide, physical_type, physical_value, years_on
from .periods import ONCE, Period, parse_period
from .rule import Condition, Parameter, Rule, RuleFact, Step

__all__ = [
    "DECISIONS", "GRANTED", "ONCE", "REFUSED", "UNDETERMINED", "Condition", "FactSpec", "Parameter", "Period", "Rule", "RuleFact", "Step",
    "decide", "document_schema", "load_rule", "parse_period", "physical_type", "physical_value", "years_on",
]  # fmt: skip
