"""Short versions of the attacks in benchmarks/reliability."""

import importlib
from pathlib import Path

import pytest

LONG = Path(__file__).parents[2] / "benchmarks" / "reliability"


@pytest.fixture
def attack(monkeypatch):
    """Function that returns a module of benchmarks/reliability."""
    if not LONG.is_dir():
        pytest.skip(f"{LONG} is not there")
    monkeypatch.syspath_prepend(LONG)
    return importlib.import_module
