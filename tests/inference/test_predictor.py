import logging
import warnings

import numpy as np
import pytest
import torch

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.inference import predictor as predictor_module
from napari_pvs.inference.patches import grid
from napari_pvs.inference.predictor import Predictor, adapted, compute, interior, run
from napari_pvs.network.backends.base import Cpu, GpuMemoryError
from napari_pvs.network.backends.torch_backend import TorchBackend, fuse
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import fingerprint, load
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.scan import Scan

CPU = torch.device("cpu")


def volume(shape=(48, 40, 44), seed=0):
    """Noise images and a ball of brain."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(2, *shape)).astype(np.float32)
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    brain = sum(((g - n / 2 + 0.5) / (n / 2 - 2)) ** 2 for g, n in zip(axes, shape, strict=True))
    brain = np.broadcast_to(brain < 1, shape).copy()
    return images * brain, brain


@pytest.mark.parametrize("multiscale", [True, False])
def test_fused_equals_unfused(multiscale):
    torch.manual_seed(0)
    model = M2SS(NetworkConfig(widths=(2, 3, 4, 5), scale_width=2, multiscale=multiscale))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -1, 1)
    model.eval()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    fused = fuse(model)
    assert not any(isinstance(m, torch.nn.BatchNorm3d) for m in fused.modules())
    images = torch.randn(1, 2, 17, 16, 24)
    with torch.inference_mode():
        a, b = torch.sigmoid(fused(images)), torch.sigmoid(model(images))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    for name, tensor in model.state_dict().items():  # the original is untouched
        assert torch.equal(tensor, before[name])


def test_small_windows_give_what_one_window_gives(tiny_model, monkeypatch):
    images, brain = volume()
    calls = []
    whole = run(tiny_model, images, brain, CPU, progress=lambda *c: calls.append(c))
    assert calls == [(1, 1)]
    monkeypatch.setattr(TorchBackend, "limit", 1000)
    calls.clear()
    tiled = run(tiny_model, images, brain, CPU, progress=lambda *c: calls.append(c))
    assert len(calls) > 3
    assert calls == [(n, len(calls)) for n in range(1, len(calls) + 1)]
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("windows", ["fast", "paper"])
def test_nothing_outside_the_brain(tiny_model, windows):
    images, brain = volume((33, 36, 34))
    out = run(tiny_model, images, brain, CPU, windows)
    assert out.dtype == np.float32
    assert out.shape == brain.shape
    assert not out[~brain].any()
    assert (out[brain] > 0).all()
    assert out.max() <= 1


def test_fast_and_paper_agree_away_from_patch_edges():
    """One level has a receptive field of 3 voxels to each side."""
    torch.manual_seed(0)
    model = M2SS(NetworkConfig(widths=(4,), scale_width=2)).eval()
    shape = (48, 48, 40)
    images, brain = volume(shape)
    seen_whole = brain.copy()
    for box in grid(shape):
        edge = np.zeros(shape, bool)
        edge[box] = True
        inner = tuple(
            slice(s.start + 3 * (s.start > 0), s.stop - 3 * (s.stop < n))
            for s, n in zip(box, shape, strict=True)
        )
        edge[inner] = False
        seen_whole &= ~edge
    assert seen_whole.sum() > 1000
    fast, paper = (run(model, images, brain, CPU, kind) for kind in ("fast", "paper"))
    np.testing.assert_allclose(paper[seen_whole], fast[seen_whole], atol=1e-5)
    assert np.abs(paper - fast).max() > 1e-4  # elsewhere zero padding shows


@pytest.mark.parametrize("shape", [(20, 9, 40), (5, 3, 7)])
def test_volume_smaller_than_a_patch(tiny_model, shape):
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    brain = np.ones(shape, bool)
    for windows in ("fast", "paper"):
        out = run(tiny_model, images, brain, CPU, windows)
        assert out.shape == shape
        assert (out > 0).all()


def test_progress_of_the_papers_grid(tiny_model):
    images, brain = volume()
    calls = []
    run(tiny_model, images, brain, CPU, "paper", lambda *c: calls.append(c))
    total = calls[-1][1]
    assert calls[-1] == (total, total)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert total == sum(bool(brain[box].any()) for box in grid(brain.shape))


LARGE = (120, 100, 90)
"""One window for a `Starved` that has enough, several for one that has less."""


class Starved:
    """A network on a pretended GPU that has memory for ``room`` voxels at once."""

    name, factor, limit, batch = "torch", 2, 1_200_000, 16
    adapts = False

    def __init__(self, room, device="cuda", sizes=None):
        self.room, self.device = room, Cpu(device)
        self.sizes = [] if sizes is None else sizes

    def on_cpu(self):
        return Starved(self.room, "cpu", self.sizes)

    def probability(self, images, keep=None):
        size = images.size // 2
        self.sizes.append((self.device.type, size))
        if self.device.type != "cpu" and size > self.room:
            raise GpuMemoryError
        out = np.full((len(images), *images.shape[2:]), 0.5, np.float32)
        return out if keep is None else out[(slice(None), *keep)]


def test_out_of_memory_takes_smaller_windows(caplog):
    images, brain = volume(LARGE)
    out = compute(Starved(500_000), images, brain)
    assert (out[brain] == 0.5).all()
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "smaller windows" in caplog.text


def test_out_of_memory_takes_smaller_batches(caplog):
    backend = Starved(4 * 32**3)
    images, brain = volume()
    out = compute(backend, images, brain, "paper")
    np.testing.assert_allclose(out[brain], 0.5)
    assert max(size for _, size in backend.sizes[1:]) == 4 * 32**3
    assert len(caplog.records) == 1


@pytest.mark.parametrize("windows", ["fast", "paper"])
def test_out_of_memory_ends_on_the_cpu(caplog, windows):
    backend = Starved(0)
    images, brain = volume(LARGE)
    out = compute(backend, images, brain, windows)
    np.testing.assert_allclose(out[brain], 0.5)
    assert backend.sizes[-1][0] == "cpu"
    said = [r.getMessage() for r in caplog.records]
    assert 2 <= len(said) <= 4
    assert all("retrying with smaller windows" in text for text in said[:-1])
    assert said[-1] == "The GPU ran out of memory even with small windows; using the CPU."
    backend.room = 10**9  # another program has ended: the next scan runs on the GPU again
    compute(backend, images, brain, windows)
    assert backend.sizes[-1][0] == "cuda"


def test_after_out_of_memory_the_cpu_gets_its_usual_windows():
    """Windows as small as a GPU was tried with would make the CPU compute most voxels twice."""
    images, brain = volume(LARGE)
    usual, fallen = Starved(0, "cpu"), Starved(0)
    expected = compute(usual, images, brain)
    found = compute(fallen, images, brain)
    np.testing.assert_array_equal(found, expected)
    tried = [size for place, size in fallen.sizes if place == "cuda"]
    assert 2 <= len(tried) <= 4
    assert max(tried[1:]) < tried[0]
    assert [size for place, size in fallen.sizes if place == "cpu"] == [s for _, s in usual.sizes]


def test_windows_that_cannot_be_cut_are_not_tried_again(caplog):
    backend = Starved(0)
    images, brain = volume((30, 28, 26))
    compute(backend, images, brain)
    assert [place for place, _ in backend.sizes] == ["cuda", "cpu"]
    assert "trying again" not in caplog.text


def scan_of(head, size):
    affine = np.diag([*([size] * 3), 1.0])
    return Scan.from_arrays(head.t1, head.t2, affine, head.brain)


@pytest.fixture
def tiny_predictor(tiny_weights, monkeypatch):
    """A predictor that notes the shapes it computes."""
    made = Predictor(tiny_weights, "cpu")
    made.shapes = []
    compute = made.predict_array

    def noted(images, brain, progress=None):
        made.shapes.append(brain.shape)
        return compute(images, brain, progress)

    monkeypatch.setattr(made, "predict_array", noted)
    return made


@pytest.mark.parametrize("size", [0.645, 0.8, 1.1])
def test_scan_within_the_weights_range_is_not_resampled(tiny_predictor, head, size):
    out = tiny_predictor.predict(scan_of(head, size))
    assert tiny_predictor.shapes == [head.brain.shape]
    np.testing.assert_array_equal(out > 0, interior(head.brain, (size,) * 3))


@pytest.mark.parametrize(("size", "shape"), [(2.2, (48, 56, 52)), (0.5, (19, 22, 20))])
def test_other_voxel_sizes_are_resampled_and_back(tiny_predictor, head, size, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # coarse voxels
        scan = scan_of(head, size)
    out = tiny_predictor.predict(scan)
    assert tiny_predictor.shapes == [shape]
    assert out.shape == scan.grid.shape
    assert out.dtype == np.float32
    inside = interior(scan.brain, (size,) * 3)
    assert inside.any()
    assert not out[~inside].any()
    assert (out[inside] > 0).mean() > 0.9
    assert out.max() <= 1


def test_a_window_of_another_voxel_size_is_resampled_and_back(tiny_weights, make_head):
    head = make_head(shape=(40, 40, 40))
    images = np.stack([head.t1, head.t2]) / 100
    predictor = Predictor(tiny_weights, "cpu")
    grids = [Grid(head.brain.shape, np.diag([edge] * 3 + [1.0])) for edge in (0.4, 0.8)]
    found, same = (predictor.predict_on(grid, images, head.brain) for grid in grids)
    assert found.shape == head.brain.shape
    assert found.dtype == np.float32
    assert not found[~head.brain].any()
    assert 0 <= found.min() < found.max() <= 1
    assert not np.allclose(found, same)
    np.testing.assert_array_equal(same, predictor.predict_array(images, head.brain))


def test_interior_is_3_mm_from_the_surface_but_not_from_the_field_of_view():
    brain = np.zeros((20, 12, 9), bool)
    brain[4:, :, :] = True
    inside = interior(brain, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(np.flatnonzero(inside[:, 6, 4]), np.arange(7, 20))
    assert inside[10].all()
    assert interior(np.ones((5, 5, 5), bool), (1, 1, 1)).all()
    coarse = interior(brain, (2.0, 1.0, 1.0))
    np.testing.assert_array_equal(np.flatnonzero(coarse[:, 6, 4]), np.arange(5, 20))


def test_one_modality(tiny_predictor, head):
    affine = np.diag([0.8, 0.8, 0.8, 1])
    both = tiny_predictor.predict(scan_of(head, 0.8))
    for t1, t2 in ((head.t1, None), (None, head.t2)):
        out = tiny_predictor.predict(Scan.from_arrays(t1, t2, affine, head.brain))
        assert np.isfinite(out).all()
        assert np.abs(out - both).max() > 1e-3


def test_card_and_id(tiny_weights):
    made = Predictor(tiny_weights, "cpu")
    assert made.card.name == "tiny"
    assert made.device.type == "cpu"
    assert len(made.weights_id) == 12


def test_empty_brain(tiny_weights):
    made = Predictor(tiny_weights, "cpu")
    out = made.predict_array(
        np.ones((2, 8, 8, 8), np.float32),
        np.zeros((8, 8, 8), bool),
        lambda *_: pytest.fail("nothing to do"),
    )
    assert out.shape == (8, 8, 8)
    assert not out.any()


def test_missing_weights(tmp_path):
    with pytest.raises(InputError, match=r"none.safetensors do not exist"):
        Predictor(tmp_path / "none.safetensors", "cpu")


@pytest.mark.parametrize(("statistics", "changes"), [("fixed", True), ("scan", False)])
def test_with_its_own_statistics_a_scan_may_be_twice_as_bright(statistics, changes):
    torch.manual_seed(0)
    shape = NetworkConfig(widths=(4, 8), multiscale=False, statistics=statistics)
    model, (images, brain) = M2SS(shape).eval(), volume()
    found, brighter = (run(model, k * images, brain, CPU, precision="full") for k in (1, 2))
    assert (np.abs(found - brighter).max() > 1e-3) == changes
    assert np.ptp(found[brain]) > 0.01


def test_training_reads_a_scan_as_the_predictor_does(scan_weights):
    images, brain = volume()
    predictor = Predictor(scan_weights, "cpu", precision="full")
    found = run(load(scan_weights)[0], images, brain, CPU, precision="full")
    np.testing.assert_allclose(found, predictor.predict_array(images, brain), atol=5e-3)


@pytest.mark.parametrize("size", [0.8, 2.2])
def test_windows_have_the_statistics_of_their_scan(scan_weights, make_head, size):
    head = make_head((48, 48, 48))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # coarse voxels
        scan = scan_of(head, size)
    predictor = Predictor(scan_weights, "cpu", precision="full")
    whole, ready = predictor.predict(scan), predictor.for_scan(scan)
    images, inside = scan.normalised(), interior(scan.brain, (size,) * 3)
    box = (slice(0, 32), slice(8, 40), slice(16, 48))
    grid_, crop = scan.grid.cropped(box), images[(slice(None), *box)]
    core = (slice(12, 20),) * 3
    inner = tuple(
        slice(a.start + c.start, a.start + c.stop) for a, c in zip(box, core, strict=True)
    )
    part = ready.predict_on(grid_, crop, inside[box])
    close = 1e-3 if size == 0.8 else 0.05  # resampled from other places
    np.testing.assert_allclose(part[core], whole[inner], atol=close)
    alone = predictor.predict_on(grid_, crop, inside[box])
    assert np.abs(alone[core] - whole[inner]).max() > 2 * np.abs(part[core] - whole[inner]).max()
    assert ready.for_scan(scan) is ready
    assert ready.weights_id == predictor.weights_id


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_its_id_is_that_of_the_weights_it_runs(tiny_weights, scan_weights, tmp_path, backend):
    path = tmp_path / "best.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    opened = predictor_module.open_backend

    def replaced(*arguments):
        path.write_bytes(scan_weights.read_bytes())  # a run publishes others
        return opened(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor_module, "open_backend", replaced)
        made = Predictor(path, "cpu", backend=backend)
    assert made.weights_id == fingerprint(tiny_weights)
    assert made.card.name == "tiny"


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_prepared_or_not_the_answer_is_the_same(scan_weights, backend):
    images, brain = volume()
    ready, other = (Predictor(scan_weights, "cpu", backend=backend) for _ in range(2))
    ready.prepare()
    np.testing.assert_array_equal(*(p.predict_array(images, brain) for p in (ready, other)))


def test_weights_with_statistics_of_their_training_serve_every_scan(tiny_weights, head):
    predictor = Predictor(tiny_weights, "cpu")
    assert predictor.for_scan(scan_of(head, 0.8)) is predictor


def test_nothing_to_measure_leaves_the_statistics(scan_weights):
    backend = Predictor(scan_weights, "cpu").backend
    assert adapted(backend, np.zeros((2, 8, 8, 8), np.float32)) is backend


def test_a_hole_in_the_mask_is_no_surface():
    brain = np.ones((15, 15, 15), bool)
    brain[0], brain[7, 7, 7] = False, False
    inside = interior(brain, (1.0, 1.0, 1.0))
    assert not inside[7, 7, 7]
    assert inside[8, 7, 7]
    assert inside.sum() == 15 * 15 * 11 - 1
