"""A whole country made by a seed: households and persons with published shares, as registry events or as a table of a rule's facts.

Every number is drawn from the seed, the name of what is drawn and the number of the person or household alone, in whole numbers. So a
person is the same in a country of any size, whatever the size of the pieces in which it is made.
"""

from __future__ import annotations

from .country import Country
from .deciding import Decided, RuleFacts
from .shares import Shares, load_shares
from .writing import EventFiles, Made, make_events, make_facts

__all__ = ["Country", "Decided", "EventFiles", "Made", "RuleFacts", "Shares", "load_shares", "make_events", "make_facts"]
