import pytest
from pydantic import ValidationError

from napari_pvs.network.config import NetworkConfig


@pytest.mark.parametrize(
    "wrong",
    [{"widths": ()}, {"widths": (0, 8)}, {"widths": (4, -8)}, {"scale_width": 0}, {"depth": 4}],
)
def test_refuses_what_makes_no_network(wrong):
    with pytest.raises(ValidationError):
        NetworkConfig(**wrong)


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        NetworkConfig().multiscale = False
