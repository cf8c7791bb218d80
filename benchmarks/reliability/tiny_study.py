"""A BIDS study of small heads, and weights of a small network, for what tries to break them."""

from pathlib import Path

import nibabel as nib
import numpy as np

AFFINE = np.diag([0.8, 0.8, 0.8, 1])
SHAPE = (24, 28, 26)


def study(root: Path, subjects: int = 3, labelled: int | None = None, seed: int = 0) -> Path:
    """Write a study; the first ``labelled`` subjects (or all) have a label."""
    for index in range(subjects):
        name = f"sub-{index + 1:02d}"
        rng = np.random.default_rng([seed, index])
        label = np.zeros(SHAPE, np.uint8)
        for _ in range(8):
            x, y, z = (int(rng.integers(5, n - 8)) for n in SHAPE)
            label[x : x + 2, y : y + 2, z : z + 5] = 1
        brain = np.zeros(SHAPE, np.uint8)
        brain[3:-3, 3:-3, 3:-3] = 1
        tissue = rng.choice(3, size=SHAPE, p=[0.02, 0.3, 0.68])
        t1 = np.array([40, 75, 100])[tissue] + rng.normal(0, 4, SHAPE)
        t2 = np.array([190, 120, 100])[tissue] + rng.normal(0, 4, SHAPE)
        t1[label > 0], t2[label > 0] = 35, 260
        files = {
            f"{name}/anat/{name}_T1w": (t1 * brain).astype(np.float32),
            f"{name}/anat/{name}_T2w": (t2 * brain).astype(np.float32),
            f"derivatives/masks/{name}/anat/{name}_desc-brain_mask": brain,
        }
        if labelled is None or index < labelled:
            files[f"derivatives/labels/{name}/anat/{name}_desc-pvs_mask"] = label
        for path, data in files.items():
            write(root / f"{path}.nii.gz", data)
    return root


def write(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write an image, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def small_network() -> None:
    """Let runs of this process train a network of two levels."""
    from napari_pvs.network.config import NetworkConfig
    from napari_pvs.training.config import TrainingConfig

    small = NetworkConfig(widths=(4, 8), scale_width=2)
    TrainingConfig.network = property(lambda self: small)  # type: ignore[assignment]


def weights(path: Path) -> Path:
    """Write weights of a network of two levels, which find something in any scan."""
    import torch

    from napari_pvs.network.config import NetworkConfig
    from napari_pvs.network.m2ss import M2SS
    from napari_pvs.network.weights import ModelCard, save

    torch.manual_seed(0)
    model = M2SS(NetworkConfig(widths=(4, 8), scale_width=2))
    with torch.no_grad():
        model(torch.randn(4, 2, 16, 16, 16))  # batch statistics
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, model.eval(), ModelCard(name="tiny", threshold=0.5))
    return path
