import math

import pytest
import torch

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.losses import supervised
from napari_pvs.training.semi_supervised.consistency import confident, ramp, unsupervised


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 5, 5, 5, generator=generator) * 3
    return logits, (torch.rand(logits.shape, generator=generator) < 0.2).float()


def config(**values):
    return TrainingConfig(study="x", method="m2ss", **values)


PSEUDO = torch.tensor([0.05, 0.3, 0.65, 0.95, -1.0])
LOGITS = torch.tensor([4.0, -4.0, 0.0, 4.0, -4.0])


@pytest.mark.parametrize(
    ("values", "sure"),
    [
        ({"confidence": 0.8, "confidence_pvs": 0.6}, [1, 0, 1, 1, 0]),
        ({"confidence": 0.6, "confidence_pvs": 0.6}, [1, 1, 1, 1, 0]),
        ({"recipe": "paper"}, [1, 0, 0, 1, 0]),
        ({"recipe": "paper", "indicator": "prediction"}, [1, 1, 0, 1, 0]),
    ],
)
def test_confident(values, sure):
    assert confident(PSEUDO, LOGITS, config(**values)).tolist() == sure


def test_unsupervised_of_the_paper():
    loss, shares = unsupervised(LOGITS, PSEUDO, config(recipe="paper"))
    sigmoid = torch.sigmoid(LOGITS)
    each = -(PSEUDO * sigmoid.log() + (1 - PSEUDO) * (1 - sigmoid).log())
    assert loss.item() == pytest.approx(float(each[0] + each[3]) / 5, rel=1e-4)
    assert shares == pytest.approx({"selected": 0.4, "selected_pvs": 0.2})


def test_unsupervised_by_default_is_the_supervised_loss_where_sure(pair):
    logits, target = pair
    sure, shares = unsupervised(logits, target, config())
    torch.testing.assert_close(sure, supervised(logits, target, config()))
    assert shares == pytest.approx({"selected": 1.0, "selected_pvs": float(target.mean())})


def test_nothing_sure_teaches_nothing(pair):
    logits = pair[0].requires_grad_()
    loss, shares = unsupervised(logits, torch.full_like(logits, 0.5), config(recipe="paper"))
    loss.backward()
    assert shares["selected"] == 0
    assert not logits.grad.any()


def test_ramp():
    rising = [ramp(t, 10) for t in range(15)]
    assert rising[0] == pytest.approx(math.exp(-5))
    assert rising == sorted(rising)
    assert rising[10:] == [1.0] * 5
    assert ramp(-3, 10) == rising[0]
    assert ramp(0, 0) == 1.0
