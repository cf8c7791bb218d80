"""A head of spheres with FreeSurfer codes, and small subjects made from it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_pvs.phantom.anatomy import Anatomy, from_codes
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.sites import SITES
from napari_pvs.phantom.subject import Subject, make_subject

SIZE = 108


@pytest.fixture(scope="session")
def codes() -> NDArray[np.int32]:
    axis = np.arange(SIZE) - (SIZE - 1) / 2
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    radius = np.sqrt(x**2 + y**2 + z**2)
    out = np.zeros((SIZE,) * 3, np.int32)
    out[radius < 52] = 24
    out[radius < 49] = 3
    out[(radius < 42) & (x < 0)] = 2
    out[(radius < 42) & (x >= 0)] = 41
    hind = np.sqrt(x**2 + (y + 14) ** 2 + (z + 22) ** 2)
    out[hind < 15] = 8
    out[hind < 8] = 7
    for side in (-1, 1):
        ganglion = np.sqrt((x - 17 * side) ** 2 + (y - 6) ** 2 + z**2)
        out[ganglion < 10] = 12
        out[ganglion < 4] = 13
        out[np.sqrt((x - 7 * side) ** 2 + (y + 6) ** 2 + z**2) < 5] = 10
    out[np.sqrt(x**2 + (y / 2) ** 2 + (z - 8) ** 2) < 6] = 4
    return out


@pytest.fixture(scope="session")
def head(codes: NDArray[np.int32]) -> Anatomy:
    return from_codes(codes, "spheres", "spheres.nii.gz")


@pytest.fixture(scope="session")
def head_file(codes: NDArray[np.int32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("anatomy") / "spheres.nii.gz"
    nib.save(nib.Nifti1Image(codes.astype(np.uint8), np.eye(4)), path)
    return path


@pytest.fixture(scope="session")
def config() -> PhantomConfig:
    return PhantomConfig(
        subjects=2, labelled=1, field_of_view=(64, 64, 64), pvs=(25, 25), deformation=1
    )


@pytest.fixture(scope="session")
def subject(head: Anatomy, config: PhantomConfig) -> Subject:
    return make_subject(head, SITES["A"], config, np.random.default_rng(5))
