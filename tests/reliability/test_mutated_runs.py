"""Whatever stands in a JSON file, reading it ends well or in one sentence."""

import logging

import numpy as np
import pytest


@pytest.fixture
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_each_kind_of_file_is_changed_and_read(attack, tmp_path, small_network, quiet):
    mutated_runs = attack("mutated_runs")
    whole = mutated_runs.build(tmp_path / "study")
    rng = np.random.default_rng(3)
    found = [
        mutated_runs.tried(whole, tmp_path, target, rng)
        for target in mutated_runs.TARGETS
        for _ in range(2)
    ]
    assert [wrong for wrong in found if wrong] == []


def test_a_recipe_of_another_type_is_told(tmp_path):
    from napari_pvs.errors import InputError
    from napari_pvs.training.runs.folder import read_config

    (tmp_path / "config.json").write_text('{"study": ".", "recipe": ["adapt"]}')
    with pytest.raises(InputError, match="recipe"):
        read_config(tmp_path)


def test_a_description_that_is_nested_deeply_is_not_ours(tmp_path):
    from napari_pvs.errors import InputError
    from napari_pvs.phantom.cohort import remove_cohort

    (tmp_path / "dataset_description.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is not a cohort made by napari-pvs"):
        remove_cohort(tmp_path, overwrite=True)
