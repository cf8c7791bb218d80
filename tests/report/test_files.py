"""Pages of masks: what the weights' card says reaches the page."""

import pytest

from napari_pvs.network.weights import ModelCard, save
from napari_pvs.report.files import of_mask

RANGES = {"T1": {"5": (-3.0, 3.0)}, "T2": {"5": [-3.0, 3.0]}}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"intensities": RANGES}, "within the range of training"),
        ({"intensities": {"T1": {"5": (30.0, 31.0)}}}, "in training 30.0 to 31.0"),
        ({}, "not known"),
        ({"intensities": {"T1": "high"}}, "not known"),
    ],
)
def test_intensities_are_held_against_what_the_weights_tell(
    told, words, findings, tiny_model, tmp_path, read_page
):
    path = tmp_path / "mine.safetensors"
    save(path, tiny_model, ModelCard(training=told))
    labels = findings.labels > 0
    made = of_mask(
        findings.scan, labels, name="x", origin={}, regions=findings.regions, weights=path
    )
    page = read_page(made.html)
    assert words in page.text
    assert not page.faults
