"""What the tests of a study share."""

import os
import subprocess
import sys

import numpy as np
import pytest

from napari_pvs.scans.nifti import Geometry

SHAPE = (6, 7, 8)
AFFINE = np.array([[0.5, 0, 0, -9], [0, 0.8, 0, -11], [0, 0, 1.0, -10], [0, 0, 0, 1]])


@pytest.fixture
def like() -> Geometry:
    return Geometry.from_affine(SHAPE, AFFINE)


@pytest.fixture
def mask():
    """Function of a seed."""

    def make(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).random(SHAPE) < 0.1

    return make


@pytest.fixture
def touch():
    """Function of a folder and names of empty files to make in it."""

    def make(root, *names):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


@pytest.fixture
def forking(tmp_path):
    """Function that runs code, which may fork, in an interpreter without other threads."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")

    def run(code: str, *arguments: object) -> str:
        command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
        # what the killed leave in the system's folder goes with the test
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
