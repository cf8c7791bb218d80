"""Regions are read from label maps of other grids and with other names."""

import numpy as np
import pytest

from napari_pvs.burden.regions import FREESURFER, read_map, read_names, read_regions
from napari_pvs.errors import InputError
from napari_pvs.scans.grid import Grid

GRID = Grid((8, 6, 4), np.diag([0.8, 0.8, 1.0, 1.0]))


@pytest.fixture
def aseg(tmp_path, write_image):
    """Left white matter, right putamen and the left fornix, 1.6 mm wide and flipped."""
    codes = np.zeros((4, 3, 4), np.int16)
    codes[:2], codes[2], codes[3] = 2, 51, 250
    affine = np.diag([1.6, 1.6, 1.0, 1.0])
    affine[:2, 3] = 0.4
    flip = affine @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return write_image(tmp_path / "aseg.nii.gz", codes[::-1], flip)


def test_freesurfer_s_numbers_become_regions_on_the_grid(aseg):
    codes = read_map(aseg, GRID)
    assert codes[:, 0, 0].tolist() == [2, 2, 2, 2, 51, 51, 250, 250]
    regions = read_regions(aseg, GRID, FREESURFER)
    assert regions.index.shape == GRID.shape
    assert regions.names[:2] == ("white matter", "basal ganglia")
    assert regions.index[:, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 0, 0]


def test_no_number_is_in_two_regions():
    numbers = [number for some in FREESURFER.values() for number in some]
    assert len(numbers) == len(set(numbers))


def test_a_table_names_other_regions(aseg, tmp_path):
    table = tmp_path / "names.tsv"
    table.write_text(
        "\ufeffindex\tname\tcolour\n51\tright\tred\n2\tleft\t-\n250\tright\t-\n0\tair\t\n"
    )
    names = read_names(table)
    assert names == {"right": (51, 250), "left": (2,)}
    regions = read_regions(aseg, GRID, names)
    assert regions.index[:, 0, 0].tolist() == [2, 2, 2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("index\tname\n1.5\ta\n", "is not a table of regions .*1.5"),
        ("number\tname\n1\ta\n", "is not a table of regions .*index"),
        ("index\tname\n1\n", "is not a table of regions"),
        ("index\tname\n1\t" + 150_000 * "a", "is not a table of regions .*field larger"),
        ("index\tname\n1\ta\n2\tb\n1\tb\n", r"is not a table of regions \(1 is both a and b\)"),
        ("index\tname\n1\tall\n", "names a region all, .* need themselves; rename it"),
        ("index\tname\n1\telsewhere\n", "names a region elsewhere"),
        ("index\tname\n", "names no region"),
        (None, "is not a table of regions .*No such file"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, why):
    table = tmp_path / "names.tsv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(InputError, match=rf"names.tsv {why}"):
        read_names(table)


def test_maps_of_something_else_are_refused(aseg, tmp_path, write_image):
    with pytest.raises(InputError, match=r"has none of the numbers of a, b; name its regions with"):
        read_regions(aseg, GRID, {"a": (7,), "b": (90_000,)})
    away = np.eye(4)
    away[:3, 3] = 500
    path = write_image(tmp_path / "away.nii.gz", np.ones((4, 4, 4), np.int16), away)
    with pytest.raises(
        InputError, match=r"away.nii.gz is in another place than the PVS; give one of"
    ):
        read_map(path, GRID)
