"""What all tests share."""

import locale
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
# read when torch is loaded; one of several workers has a core of its own
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")


@pytest.fixture(autouse=True)
def no_leaked_widgets() -> Iterator[None]:
    """Fail a test that leaves a window behind; Qt is asked only where a test has loaded it."""
    before = _windows()
    yield
    leaked = [window for window in _windows() if window not in before]
    names = [f"{type(window).__name__} {window.objectName()!r}" for window in leaked]
    for window in leaked:  # so that the tests that follow are not blamed
        window.close()
        window.deleteLater()
    assert not names, f"the test left widgets open: {', '.join(names)}"


@pytest.fixture(autouse=True)
def same_encoding() -> Iterator[None]:
    """Fail a test that changes how text is read, as C libraries do that set the locale."""
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    after = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, before)  # so that the tests that follow are not blamed
    assert after == before, f"the test changed the locale from {before} to {after}"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real scans and label maps, which are not part of the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_PVS_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist; set NAPARI_PVS_DATA to the folder of real scans.")
    return folder


def _windows() -> list:
    """Top-level widgets that nobody owns; popups of a live widget have a parent."""
    widgets = sys.modules.get("qtpy.QtWidgets")
    application = widgets.QApplication.instance() if widgets else None
    if application is None:
        return []
    application.sendPostedEvents(None, 52)  # QEvent.DeferredDelete: what deleteLater left
    return [window for window in application.topLevelWidgets() if window.parent() is None]


AFFINE = np.array([[0.8, 0, 0, -9], [0, 0.8, 0, -11], [0, 0, 0.8, -10], [0, 0, 0, 1.0]])


@dataclass
class Head:
    """Noisy white matter with some fluid and cortex, tubes bright on T2, in a box of brain."""

    t1: np.ndarray
    t2: np.ndarray
    brain: np.ndarray
    label: np.ndarray


def _head(shape=(24, 28, 26), seed=0, tubes=8) -> Head:
    rng = np.random.default_rng(seed)
    brain = np.zeros(shape, bool)
    brain[3:-3, 3:-3, 3:-3] = True
    tissue = rng.choice(3, size=shape, p=[0.02, 0.3, 0.68])
    t1 = np.array([40.0, 75, 100])[tissue] + rng.normal(0, 4, shape)
    t2 = np.array([190.0, 120, 100])[tissue] + rng.normal(0, 4, shape)
    label = np.zeros(shape, bool)
    for _ in range(tubes):
        x, y, z = (int(rng.integers(5, n - 6)) for n in shape)
        label[x : x + 2, y : y + 2, z : min(z + 5, shape[2] - 4)] = True
    t1[label], t2[label] = 35, 260
    t1[~brain] = t2[~brain] = 0
    return Head(t1.astype(np.float32), t2.astype(np.float32), brain, label)


def _save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.astype(np.uint8) if data.dtype == bool else data
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def make_head():
    """Function of shape, seed and number of tubes."""
    return _head


@pytest.fixture
def head() -> Head:
    return _head()


@pytest.fixture
def write_image():
    """Function of path, data and affine."""
    return _save


@pytest.fixture
def head_files(tmp_path, head) -> list[Path]:
    """T1, T2 and brain mask of `head`."""
    images = {"t1": head.t1, "t2": head.t2, "brain": head.brain}
    return [_save(tmp_path / "in" / f"{name}.nii.gz", data) for name, data in images.items()]


@pytest.fixture
def make_study(tmp_path):
    """Function that writes a BIDS study of small heads."""

    def make(subjects=3, labelled=None, modalities=("T1w", "T2w"), tubes=8) -> Path:
        root = tmp_path / "study"
        for index in range(subjects):
            name = f"sub-{index + 1:02d}"
            one = _head(seed=index, tubes=tubes)
            inner = Path(name) / "anat"
            for kind, data in (("T1w", one.t1), ("T2w", one.t2)):
                if kind in modalities:
                    _save(root / inner / f"{name}_{kind}.nii.gz", data)
            derivatives = root / "derivatives"
            _save(derivatives / "x" / inner / f"{name}_desc-brain_mask.nii.gz", one.brain)
            if labelled is None or index < labelled:
                _save(derivatives / "labels" / inner / f"{name}_desc-pvs_mask.nii.gz", one.label)
        return root

    return make


@pytest.fixture
def ended_runs() -> Iterator[None]:
    """Ends the runs that a test started, even if it fails."""
    from napari_pvs.training.runs.process import children

    yield
    for child in children.values():
        if child.poll() is None:
            child.kill()
        child.wait()
    children.clear()


@pytest.fixture
def small_network(monkeypatch):
    """Train a network of 2 levels, mono- or multi-scale as the method says."""
    from napari_pvs.network.config import NetworkConfig
    from napari_pvs.training.config import TrainingConfig
    from napari_pvs.training.methods import METHODS

    def network(self):
        multiscale = METHODS[self.method].multiscale
        return NetworkConfig(widths=(4, 8), scale_width=2, multiscale=multiscale)

    monkeypatch.setattr(TrainingConfig, "network", property(network))


@pytest.fixture(scope="session")
def tiny_model():
    """A network of 2 levels with random weights and batch statistics."""
    import torch

    from napari_pvs.network.config import NetworkConfig
    from napari_pvs.network.m2ss import M2SS

    torch.manual_seed(0)
    model = M2SS(NetworkConfig(widths=(4, 8), scale_width=2))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(4, 2, 16, 16, 16))  # batch statistics
    return model.eval()


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory, tiny_model) -> Path:
    """Its weights, with a threshold that about 5 % of the voxels of a head exceed."""
    import torch

    from napari_pvs.inference.predictor import interior, run
    from napari_pvs.network.weights import ModelCard, save
    from napari_pvs.scans.intensity import normalise

    one = _head()
    images = np.stack([normalise(image, one.brain) for image in (one.t1, one.t2)])
    found = run(tiny_model, images, one.brain, torch.device("cpu"))
    inside = interior(one.brain, (0.8, 0.8, 0.8))
    threshold = float(np.quantile(found[inside], 0.95).round(4))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(path, tiny_model, ModelCard(name="tiny", threshold=threshold))
    return path


@pytest.fixture(scope="session")
def scan_weights(tmp_path_factory, tiny_model) -> Path:
    """The same with batch norm that takes the statistics of each scan."""
    import copy

    from napari_pvs.network.weights import ModelCard, save

    model = copy.deepcopy(tiny_model)
    model.config = model.config.model_copy(update={"statistics": "scan"})
    path = tmp_path_factory.mktemp("weights") / "scan.safetensors"
    save(path, model, ModelCard(name="scan"))
    return path


@pytest.fixture
def publish(tiny_weights):
    """Function that writes best weights as a run does, and returns their path."""
    from napari_pvs.network.weights import load, save
    from napari_pvs.training.config import TrainingConfig
    from napari_pvs.training.runs.folder import BEST

    model, card = load(tiny_weights)

    def write(study, name, dsc, scans=2):
        run = study / "derivatives" / "runs" / name
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.json").write_text(TrainingConfig(study=study).model_dump_json())
        reached = {"dsc": dsc, "avd_percent": None, "recall": 0.5, "subjects": scans}
        about = {"training": {"epoch": 7}, "accuracy": {"validation": reached}}
        save(run / BEST, model, card.model_copy(update=about))
        return run / BEST

    return write


TUBES = {
    "sure": (slice(6, 8), slice(6, 8), slice(5, 12)),
    "also sure": (slice(15, 17), slice(6, 8), slice(5, 12)),
    "doubtful": (slice(6, 8), slice(18, 20), slice(10, 18)),
    "missed": (slice(16, 18), slice(18, 20), slice(8, 14)),
}
"""On the scan's grid."""


@pytest.fixture
def user_data(tmp_path, monkeypatch) -> Path:
    """Folder of the user's own data, in place of the real one."""
    import platformdirs

    data = tmp_path / "data"
    monkeypatch.setenv("XDG_DATA_HOME", str(data))  # of child processes too
    monkeypatch.setattr(platformdirs, "user_data_path", lambda name, **_: data / name)
    return data


@pytest.fixture
def own_folders(user_data) -> Path:
    """The folder of the user's own data; child processes have it on Linux only."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the folders of users are redirected on Linux only")
    return user_data


@pytest.fixture
def tubes():
    """The voxels of each PVS on the scan's grid."""
    return TUBES


@pytest.fixture
def pvs_scan(make_head):
    """T1 and T2 of white matter that holds the four."""
    from napari_pvs.scans.scan import Scan

    head = make_head(tubes=0)
    rng = np.random.default_rng(5)
    t1 = np.where(head.brain, 100 + rng.normal(0, 2, head.brain.shape), 0).astype(np.float32)
    t2 = np.where(head.brain, 100 + rng.normal(0, 2, head.brain.shape), 0).astype(np.float32)
    for tube in TUBES.values():
        t1[tube], t2[tube] = 50, 220
    affine = np.diag([0.8, 0.8, 0.8, 1])
    return Scan.from_arrays(t1, t2, affine, head.brain)
