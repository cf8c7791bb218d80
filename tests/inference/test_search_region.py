"""The search region on a brain of nested boxes with a hand-made atlas."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from napari_pvs.errors import InputError
from napari_pvs.inference import search_region as module
from napari_pvs.inference.search_region import MARGIN_MM, plausible, search_region
from napari_pvs.scans.atlas import Atlas
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.template import Template, load_template

SHAPE = (44, 56, 44)
GRID = Grid(SHAPE, np.diag([1.0, 1, 1, 1]))
T1 = {"wm": 1.0, "gm": 0.62, "deep": 0.76, "fluid": 0.22}
T2 = {"wm": 1.0, "gm": 1.3, "deep": 1.03, "fluid": 2.4}


def box(margin: int) -> np.ndarray:
    out = np.zeros(SHAPE, bool)
    out[tuple(slice(margin, n - margin) for n in SHAPE)] = True
    return out


class Brain:
    """Sulcal fluid, 3 mm cortex, white matter, a ventricle, deep grey matter, tubes; biased."""

    def __init__(self) -> None:
        self.mask = box(2)
        self.fluid = self.mask & ~box(4)
        self.cortex = box(4) & ~box(7)
        self.wm = box(7)
        self.ventricle, self.deep, self.tubes = (np.zeros(SHAPE, bool) for _ in range(3))
        self.ventricle[19:26, 20:38, 22:30] = True
        self.deep[27:34, 20:36, 18:28] = True
        self.cerebellum = np.zeros(SHAPE, bool)
        self.cerebellum[:, :12, :20] = self.mask[:, :12, :20]
        self.tubes[12:14, 14:26, 30:32] = True  # white matter
        self.tubes[30:32, 28:30, 20:26] = True  # basal ganglia
        self.wm &= ~(self.ventricle | self.deep)
        rng = np.random.default_rng(3)
        bias = np.linspace(0.85, 1.15, SHAPE[1])[None, :, None]
        self.t1, self.t2 = (self.image(values, rng) * bias for values in (T1, T2))
        prior_wm = gaussian_filter((self.wm | self.tubes).astype(np.float32), 2) * self.mask
        grey = self.cortex | self.deep
        prior_gm = gaussian_filter(grey.astype(np.float32), 2) * self.mask
        deep = self.deep & self.mask
        cerebrum = self.mask & ~self.cerebellum
        self.atlas = Atlas(prior_wm, prior_gm, deep, self.cerebellum, cerebrum, np.eye(4))

    def image(self, values: dict[str, float], rng: np.random.Generator) -> np.ndarray:
        out = np.zeros(SHAPE)
        out[self.wm] = values["wm"]
        out[self.cortex] = values["gm"]
        out[self.deep] = values["deep"]
        out[self.fluid | self.ventricle] = values["fluid"]
        out[self.tubes] = 0.5 * values["wm"] + 0.5 * values["fluid"]
        out = gaussian_filter(out, 0.5) + rng.normal(0, 0.04, SHAPE)
        return 700 * np.where(self.mask, np.maximum(out, 0), 0)


@pytest.fixture(scope="module")
def brain() -> Brain:
    return Brain()


@pytest.fixture(scope="module", params=["t1", "t2", "both"])
def region(brain: Brain, request: pytest.FixtureRequest) -> np.ndarray:
    t1 = None if request.param == "t2" else brain.t1
    t2 = None if request.param == "t1" else brain.t2
    return search_region(t1, t2, brain.mask, GRID, brain.atlas)


def test_white_matter_and_deep_grey_are_covered(brain: Brain, region: np.ndarray) -> None:
    border = brain.fluid | brain.ventricle | ~brain.mask
    far = distance_transform_edt(~border) > MARGIN_MM + 2
    inner = far & (brain.wm | brain.deep) & ~brain.cerebellum
    assert region[inner].mean() > 0.95


def test_tubes_are_inside(brain: Brain, region: np.ndarray) -> None:
    assert region[brain.tubes].mean() > 0.95


def test_fluid_and_cerebellum_are_outside(brain: Brain, region: np.ndarray) -> None:
    assert not region[brain.ventricle | brain.fluid | ~brain.mask].any()
    assert not region[brain.cerebellum].any()


def test_most_cortex_is_outside(brain: Brain, region: np.ndarray) -> None:
    outer = brain.cortex & ~box(6)
    assert region[outer].mean() < 0.05


def test_the_region_keeps_its_distance_from_the_ventricle(brain: Brain, region: np.ndarray) -> None:
    assert distance_transform_edt(~brain.ventricle)[region].min() > MARGIN_MM - 0.5


def test_the_intensity_unit_does_not_matter(brain: Brain) -> None:
    first = search_region(brain.t1, None, brain.mask, GRID, brain.atlas)
    second = search_region(brain.t1 / 700, None, brain.mask, GRID, brain.atlas)
    assert (first != second).mean() < 1e-3


def test_no_image_is_refused(brain: Brain) -> None:
    with pytest.raises(ValueError, match="an image"):
        search_region(None, None, brain.mask, GRID, brain.atlas)


def test_an_empty_brain_is_refused(brain: Brain) -> None:
    with pytest.raises(ValueError, match="non-empty"):
        search_region(brain.t1, None, np.zeros(SHAPE, bool), GRID, brain.atlas)


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template()


@pytest.fixture(scope="module", params=[(1, 1, 1), (1, 2, 1)], ids=["1 mm", "1 x 2 x 1 mm"])
def where(template: Template, request: pytest.FixtureRequest) -> tuple[np.ndarray, tuple]:
    every = tuple(slice(None, None, n) for n in request.param)
    t1 = template.t1[every]
    grid = Grid(t1.shape, np.diag([*request.param, 1.0]))
    return plausible(t1, None, t1 > 0, grid), every


def test_plausible_are_white_matter_basal_ganglia_and_brainstem(
    template: Template, where: tuple[np.ndarray, tuple]
) -> None:
    found, every = where
    wm, deep = template.wm[every], template.deep_grey[every]
    assert found[deep].mean() > 0.9
    voxel = [round(v / n) for v, n in zip((0, -30, -35) - template.affine[:3, 3],
                                          [s.step for s in every], strict=True)]  # fmt: skip
    assert found[tuple(slice(v - 2, v + 3) for v in voxel)].mean() > 0.95  # the pons
    core = distance_transform_edt(wm > 0.5) > 3
    assert found[core].mean() > 0.97


def test_cortex_and_cerebellum_are_not_plausible(
    template: Template, where: tuple[np.ndarray, tuple]
) -> None:
    found, every = where
    brain = template.t1[every] > 0
    above = brain & ~template.infratentorial[every]
    outer = above & (template.gm[every] > 0.6) & ~template.deep_grey[every]
    assert found[outer].mean() < 0.35  # its border to white matter is within reach
    assert found[outer & (template.wm[every] < 0.05)].mean() < 0.2
    assert not found[~brain].any()
    below = template.infratentorial[every] & brain
    assert found[below].mean() < 0.4  # brainstem


def test_a_part_of_a_brain_is_refused(brain: Brain) -> None:
    with pytest.raises(InputError, match="less than 500 mL"):
        plausible(brain.t1, brain.t2, brain.mask, GRID)


@pytest.mark.parametrize("everything", [False, True])
def test_a_template_that_does_not_fit_is_refused(
    template: Template, everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit_atlas", lambda _t1, _t2, inside, _grid: Atlas(
        *([np.zeros(inside.shape, np.float32)] * 2), *([np.zeros(inside.shape, bool)] * 2),
        inside, np.eye(4)))  # fmt: skip
    monkeypatch.setattr(
        module, "search_region", lambda _t1, _t2, inside, *_: inside & np.bool_(everything)
    )
    grid = Grid(template.t1.shape, np.eye(4))
    with pytest.raises(InputError, match="does not fit"):
        plausible(template.t1, None, template.t1 > 0, grid)
