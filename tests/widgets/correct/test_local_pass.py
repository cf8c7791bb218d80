"""The network that stays ready for clicks, in a process of its own."""

import os
import signal

import numpy as np
import pytest

pytest.importorskip("napari")


from napari_pvs.correction.evidence import network_pass, window
from napari_pvs.inference.predictor import Predictor
from napari_pvs.widgets.correct.clicks import LocalPass

LONG = 120_000


def test_it_answers_what_the_network_says_and_dies_in_words(
    parent, qtbot, pvs_scan, own_folders, tiny_weights
):
    local = LocalPass(pvs_scan, parent, tiny_weights)
    answers, failed = {}, []
    local.answered.connect(answers.__setitem__)
    local.failed.connect(failed.append)
    first = local.ask((16, 18, 10))  # before it is ready
    second = local.ask((6, 6, 6))
    qtbot.waitUntil(lambda: len(answers) == 2 or bool(failed), timeout=LONG)
    assert not failed
    assert set(answers) == {first, second}
    evidence = answers[first]
    assert evidence.source == "network"
    assert evidence.box == window((16, 18, 10), pvs_scan.grid.shape)
    box, size = evidence.box, pvs_scan.grid.voxel_size
    images = pvs_scan.normalised()[(slice(None), *box)]
    expected = network_pass(Predictor(tiny_weights), images, pvs_scan.brain[box], size)
    np.testing.assert_allclose(evidence.values, expected, atol=1e-5)
    # what is in the middle of an answer is known already
    x, y, z = ((side.start + side.stop) // 2 for side in evidence.box)
    assert local.known((x, y, z)) is not None
    assert local.known((0, 0, 0)) is None

    os.kill(local._process.processId(), signal.SIGKILL)
    qtbot.waitUntil(lambda: bool(failed), timeout=LONG)
    assert "memory ran out" in failed[0]
    assert not local.ready
    local.stop()  # twice is no matter


def test_it_can_be_stopped_before_it_has_started(parent, qtbot, pvs_scan, own_folders):
    local = LocalPass(pvs_scan, parent)
    failed, started = [], []
    local.failed.connect(failed.append)
    local._process.started.connect(lambda: started.append(1))
    local.stop()
    qtbot.wait(500)
    assert not failed
    assert not started
    assert not local.running
