"""Results folders as layers, without a viewer."""

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.inference import outputs
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import segment
from napari_pvs.widgets.viewer.files import get_reader
from napari_pvs.widgets.viewer.results import layers_of


@pytest.fixture
def folder(head_files, tiny_weights, tmp_path):
    """What the command line has written for a scan."""
    t1, t2, brain = head_files
    config = SegmentConfig(t1=t1, t2=t2, brain_mask=brain, weights=tiny_weights, device="cpu")
    made = segment(config)
    outputs.write(made, tmp_path / "results", config)
    return tmp_path / "results", made


def test_a_results_folder_gives_scan_map_and_numbered_pvs(folder):
    path, made = folder
    reader = get_reader(str(path))
    t1, t2, chances, pvs = reader([str(path)])
    assert [layer[2] for layer in (t1, t2, chances, pvs)] == ["image", "image", "image", "labels"]
    assert [layer[1].get("visible", True) for layer in (t1, t2, chances, pvs)] == [
        False, True, False, True,
    ]  # fmt: skip
    np.testing.assert_array_equal(t2[0], made.scan.t2.transpose(2, 1, 0)[:, ::-1])
    np.testing.assert_allclose(chances[0].max(), made.probability.max(), atol=1e-4)
    np.testing.assert_array_equal(pvs[0], made.labels.transpose(2, 1, 0)[:, ::-1])
    features = pvs[1]["features"]
    ids = [row.id for row in made.table]
    assert features["index"][: len(ids)] == ids
    assert features["volume_mm3"][: len(ids)] == [row.volume_mm3 for row in made.table]
    assert set(features["status"]) == {"pvs"}
    assert set(features["region"]) == {None}
    for layer in (chances, pvs):  # so that a blind rater is not shown them
        assert layer[1]["metadata"]["napari_pvs"]["weights_id"] == made.origin["weights_id"]


def test_a_folder_without_its_scan_or_its_files(folder, head_files):
    path, _ = folder
    for file in head_files:
        file.unlink()
    assert [layer[1]["name"] for layer in layers_of(path)] == ["PVS probability", "PVS"]
    table = (path / "pvs.tsv").read_text().splitlines(keepends=True)
    (path / "pvs.tsv").write_text("".join(table[:-1]) + "7\t8\n")
    with pytest.raises(InputError, match=r"pvs\.tsv is damaged .*; segment the scan again\.$"):
        layers_of(path)
    (path / "pvs.tsv").unlink()
    with pytest.raises(InputError, match=r"holds no pvs\.tsv; choose a folder that napari-pvs seg"):
        layers_of(path)
    (path / "pvs_probability.nii.gz").unlink()
    assert get_reader(str(path)) is None
