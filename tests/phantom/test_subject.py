from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from napari_pvs.phantom import mimics
from napari_pvs.phantom.anatomy import Anatomy
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.sites import SITES
from napari_pvs.phantom.subject import (
    Subject,
    _capsules,
    _draw_ganglia,
    _gliosis,
    _One,
    _Pvs,
    _share,
    make_subject,
)
from napari_pvs.phantom.tubes import Tube, rasterise

Make = Callable[..., Subject]


@pytest.fixture(scope="module")
def make(head: Anatomy, config: PhantomConfig) -> Make:
    def make(site: str = "A", seed: int = 5, **change: object) -> Subject:
        changed = config.model_copy(update=change)
        return make_subject(head, SITES[site], changed, np.random.default_rng(seed))

    return make


def test_grid(subject: Subject) -> None:
    arrays = (subject.t1, subject.t2, subject.brain, subject.habitat, subject.fraction)
    assert {a.shape for a in (*arrays, subject.instances)} == {(80, 80, 80)}
    np.testing.assert_allclose(np.diag(subject.affine), [0.8, 0.8, 0.8, 1])
    np.testing.assert_allclose(subject.affine @ [39.5, 39.5, 39.5, 1], [0, 0, 0, 1])
    assert (subject.site, subject.anatomy) == ("A", "spheres")
    assert np.isfinite(subject.t1).all()
    assert np.isfinite(subject.t2).all()


def test_table_agrees_with_the_instances(subject: Subject, config: PhantomConfig) -> None:
    assert len(subject.table) == 25
    assert [row["id"] for row in subject.table] == list(range(1, 26))
    assert {row["region"] for row in subject.table} <= {"WM", "BG"}
    voxels = np.bincount(subject.instances.ravel(), minlength=26)[1:]
    assert [row["voxels"] for row in subject.table] == voxels.tolist()
    for row in subject.table:
        assert config.fluid[0] <= row["fluid"] <= config.fluid[1]
        least = 1.3 if row["region"] == "BG" else 2
        assert row["length_mm"] >= least * row["diameter_mm"] - 1e-3


def test_tubes_do_not_overlap(subject: Subject) -> None:
    """Volumes were measured tube by tube: any overlap would be missing in the sum."""
    alone = sum(row["volume_mm3"] for row in subject.table)
    assert subject.fraction.sum() * 0.8**3 == pytest.approx(alone, abs=0.02)
    assert subject.fraction.min() == 0
    assert subject.fraction.max() <= 1


def test_tubes_lie_where_the_table_says(subject: Subject) -> None:
    away = []
    for row in subject.table:
        if row["voxels"]:
            centre = np.argwhere(subject.instances == row["id"]).mean(0)
            world = (subject.affine @ [*centre, 1])[:3]
            away.append(np.linalg.norm(world - [row["x"], row["y"], row["z"]]))
    # thin ends of a tube carry no label
    assert np.median(away) < 0.5
    assert max(away) < 3


def test_tubes_stay_in_white_matter_and_basal_ganglia(subject: Subject) -> None:
    core = subject.fraction > 0.9
    assert core.any()
    assert subject.habitat[core].mean() > 0.95  # of wide ones, the rim may lie outside
    # a centreline stays inside, and a tube has a radius of 2 mm at most
    away = ndimage.distance_transform_edt(~subject.habitat, sampling=0.8)
    assert away[subject.fraction > 0].max() < 2 + 0.8 * np.sqrt(3)
    assert subject.brain[subject.instances > 0].all()


def test_volume_is_that_of_cylinders_with_round_ends(subject: Subject) -> None:
    size = [(r["diameter_mm"], r["length_mm"]) for r in subject.table]
    # ends taper to .6 of the diameter
    expected = [np.pi / 4 * d**2 * length + np.pi / 6 * (0.6 * d) ** 3 for d, length in size]
    measured = [r["volume_mm3"] for r in subject.table]
    assert 0.9 < sum(measured) / sum(expected) < 1.25
    ratio = np.array(measured) / expected
    assert np.mean(np.abs(ratio - 1) < 0.25) > 0.9  # a branch of another width is more


def test_pvs_are_bright_on_t2_and_dark_on_t1(make: Make) -> None:
    with_pvs, without = make(fluid=(0.6, 0.6)), make(fluid=(0.01, 0.01))
    np.testing.assert_array_equal(with_pvs.fraction, without.fraction)
    core = with_pvs.fraction > 0.8
    assert (with_pvs.t2[core] / without.t2[core]).mean() > 1.15
    assert (with_pvs.t1[core] / without.t1[core]).mean() < 0.9
    far = ~ndimage.binary_dilation(with_pvs.fraction > 0, iterations=9) & with_pvs.brain
    assert far.any()
    np.testing.assert_allclose(with_pvs.t2[far], without.t2[far], rtol=1e-4)


def test_some_pvs_hardly_darken_t1(head: Anatomy, config: PhantomConfig) -> None:
    def make(most: float) -> Subject:
        site = SITES["A"].model_copy(update={"t1_faded": (most, most)})
        return make_subject(head, site, config, np.random.default_rng(5))

    plain, faded = make(0.0), make(1.0)
    np.testing.assert_array_equal(plain.t2, faded.t2)
    assert all(row["faded"] == 0 for row in plain.table)
    shares = np.array([row["faded"] for row in faded.table])
    assert shares.min() < 0.3
    assert 0.7 < shares.max() <= 1
    core = faded.fraction > 0.8
    inside = np.where(core, faded.instances, 0)
    there = np.unique(inside[inside > 0])
    brighter = ndimage.mean(faded.t1 - plain.t1, inside, there)
    assert min(brighter) > -1e-3
    assert np.corrcoef(brighter, shares[there - 1])[0, 1] > 0.7


@pytest.mark.parametrize(
    ("mimic", "t1_is_bright", "t2_is_bright"),
    [
        ("vessels", False, False),
        ("folia", False, True),
        ("wmh", False, True),
        ("lacune", False, True),
    ],
)
def test_mimics_have_their_polarity(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    mimic: str,
    t1_is_bright: bool,
    t2_is_bright: bool,
) -> None:
    def block(share: float) -> tuple[Subject, np.ndarray]:
        image = np.zeros((80, 80, 80), np.float32)
        image[10:16, 40:46, 50:56] = share
        nothing = np.zeros_like(image)
        names = ("vessels", "folia", "wmh", "lacune")
        shown = {name: image if name == mimic else nothing for name in names}
        monkeypatch.setattr(mimics, "vessels", lambda *_: shown["vessels"])
        monkeypatch.setattr(mimics, "choroid_plexus", lambda *_: nothing)
        monkeypatch.setattr(mimics, "folia", lambda *_: shown["folia"])
        monkeypatch.setattr(mimics, "lesions", lambda *_: (shown["wmh"], shown["lacune"]))
        return make(pvs=(0, 0)), image > 0

    (shown, where), (hidden, _) = block(1.0), block(0.0)
    assert shown.brain[where].all()
    assert ((shown.t1[where] / hidden.t1[where]).mean() > 1) is np.bool_(t1_is_bright)
    assert ((shown.t2[where] / hidden.t2[where]).mean() > 1) is np.bool_(t2_is_bright)
    for one, other in ((shown.t1, hidden.t1), (shown.t2, hidden.t2)):
        assert abs((one[where] / other[where]).mean() - 1) > 0.08


def test_physical_rule(make: Make) -> None:
    strict, loose = (make(label_rule="physical", label_fraction=least) for least in (0.6, 0.2))
    np.testing.assert_array_equal(strict.instances > 0, strict.fraction >= 0.6)
    np.testing.assert_array_equal(strict.fraction, loose.fraction)
    np.testing.assert_array_equal(strict.t2, loose.t2)
    assert (loose.instances > 0).sum() > 1.5 * (strict.instances > 0).sum()
    inside = strict.instances > 0
    np.testing.assert_array_equal(strict.instances[inside], loose.instances[inside])


def test_the_physical_rule_keeps_the_volume(make: Make) -> None:
    physical = make(label_rule="physical")
    labelled = (physical.instances > 0).sum() / physical.fraction.sum()
    assert labelled == pytest.approx(1, abs=0.12)


def test_a_rater_labels_what_can_be_seen(make: Make) -> None:
    rules = [make(label_rule="rater", visible=visible) for visible in (0.0, 2.5, 60.0)]
    numbers = [len(np.unique(made.instances)) - 1 for made in rules]
    assert numbers[0] == 25
    assert numbers[0] >= numbers[1] > numbers[2]
    for made in rules:
        np.testing.assert_array_equal(made.t2, rules[0].t2)
        assert (made.fraction[made.instances > 0] >= 0.2 - 1e-6).all()
    # who is seen keeps the same voxels
    kept = rules[2].instances > 0
    np.testing.assert_array_equal(rules[2].instances[kept], rules[0].instances[kept])


def test_the_rater_agrees_with_the_physical_rule_on_wide_pvs(make: Make) -> None:
    rater, physical = make(label_rule="rater"), make(label_rule="physical")
    wide = [row["id"] for row in rater.table if row["diameter_mm"] > 1.5]
    one, other = np.isin(rater.instances, wide), np.isin(physical.instances, wide)
    assert wide
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.8


def test_raters_differ(make: Make) -> None:
    same = make(rater_variation=0.0)
    others = [make(rater_variation=0.15, seed=seed) for seed in (5, 6)]
    np.testing.assert_array_equal(same.t1, others[0].t1)
    assert not np.array_equal(same.instances > 0, others[0].instances > 0)


def test_no_pvs(make: Make) -> None:
    bare = make(pvs=(0, 0))
    assert bare.table == []
    assert not bare.instances.any()
    assert not bare.fraction.any()


def test_number_of_pvs_is_within_the_limits(make: Make) -> None:
    numbers = [len(make(pvs=(3, 9), seed=seed).table) for seed in range(4)]
    assert all(3 <= n <= 9 for n in numbers)
    assert len(set(numbers)) > 1


def test_same_seed_same_subject(make: Make, subject: Subject) -> None:
    again, other = make(), make(seed=6)
    for name in ("t1", "t2", "fraction", "instances", "brain"):
        np.testing.assert_array_equal(getattr(again, name), getattr(subject, name))
        assert not np.array_equal(getattr(other, name), getattr(subject, name))
    assert again.table == subject.table


@pytest.mark.parametrize("name", list(SITES))
def test_sites_keep_their_voxel_size(make: Make, name: str) -> None:
    made = make(site=name, pvs=(2, 2))
    edges = np.diag(made.affine)[:3]
    for edge, (low, high) in zip(edges, SITES[name].voxel_size, strict=True):
        assert low - 1e-3 <= edge <= high + 1e-3
    assert made.t1.shape == tuple(np.round(64 / edges).astype(int))
    assert made.site == name


@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_sites_keep_their_snr(make: Make, name: str) -> None:
    made = make(site=name, pvs=(2, 2))
    quiet = ndimage.binary_erosion(made.habitat & (made.fraction == 0), iterations=3)
    both = quiet[1:] & quiet[:-1]
    for scan, (low, high) in ((made.t1, SITES[name].t1_snr), (made.t2, SITES[name].t2_snr)):
        # neighbours differ by noise, not by texture or bias; the median spares the lesions
        step = np.abs(np.diff(scan, axis=0))[both]
        sigma = np.median(step) / 0.6745 / np.sqrt(2)
        assert 0.8 * low < np.median(scan[quiet]) / sigma < 1.2 * high


def test_misregistration_moves_t2_only(head: Anatomy, config: PhantomConfig) -> None:
    made, centres = [], []
    for mm in (0.0, 3.0):
        update = {"misregistration": (mm, mm), "t2_snr": (200, 200), "motion": 0.0}
        site = SITES["A"].model_copy(update=update)
        made.append(make_subject(head, site, config, np.random.default_rng(3)))
        scan = made[-1].t2[24:56, 16:64, 32:68]  # around the ventricles
        fluid, _ = ndimage.label(scan > 1.7 * np.median(scan))
        largest = np.bincount(fluid.ravel())[1:].argmax() + 1
        centres.append(np.array(ndimage.center_of_mass(fluid == largest)))
    np.testing.assert_array_equal(made[0].t1, made[1].t1)
    moved = np.linalg.norm(centres[1] - centres[0]) * 0.8
    assert moved == pytest.approx(3.0, abs=0.4)


def test_outside_the_brain_is_zero_unless_the_head_is_wanted(head: Anatomy) -> None:
    for keep in (False, True):
        config = PhantomConfig(field_of_view=(112, 112, 112), pvs=(2, 2), head=keep)
        site = SITES["B"]
        made = make_subject(head, site, config, np.random.default_rng(0))
        assert (made.t1[~made.brain] > 0).all() == keep
        assert (made.t2[~made.brain] > 0).any() == keep
        assert (made.t1[made.brain] > 0).all()


def test_wide_pvs_hold_the_most_fluid() -> None:
    rng = np.random.default_rng(0)

    def shares(diameter: float, limits: tuple[float, float]) -> list[float]:
        return [_share(diameter, limits, rng) for _ in range(200)]

    for diameter, least in ((0.8, 0.6), (1.75, 0.76), (2.5, 0.92), (4.0, 0.92)):
        drawn = shares(diameter, (0.6, 1.0))
        assert min(drawn) == pytest.approx(least, abs=0.02)
        assert max(drawn) == pytest.approx(1, abs=0.02)
    assert set(shares(3.0, (0.5, 0.5))) == {0.5}


def test_capsules_lie_between_ganglia_and_cortex() -> None:
    ganglia = np.zeros((40, 12, 12), bool)
    cortex = ganglia.copy()
    ganglia[:10], cortex[18:24] = True, True
    capsules = _capsules(cortex, ganglia, np.ones(3))
    inside = np.flatnonzero(capsules.all((1, 2)))
    assert inside.min() == 13  # less than 6 mm from both
    assert inside.max() == 14
    cortex[:], cortex[30:] = False, True
    assert not _capsules(cortex, ganglia, np.ones(3)).any()


def test_dilated_subjects_have_more_in_their_basal_ganglia(make: Make) -> None:
    def ganglia(share: float) -> list[dict]:
        made = [make(seed=seed, dilated=share, width=0.0) for seed in range(4)]
        return [row for one in made for row in one.table if row["region"] == "BG"]

    many, few = ganglia(1.0), ganglia(0.0)
    assert len(many) > len(few)
    assert np.mean([r["diameter_mm"] for r in many]) > np.mean([r["diameter_mm"] for r in few])


def test_gliosis_lies_around_pvs_of_the_basal_ganglia_alone() -> None:
    size, shape = np.full(3, 0.8), (40, 40, 40)
    pvs = _Pvs(np.zeros(shape, np.float32), {}, np.zeros(shape, np.int32))
    for region, x in (("BG", 10.0), ("WM", 24.0)):
        points = np.array([[x, 16.0, z] for z in np.arange(12, 20, 0.2)])
        tube = Tube(points, np.full(len(points), 1.0), 2.0, 8.0, region)
        pvs.add(_One(tube, rasterise(tube, shape, size), 1.0, 0.0))
    assert _gliosis(pvs, 0.0, size) == 0
    found = np.asarray(_gliosis(pvs, 0.6, size))
    assert found.max() <= 0.6
    assert found[16, 20, 20] > 0.05  # 3 mm from the middle of the first
    assert found[12, 20, 20] > found[16, 20, 20]
    assert not found[28:, 20, 20].any()


def test_dilated_subjects_differ_in_how_swollen_and_bright_they_are() -> None:
    config = PhantomConfig(dilated=1.0)
    drawn = [_draw_ganglia(config, np.random.default_rng(seed)) for seed in range(20)]
    for values, most in (([d.swollen for d in drawn], 0.4), ([d.gliosis for d in drawn], 0.8)):
        assert 0 <= min(values) < most / 3
        assert 2 * most / 3 < max(values) <= most
    none = _draw_ganglia(PhantomConfig(dilated=0.0), np.random.default_rng(0))
    assert (none.swollen, none.gliosis, none.wider) == (0, 0, 1)
