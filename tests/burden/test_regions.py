"""Regions are read from label maps of other grids and with other names."""

import numpy as np
import pytest

from napari_pvs.burden.regions import FREESURFER, Numbering, read_map, read_names, read_regions
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
    numbers = [number for some in FREESURFER.regions.values() for number in some]
    assert len(numbers) == len(set(numbers))


def test_a_table_names_other_regions(aseg, tmp_path):
    table = tmp_path / "names.tsv"
    table.write_text(
        "\ufeffindex\tname\tcolour\n51\tright\tred\n2\tleft\t-\n250\tright\t-\n0\tair\t\n"
    )
    names = read_names(table)
    assert names.regions == {"right": (51, 250), "left": (2,)}
    assert names.sides == {}
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
        read_regions(aseg, GRID, Numbering({"a": (7,), "b": (90_000,)}, {}))
    away = np.eye(4)
    away[:3, 3] = 500
    path = write_image(tmp_path / "away.nii.gz", np.ones((4, 4, 4), np.int16), away)
    with pytest.raises(
        InputError, match=r"away.nii.gz does not lie where the PVS are; give a label map"
    ):
        read_map(path, GRID)


def test_sides_are_those_of_the_numbers_and_of_the_plane_between_them(tmp_path, write_image):
    codes = np.zeros((8, 4, 4), np.int16)
    codes[:2], codes[6:], codes[3:5] = 2, 41, 16  # the brainstem has no side of its own
    codes[4, 3] = 2  # left white matter beyond the middle stays left
    path = write_image(tmp_path / "aseg.nii.gz", codes, np.eye(4))
    grid = Grid((8, 4, 4), np.eye(4))
    regions = read_regions(path, grid, FREESURFER)
    assert regions.sides[:, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert regions.sides[4, 3, 0] == 1
    # the same world with the x axis turned round
    turned = np.diag([-1.0, 1, 1, 1])
    turned[0, 3] = 7
    again = read_regions(path, Grid((8, 4, 4), turned), FREESURFER)
    np.testing.assert_array_equal(again.sides, regions.sides[::-1])


def test_left_and_right_numbers_of_freesurfer():
    numbers = {number for some in FREESURFER.regions.values() for number in some}
    unsided = numbers - set(FREESURFER.sides)
    assert {16, 77, 251, 255} <= unsided  # brainstem, hypointensities, corpus callosum
    assert unsided.isdisjoint((*range(2, 14), *range(41, 59)))
    assert {FREESURFER.sides[n] for n in (2, 9, 10, 1035, 3001, 11175, 13175)} == {"left"}
    assert {FREESURFER.sides[n] for n in (41, 48, 49, 2035, 4001, 12175, 14175)} == {"right"}


def test_a_table_may_name_sides(tmp_path):
    table = tmp_path / "names.tsv"
    table.write_text("index\tname\themisphere\n5\tlobe\tL\n6\tlobe\tright\n7\tstem\tbilateral\n")
    names = read_names(table)
    assert names.regions == {"lobe": (5, 6), "stem": (7,)}
    assert names.sides == {5: "left", 6: "right"}


def test_what_the_map_has_and_the_scan_does_not_show_is_missing(tmp_path, write_image):
    codes = np.zeros((4, 4, 8), np.int16)
    codes[:, :, :2], codes[:, :, 2:4], codes[:, :, 4:] = 8, 16, 2
    path = write_image(tmp_path / "aseg.nii.gz", codes, np.eye(4))
    above = np.eye(4)
    above[2, 3] = 3
    regions = read_regions(path, Grid((4, 4, 5), above), FREESURFER)
    seen = dict(zip(regions.names, regions.seen, strict=True))
    assert (seen["white matter"], seen["brainstem"], seen["cerebellum"]) == (1.0, 0.5, 0.0)
    # nor does a map tell of a region that it has no number of
    assert regions.missing("cerebellum")
    assert regions.missing("thalamus")
    assert not regions.missing("brainstem")
