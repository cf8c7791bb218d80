"""Kills while labels and tables are written, and files that are written and read again."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

LONG = Path(__file__).parents[2] / "benchmarks" / "reliability"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
def test_no_kill_loses_a_label_or_mixes_tables(tmp_path):
    """In an interpreter without other threads, since it forks."""
    if not LONG.is_dir():
        pytest.skip(f"{LONG} is not there")
    code = f"""
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {str(LONG)!r})
import killed_writes
saved, wrong = killed_writes.tried(Path(sys.argv[1]), 8, np.random.default_rng(1))
assert wrong == [], wrong
assert saved > 0
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_is_written_is_read_as_it_was(attack, tmp_path):
    held, wrong = attack("round_trips").tried(tmp_path, 12, np.random.default_rng(1))
    assert wrong == []
    assert set(held.values()) == {12}
