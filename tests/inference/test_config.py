import pytest
from pydantic import ValidationError

from napari_pvs.inference.config import SegmentConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0},
        {"threshold": 1},
        {"min_volume": -1},
        {"min_volume": float("inf")},
        {"method": "guess"},
        {"windows": "large"},
        {"device": "tpu"},
        {"backend": "onnx"},
        {"t3": "x.nii"},
    ],
)
def test_refuses(wrong):
    with pytest.raises(ValidationError):
        SegmentConfig(**wrong)


def test_round_trip():
    config = SegmentConfig(t1="t1.nii", threshold=0.4)
    assert SegmentConfig.model_validate_json(config.model_dump_json()) == config
