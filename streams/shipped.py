"""Where the files lie that ship beside the code."""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).resolve().parent.parent
"""The folder in which `registries/`, `benefits/`, `locales/` and `data/` are shipped."""
