"""Clicks on the labels: what they change, from what, and what they say."""

import os
import signal

import numpy as np
import pytest

pytest.importorskip("napari")

from napari_pvs.correction.evidence import window
from napari_pvs.inference.predictor import Predictor
from napari_pvs.scans.display import display_index, from_display
from napari_pvs.widgets.correct.clicks import Clicker, LocalPass

LONG = 120_000


@pytest.fixture
def clicking(open_scan, predict, parent):
    """A session with labels and prediction, its clicker, and what it said."""
    session = open_scan()
    predict(session)
    clicker = Clicker(session, parent)
    said = []
    for name in ("said", "failed"):
        getattr(clicker, name).connect(lambda text, name=name: said.append((name, text)))
    return session, clicker, said


def there(session, point):
    """A voxel of the scan's grid as one of the layer."""
    return display_index(point, session.scan)


def mask(session):
    return from_display(session.labels.data) > 0


def test_add_remove_and_their_undoing(clicking, tubes):
    session, clicker, said = clicking
    before = mask(session).copy()
    assert not before[tubes["missed"]].any()
    clicker.click("add", there(session, (16, 18, 10)))
    expected = before.copy()
    expected[tubes["missed"]] = True
    np.testing.assert_array_equal(mask(session), expected)
    kind, text = said[-1]
    assert (kind, text) == ("said", "Added 24 voxels (12.3 mm³) using the probability map.")
    clicker.click("remove", there(session, (6, 6, 6)))
    expected[tubes["sure"]] = False
    np.testing.assert_array_equal(mask(session), expected)
    assert said[-1] == ("said", "Removed 28 voxels (14.3 mm³).")
    assert len(session.labels._undo_history) == 2
    session.labels.undo()
    session.labels.undo()
    np.testing.assert_array_equal(mask(session), before)
    session.labels.redo()
    assert mask(session)[tubes["missed"]].all()


def test_split_grow_and_shrink_are_one_step_each(clicking, tubes):
    session, clicker, said = clicking
    before = mask(session).copy()
    for mode, words in (("split", "Split in two; "), ("more", "Added "), ("less", "Removed ")):
        clicker.click(mode, there(session, (15, 6, 8)))
        assert said[-1][0] == "said"
        assert said[-1][1].startswith(words)
        assert len(session.labels._undo_history) == 1
        changed = mask(session) != before
        assert changed.any()
        session.labels.undo()
        np.testing.assert_array_equal(mask(session), before)


def test_new_voxels_get_the_selected_label(clicking):
    session, clicker, _ = clicking
    session.labels.selected_label = 3
    clicker.click("add", there(session, (16, 18, 10)))
    assert session.labels.data.max() == 3
    session.labels.undo()
    session.labels.selected_label = 0
    clicker.click("add", there(session, (16, 18, 10)))
    assert session.labels.data.max() == 1


@pytest.mark.parametrize(
    ("mode", "point", "words"),
    [
        ("add", (6, 6, 6), "This voxel already belongs to a PVS; click beside it"),
        ("add", (12, 12, 20), "Nothing here looks like a PVS; paint it"),
        ("remove", (12, 12, 20), "There is no PVS at this point; click on one"),
        ("more", (12, 12, 20), "There is no PVS at this point; click on one"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(clicking, mode, point, words):
    session, clicker, said = clicking
    before = session.labels.data.copy()
    clicker.click(mode, there(session, point))
    assert said[-1][0] == "failed"
    assert said[-1][1].startswith(words)
    np.testing.assert_array_equal(session.labels.data, before)
    assert not session.labels._undo_history


def test_where_the_map_is_blind_intensities_are_followed(clicking, probability, tubes):
    session, clicker, said = clicking
    probability[tubes["missed"]] = 0.0
    clicker.click("add", there(session, (16, 18, 10)))
    assert said[-1][1].endswith(" using intensities alone.")
    assert mask(session)[tubes["missed"]].mean() > 0.7


def test_without_scan_or_labels_clicks_say_what_is_missing(open_scan, parent, qapp):
    session = open_scan()
    clicker = Clicker(session, parent)
    failed = []
    clicker.failed.connect(failed.append)
    clicker.click("add", (1, 1, 1))
    assert failed[-1] == "Nothing was changed: make labels first (the Correct dock)."
    session.viewer.layers.clear()
    clicker.click("add", (1, 1, 1))
    assert failed[-1] == "Nothing was changed: load a scan first."


def test_without_a_prediction_the_network_looks_around_the_click(
    open_scan, parent, qtbot, monkeypatch, tiny_weights, tubes
):
    monkeypatch.setattr(
        "napari_pvs.widgets.correct.clicks.LocalPass",
        lambda scan, parent, weights: LocalPass(scan, parent, tiny_weights),
    )
    session = open_scan()
    session.new_labels()
    clicker = Clicker(session, parent)
    said, failed = [], []
    clicker.said.connect(said.append)
    clicker.failed.connect(failed.append)
    clicker.warm()
    clicker.warm()  # once is enough
    point = there(session, (16, 18, 10))
    clicker.click("add", point)
    assert "Loading the network" in said[0]
    qtbot.waitUntil(lambda: bool(failed) or len(said) > 1, timeout=LONG)
    # the tiny network's answer is noise: what counts is that it was asked, and that it grew
    assert not failed
    assert "a local pass of tiny" in said[-1] or "intensities" in said[-1]
    assert mask(session)[16:18, 18:20, 9:13].any()
    # the answer is kept: growing the PVS asks nobody
    before = int(mask(session).sum())
    clicker.click("more", point)
    assert int(mask(session).sum()) > before
    clicker.stop()
    assert not [one for one in parent.findChildren(LocalPass) if one.ready]


def test_a_prediction_sends_the_network_home(open_scan, predict, parent, qtbot):
    session = open_scan()
    session.new_labels()
    clicker = Clicker(session, parent)
    clicker.warm()
    assert clicker._pass is not None
    predict(session, labels=False)
    assert clicker._pass is None


def test_a_click_that_waits_is_carried_out_when_a_prediction_comes(
    open_scan, predict, parent, tubes
):
    session = open_scan()
    session.new_labels()
    clicker = Clicker(session, parent)
    clicker.click("add", there(session, (16, 18, 10)))
    assert not mask(session).any()
    predict(session, labels=False)
    assert mask(session)[tubes["missed"]].all()
    assert clicker._waiting == {}


def test_a_click_that_waits_is_not_carried_out_on_other_labels(open_scan, parent, qtbot):
    session = open_scan()
    session.new_labels()
    clicker = Clicker(session, parent)
    failed = []
    clicker.failed.connect(failed.append)
    clicker.click("add", there(session, (16, 18, 10)))
    with qtbot.waitSignal(clicker._pass.answered, timeout=LONG):
        session.set_labels(None)
        session.new_labels(name="others")
    assert failed == ["A pending click was dropped, because its labels are gone."]
    assert not session.labels.data.any()


def test_a_network_that_cannot_be_run_is_explained_and_done_without(
    open_scan, parent, qtbot, monkeypatch, tmp_path, tubes
):
    made = []

    def local(scan, parent, weights):
        made.append(LocalPass(scan, parent, tmp_path / "none.safetensors"))
        made[-1].weights = None  # as if the starter's were damaged
        return made[-1]

    monkeypatch.setattr("napari_pvs.widgets.correct.clicks.LocalPass", local)
    session = open_scan()
    session.new_labels()
    clicker = Clicker(session, parent)
    said, failed = [], []
    clicker.said.connect(said.append)
    clicker.failed.connect(failed.append)
    clicker.click("add", there(session, (16, 18, 10)))
    qtbot.waitUntil(lambda: bool(failed), timeout=LONG)
    assert "none.safetensors do not exist" in failed[0]
    assert failed[0].endswith("Clicks use the intensities instead.")
    # the click that waited was carried out, and the next one does not wait
    assert said[-1].endswith("using intensities alone.")
    assert mask(session)[tubes["missed"]].mean() > 0.7
    clicker.click("add", there(session, (6, 6, 8)))
    assert mask(session)[tubes["sure"]].mean() > 0.7
    assert len(made) == 1


def test_the_pass_has_the_weights_of_the_last_prediction_or_else_the_starters(
    open_scan, parent, predict, qtbot, tiny_weights, tmp_path
):
    session = open_scan()
    one = predict(session)
    one.file = gone = tmp_path / "gone.safetensors"
    session.add_prediction(one)
    session.viewer.layers.remove(one.layer)
    clicker = Clicker(session, parent)
    said, failed = [], []
    clicker.said.connect(said.append)
    clicker.failed.connect(failed.append)
    clicker.click("add", there(session, (16, 18, 10)))
    assert clicker._pass.weights == gone
    qtbot.waitUntil(lambda: bool(failed), timeout=LONG)
    assert f"weights {gone} do not exist" in failed[0]
    assert failed[0].endswith("Clicks use the starter weights instead.")
    assert clicker._pass.weights is None
    # the click that waited is carried out by them
    qtbot.waitUntil(lambda: said[-1].startswith("Added"), timeout=LONG)
    clicker.stop()
    # other weights are tried
    session.weights = tiny_weights
    clicker.warm()
    assert clicker._pass.weights == tiny_weights
    clicker.stop()


@pytest.mark.parametrize("statistics", ["tiny_weights", "scan_weights"])
def test_it_answers_what_the_network_says_and_dies_in_words(
    parent, qtbot, pvs_scan, own_folders, statistics, request
):
    weights = request.getfixturevalue(statistics)
    local = LocalPass(pvs_scan, parent, weights)
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
    box = evidence.box
    images = pvs_scan.normalised()[(slice(None), *box)]
    ready = Predictor(weights).for_scan(pvs_scan)
    expected = ready.predict_array(images, pvs_scan.brain[box])
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
