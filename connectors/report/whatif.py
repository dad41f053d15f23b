"""The page of a what-if."""

from __future__ import annotations

from pathlib import Path

from pipeline.whatif import SimulationResult, encode_simulation, simulation_hash


def write_simulation(directory: Path, result: SimulationResult) -> list[Path]:
    """Writes."""
    directory.mkdir(parents=True, exist_ok=True)
    p = directory / f"simulation-{simulation_hash(result)[:12]}.json"
    p.write_bytes(encode_simulation(result))
    return [p]
