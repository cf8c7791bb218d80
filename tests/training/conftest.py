import numpy as np
import pytest

from napari_pvs.training.data.prepared import PreparedSubject


def _cut_out(t1=True, t2=True, noise=0.2, edge=40):
    """White matter around a ventricle, cortex at one side: a cut-out of a normalised brain."""
    rng = np.random.default_rng(0)
    shape = (edge,) * 3
    tissue = np.zeros(shape, int)  # white
    tissue[:8] = 1  # cortex
    tissue[15:25, 15:25, 15:25] = 2  # fluid
    images = np.stack(
        [np.array([0.8, -0.8, -4.0])[tissue], np.array([-0.4, 0.8, 6.0])[tissue]]
    ) + rng.normal(0, noise, (2, *shape))
    images *= np.array([t1, t2])[:, None, None, None]
    none = np.empty((0, 3), np.int16)
    brain = np.ones(shape, bool)
    return PreparedSubject(
        "sub-01", images.astype(np.float16), None, brain, (0.8,) * 3, none, (0,) * 3
    )


@pytest.fixture
def cut_out():
    """Function that makes it: which modalities there are, noise, edge in voxels."""
    return _cut_out
