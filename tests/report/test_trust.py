"""What limits a segmentation is measured, and said in plain words."""

from dataclasses import replace

import numpy as np
import pytest

from napari_pvs.report.trust import TRAINING, Check, trust, worst
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.intensity import normalise, percentiles
from napari_pvs.scans.nifti import Geometry
from napari_pvs.scans.regions import Quality, Regions
from napari_pvs.scans.registration import Registration
from napari_pvs.scans.scan import Scan

SHAPE = (48, 56, 48)


def scan(noise=4.0, size=3.0, t2=True, shift=0) -> Scan:
    """A brain of cortex, white matter and a ventricle; the T2 may lie elsewhere."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    away = np.sqrt(x**2 + y**2 + z**2)
    wavy = away + 0.05 * np.sin(9 * x) * np.sin(7 * y) * np.sin(8 * z)
    tissue = np.select([away < 0.2, wavy < 0.65, away < 0.92], [1, 2, 3], 0)
    brain = tissue > 0
    one = np.array([0, 25, 100, 70.0])[tissue] + rng.normal(0, noise, SHAPE)
    two = np.array([0, 400, 100, 140.0])[np.roll(tissue, shift, 0)] + rng.normal(0, noise, SHAPE)
    grid = Grid(SHAPE, np.diag([size, size, size, 1]))
    images = {"t1": one.astype(np.float32), "t2": two.astype(np.float32) if t2 else None}
    return Scan(**images, grid=grid, brain=brain, source=Geometry.from_affine(SHAPE, grid.affine))


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.what: check for check in checks}


def test_noise_is_that_which_was_put_in() -> None:
    for noise in (4.0, 10.0, 30.0):
        (check,) = [c for c in trust(scan(noise), None, None) if c.what == "Noise of the T1"]
        found = float(check.value.split()[1])
        assert found == pytest.approx(100 / noise, rel=0.25)
        assert check.light == ("green" if noise < 12 else "red")


def test_a_coarse_scan_is_red_and_the_whole_with_it() -> None:
    checks = trust(scan(), None, None)
    assert by_name(checks)["Voxel size"].light == "red"
    assert worst(checks) == "red"
    assert by_name(trust(scan(size=1.0), None, None))["Voxel size"].light == "green"
    assert worst([]) == "green"


def test_a_t2_that_lies_elsewhere_is_red() -> None:
    assert by_name(trust(scan(), None, None))["Alignment of T1 and T2"].light == "green"
    moved = by_name(trust(scan(shift=4), None, None))["Alignment of T1 and T2"]
    assert moved.light == "red"
    assert "moved by 12 mm" in moved.value


@pytest.mark.parametrize(
    ("sharpness", "corrected", "light", "words"),
    [
        (3.0, False, "green", "They are aligned"),
        (3.0, True, "green", "The T2 was registered"),
        (1.2, True, "amber", "the same head"),
    ],
)
def test_a_registration_says_how_the_t2_lies(sharpness, corrected, light, words) -> None:
    found = Registration(np.eye(4), 4.25, 0.05, 0.3, corrected, sharpness)
    check = by_name(trust(replace(scan(), registration=found), None, None))[
        "Alignment of T1 and T2"
    ]
    assert check.light == light
    assert check.value.startswith("4.2 mm apart")
    assert ("corrected" in check.value) == corrected
    assert words in check.words


def test_one_contrast_alone_is_told() -> None:
    checks = by_name(trust(scan(t2=False), None, None))
    assert checks["Contrasts"].value == "T1 alone"
    assert checks["Contrasts"].light == "amber"
    assert "Alignment of T1 and T2" not in checks


def test_a_brain_at_the_border_is_cut() -> None:
    whole = scan()
    assert by_name(trust(whole, None, None))["Brain mask"].light == "green"
    cut = slice(0, SHAPE[2] // 2)
    half = replace(
        whole, t1=whole.t1[..., cut], t2=whole.t2[..., cut], brain=whole.brain[..., cut],
        grid=Grid((*SHAPE[:2], cut.stop), whole.grid.affine),
    )  # fmt: skip
    check = by_name(trust(half, None, None))["Brain mask"]
    assert check.light == "red"
    assert "missing, not absent" in check.words


def test_a_poor_template_is_red() -> None:
    one = scan()
    index = one.brain.astype(np.uint16)
    good = Regions(("a",), index, seen=(1.0,), quality=Quality(0.85, 0.97, 0.9))
    assert by_name(trust(one, good, None))["Regions"].light == "green"
    poor = replace(good, quality=Quality(0.4, 0.97, 0.9), doubts=("x",))
    assert by_name(trust(one, poor, None))["Regions"].light == "red"


def test_intensities_are_held_against_training() -> None:
    one = scan()
    values = percentiles(normalise(one.t1, one.brain)[one.brain])
    near = {"T1": {key: (value - 1, value + 1) for key, value in values.items()}}
    checks = by_name(trust(one, None, near))
    assert checks["Intensities of the T1"].light == "green"
    assert checks["Intensities of the T2"].value == "not known"
    far = {"T1": near["T1"] | {"99": (values["99"] + 4, values["99"] + 5)}}
    check = by_name(trust(one, None, far))["Intensities of the T1"]
    assert check.light == "red"
    assert check.value.startswith("percentile 99 is ")
    assert set(TRAINING) == {"T1", "T2"}


def test_scans_that_are_much_alike_do_not_make_all_others_strange() -> None:
    one = scan()
    values = percentiles(normalise(one.t1, one.brain)[one.brain])
    same = {"T1": {key: (value + 0.1, value + 0.1) for key, value in values.items()}}
    assert by_name(trust(one, None, same))["Intensities of the T1"].light == "green"
