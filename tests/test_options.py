import pytest

from napari_pvs.errors import InputError
from napari_pvs.options import build
from napari_pvs.training.config import TrainingConfig


def test_unknown_field_of_a_file_is_named():
    with pytest.raises(InputError, match=r"^--epoch is not known"):
        build(TrainingConfig, {"study": "x", "epoch": 3})
    with pytest.raises(InputError, match=r"^--study is missing"):
        build(TrainingConfig, {})
