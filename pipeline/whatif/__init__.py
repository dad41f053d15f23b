"""What-if: a candidate rule against the active one on frozen people, before anybody is paid."""

from .comparison import PAYABLE, Chunk, Comparison, Side
from .groups import Grouping
from .people import Rows
from .result import BANDS, CHANGES, Population, SimulationResult, Tally, decode_simulation, encode_simulation, simulation_hash
from .simulation import Frozen, check_comparable, groupings_of, income_of, simulate

__all__ = [
    "BANDS", "CHANGES", "PAYABLE", "Chunk", "Comparison", "Frozen", "Grouping", "Population", "Rows", "Side", "SimulationResult", "Tally",
    "check_comparable", "decode_simulation", "encode_simulation", "groupings_of", "income_of", "simulate", "simulation_hash",
]  # fmt: skip
