"""What the tests of rules share: the registries' catalogue, with one registry more for the Danish tax."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.registries import load_registries
from pipeline.registry import FactSpec

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def catalogue() -> dict[str, FactSpec]:
    income = FactSpec(name="tax.income", registry="dk-tax", type="money", currency="DKK", meaning="Income of a year.")
    return {**load_registries(ROOT / "registries").catalogue, income.name: income}
