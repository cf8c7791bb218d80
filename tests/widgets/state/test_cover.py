"""What a blind rater must not see."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Labels

from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.state.cover import Cover, reveals
from napari_pvs.widgets.viewer.layers import KEY


def layer(**known):
    return Labels(np.zeros((2, 3, 4), np.uint8), metadata={KEY: known})


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({}, False),
        ({"role": "labels"}, False),
        ({"role": "lesions"}, False),  # nobody's word on PVS
        ({"role": "labels", "author": "me"}, False),
        ({"role": "labels", "author": "ann"}, True),
        ({"role": "labels", "weights_id": "aaaabbbbcccc"}, True),
        ({"role": "prediction"}, True),
        ({"role": "reference"}, True),
        ({"role": "rater"}, True),
    ],
)
def test_what_reveals_something(known, told):
    preferences().correct.rater = "me"
    assert reveals(layer(**known)) is told


def test_what_is_hidden_stays_hidden_until_the_cover_is_lifted():
    cover = Cover()
    shown, hidden, later, gone, own = (
        layer(role="rater"), layer(role="rater"), layer(role="rater"), layer(role="rater"), layer()
    )  # fmt: skip
    hidden.visible = later.visible = False
    for one in (shown, hidden, gone, own):
        cover.hide(one)
    cover.hide(later)
    cover.hide(later, later=True)
    assert [one.visible for one in (shown, hidden, later, gone, own)] == [False] * 4 + [True]
    shown.visible = True  # by the eye in the layer list
    assert not shown.visible
    cover.lift([shown, hidden, later, own])
    assert [one.visible for one in (shown, hidden, later, gone)] == [True, False, True, False]
    shown.visible = False
    shown.visible = True
    assert shown.visible


def test_a_layer_that_is_let_go_is_the_users():
    cover, one = Cover(), layer(role="reference")
    cover.hide(one)
    cover.forget(one)
    one.visible = True
    assert one.visible
    cover.lift([one])
    assert one.visible
