"""The template is bent back onto a head that was bent from it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_pvs.scans import deform as module
from napari_pvs.scans.deform import deform
from napari_pvs.scans.template import load_regions


def test_places_are_found_again_from_a_t2(bent) -> None:
    _, ventricles = load_regions().at(bent.truth.reshape(-1, 3))
    near = np.argwhere(ventricles.reshape(bent.brain.shape) & bent.brain)
    off = np.linalg.norm(bent.found.points(near) - bent.truth[tuple(near.T)], axis=1)
    bare = near @ bent.found.to_mni[:3, :3].T + bent.found.to_mni[:3, 3]
    before = np.linalg.norm(bare - bent.truth[tuple(near.T)], axis=1)
    assert off.mean() < 0.75 * before.mean()
    assert off.mean() < 3
    assert 0.8 < bent.found.likeness < 0.995  # alike, and not the same
    assert bent.found.overlap > 0.95


def test_there_and_back_is_the_same_voxel(bent) -> None:
    voxels = np.argwhere(bent.brain)[::997]
    back = bent.found.voxels(bent.found.points(voxels))
    assert np.percentile(np.linalg.norm(back - voxels, axis=1) * 2.5, 95) < 1.0


def test_the_same_input_gives_the_same_result_on_any_number_of_threads() -> None:
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    one, two = (gaussian_filter(rng.random((32, 28, 30), np.float32), 2) for _ in range(2))
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results, told = [], []
    for threads in (1, 3):
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        try:
            results.append(module._demons(one, two, lambda *step: told.append(step)))
            assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads
        finally:
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert results[0].shape == (3, 32, 28, 30)
    assert np.abs(results[0]).max() > 0
    np.testing.assert_array_equal(*results)
    first, second = told[: len(told) // 2], told[len(told) // 2 :]
    assert first == second == sorted(first)
    assert first[0][0] < first[-1][0] == first[-1][1]


def test_an_image_is_needed(bent) -> None:
    with pytest.raises(ValueError, match="T1 or a T2"):
        deform(None, None, bent.brain, bent.grid)
