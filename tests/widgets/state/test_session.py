"""What a viewer is working on, whatever happens to its layers."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils._proxies import PublicOnlyProxy

from napari_pvs.correction.items import Focus
from napari_pvs.errors import InputError
from napari_pvs.scans.display import display_index
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.state.session import EDITED, UNCHANGED, SaveState, session_of
from napari_pvs.widgets.viewer.edits import version
from napari_pvs.widgets.viewer.layers import KEY, mask_layer, parents_of, scan_layers

AFFINE = np.diag([0.8, 0.8, 0.8, 1])


@pytest.fixture
def scan(head):
    return Scan.from_arrays(head.t1, head.t2, AFFINE, head.brain)


def add_scan(viewer, scan):
    return [viewer.add_image(data, **meta) for data, meta, _ in scan_layers(scan)]


def add_prediction(session, found, key="aaaa"):
    layer = session.viewer.add_layer(make_layer(session.scan, key))
    one = Prediction(key, key, found.astype(np.float32), session.scan.grid, layer, 0.5, 0, 99)
    session.add_prediction(one)
    return one


@pytest.fixture
def session(qapp, scan):
    viewer = ViewerModel()
    add_scan(viewer, scan)
    session = session_of(viewer)
    session.keep = viewer  # sessions do not
    return session


@pytest.fixture
def heard(session):
    """Names of the signals, as they come."""
    names = []
    for name in ("scan_changed", "prediction_changed", "labels_changed", "labels_edited",
                 "reference_changed", "study_changed"):  # fmt: skip
        getattr(session, name).connect(lambda name=name: names.append(name))
    return names


def test_each_viewer_has_its_own_and_it_goes_with_the_viewer(session, scan):
    viewer = ViewerModel()
    other = session_of(PublicOnlyProxy(viewer))
    assert other is session_of(viewer)
    assert other is not session
    assert (other.scan, session.scan) == (None, scan)
    gone = weakref.ref(other)
    del viewer, other
    gc.collect()
    assert gone() is None


def test_layers_that_are_there_or_come_later_are_taken_for_what_they_are(session, scan, head):
    viewer = session.viewer
    assert [session.t1, session.t2] == list(viewer.layers)
    data, meta, _ = mask_layer(head.label, scan, "reference", "reference")
    reference = viewer.add_labels(data, **meta)
    assert session.reference is reference
    viewer.layers[1].name = "now T1"
    viewer.layers[0].name = "T2"
    viewer.layers.move(0, 2)
    t1 = session.t1
    assert t1.name == "T2"
    # a duplicate says the same of itself, and takes nobody's place
    data, meta, _ = t1.as_layer_data_tuple()
    viewer.add_image(data, **meta)
    assert session.t1 is t1
    viewer.add_labels(np.zeros((3, 3, 3), np.uint8), metadata={"napari_pvs": {"role": "labels"}})
    assert session.labels is None


def test_another_scan_takes_the_place_of_everything(session, heard, make_head):
    session.new_labels()
    add_prediction(session, np.zeros(session.scan.grid.shape))
    session.set_reference(session.labels)
    heard.clear()
    head = make_head(seed=4)
    scan = Scan.from_arrays(None, head.t2, AFFINE, head.brain)
    (t2,) = add_scan(session.viewer, scan)
    assert (session.scan, session.t1, session.t2) == (scan, None, t2)
    assert (session.predictions, session.labels, session.reference) == ({}, None, None)
    expected = {"scan_changed", "prediction_changed", "labels_changed", "reference_changed"}
    assert set(heard) == expected


def test_deleted_layers_leave_their_place_empty(session, heard):
    viewer, scan = session.viewer, session.scan
    session.new_labels()
    prediction = add_prediction(session, np.zeros(scan.grid.shape))
    session.set_reference(prediction.layer)
    viewer.layers.remove(session.t1)
    assert (session.scan, session.t1) == (scan, None)
    heard.clear()
    viewer.layers.remove(prediction.layer)
    assert (session.prediction, session.reference) == (None, None)
    assert set(heard) == {"prediction_changed", "reference_changed"}
    viewer.layers.remove(session.labels)
    assert session.labels is None
    viewer.layers.clear()
    assert (session.scan, session.t2) == (None, None)


def test_every_way_to_edit_is_heard_and_no_other(session, heard):
    labels = session.new_labels()
    heard.clear()
    edits = []

    def edited():
        edits.append(heard.count("labels_edited"))
        heard.clear()
        return edits[-1] > 0

    session.viewer.dims.set_point(0, 3)
    assert not edited()
    assert session.save_state is UNCHANGED
    labels.data_setitem((np.array([3]), np.array([4]), np.array([5])), 1)
    assert edited()
    assert session.save_state is EDITED
    session.set_save_state(labels, SaveState.revision(4))
    assert session.save_state.text == "Saved as revision 4."
    labels.undo()
    assert edited()
    assert session.save_state is EDITED
    labels.redo()
    assert edited()
    labels.paint((4, 4, 4), 1)
    assert edited()
    labels.visible = False
    labels.data = np.zeros_like(labels.data)
    assert edited()
    session.viewer.dims.set_point(0, 5)
    assert not edited()
    session.set_labels(None)
    labels.paint((4, 4, 4), 1)
    assert not edited()


def test_labels_must_lie_on_the_scan(session):
    other = session.viewer.add_labels(np.zeros((5, 6, 7), np.uint8), name="other")
    for give in (session.set_labels, session.set_reference):
        with pytest.raises(InputError, match=r"'other' has other voxels than the scan; choose"):
            give(other)
    assert (session.labels, session.reference) == (None, None)
    own = session.viewer.add_labels(np.zeros(session.t1.data.shape, np.int32))
    session.set_labels(PublicOnlyProxy(own))
    assert session.labels is own
    assert session.array(own).shape == session.scan.grid.shape


def test_labels_of_a_file_from_another_place_are_refused(session, scan):
    shifted = AFFINE.copy()
    shifted[0, 3] = 3
    elsewhere = Scan.from_arrays(scan.t1, scan.t2, shifted, scan.brain)
    data, meta, _ = mask_layer(scan.brain, elsewhere, "moved", "labels")
    layer = session.viewer.add_labels(data, **meta)
    assert session.labels is None  # nor is it taken by itself
    for give in (session.set_labels, session.set_reference):
        with pytest.raises(InputError, match=r"'moved' has as many voxels as the scan, but it lie"):
            give(layer)


def test_a_prediction_is_not_corrected_itself(session):
    one = add_prediction(session, np.zeros(session.scan.grid.shape))
    with pytest.raises(
        InputError, match=r"'aaaa' is a prediction, .* use Copy prediction to labels"
    ):
        session.set_labels(one.layer)
    assert session.labels is None


def test_a_copied_prediction_is_one_step_and_keeps_what_the_user_did(session):
    shape = session.scan.grid.shape
    first, second = np.zeros((2, *shape))
    first[2, 2, :4] = 1
    second[2, 2, 2:6] = 1
    second[9, 9, 9] = 1
    add_prediction(session, first)
    assert session.copy_prediction() == 4
    labels = session.labels
    assert isinstance(labels, Labels)
    now = session.array(labels)
    np.testing.assert_array_equal(now, first)
    assert session.copy_prediction() == 0
    # taken back, it is nobody's decision: it can be copied again
    labels.undo()
    assert not now.any()
    assert session.copy_prediction() == 4
    # the user adds a voxel and takes one away before the next network has its say
    for index, value in (((5, 5, 5), 1), ((2, 2, 3), 0)):
        at = display_index(index, session.scan)
        labels.data_setitem(tuple(np.array([i]) for i in at), value)
    add_prediction(session, second, "bbbb")
    before = now.copy()
    assert session.copy_prediction() == 5
    expected = second.copy()
    expected[2, 2, 3], expected[5, 5, 5] = 0, 1
    np.testing.assert_array_equal(now, expected)
    labels.undo()
    np.testing.assert_array_equal(now, before)


def test_labels_from_elsewhere_are_all_the_users(session, head):
    session.new_labels(head.label)
    everywhere = np.ones(head.label.shape)
    everywhere[:, :5] = 0
    add_prediction(session, everywhere)
    session.copy_prediction()
    now = session.array(session.labels) > 0
    np.testing.assert_array_equal(now, head.label | (everywhere > 0))


def test_new_data_are_the_users(session):
    labels = session.new_labels()
    drawn = np.zeros_like(labels.data)
    drawn[4, 4, 4:8] = 1
    labels.data = drawn
    everywhere = np.ones(session.scan.grid.shape)
    add_prediction(session, everywhere)
    labels.data_setitem((np.array([4]), np.array([4]), np.array([5])), 0)
    session.copy_prediction()
    assert np.argwhere(labels.data == 0).tolist() == [[4, 4, 5]]
    labels.data = np.zeros((3, 4, 5), np.uint8)  # of another shape: heard, and not a crash
    assert session.save_state is EDITED


def test_a_prediction_again_by_the_same_weights_is_the_newest(session):
    found = np.zeros(session.scan.grid.shape)
    first = add_prediction(session, found, "aaaa")
    add_prediction(session, found, "bbbb")
    session.add_prediction(first)
    assert list(session.predictions) == ["bbbb", "aaaa"]
    assert session.prediction is first


def test_each_layer_remembers_where_it_is_kept(session):
    first = session.new_labels()
    changes = []
    session.save_state_changed.connect(lambda: changes.append(session.save_state.state))
    first.paint((4, 4, 4), 1)
    second = session.new_labels()
    assert session.save_state is UNCHANGED
    session.set_save_state(first, SaveState.file("mine.nii.gz"))  # what is said of another layer
    assert session.save_state is UNCHANGED
    session.set_labels(first)
    assert session.save_state.text == "Saved as mine.nii.gz."
    assert set(changes) == {"edited"}
    assert second in session.viewer.layers


def test_t1_and_t2_share_their_place_and_nothing_that_differs(session):
    t1, t2, layers = session.t1, session.t2, session.viewer.layers
    t1.translate = np.add(t1.translate, 3)
    np.testing.assert_array_equal(t2.translate, t1.translate)
    t2.interpolation2d = "cubic"
    assert t1.interpolation2d == "cubic"
    limits = tuple(t2.contrast_limits)
    t1.contrast_limits, t1.opacity, t1.visible, t1.gamma = (1, 2), 0.5, False, 0.7
    assert (tuple(t2.contrast_limits), t2.opacity, t2.visible, t2.gamma) == (limits, 1, True, 1)
    # renamed and moved they are linked still, deleted no more
    t1.name = "another"
    layers.move(0, len(layers))
    t1.interpolation2d = "nearest"
    assert t2.interpolation2d == "nearest"
    layers.remove(t1)
    t2.interpolation2d = "cubic"
    assert t1.interpolation2d == "nearest"


def test_linked_layers_go_with_the_viewer(scan):
    viewer = ViewerModel()
    add_scan(viewer, scan)
    shown = weakref.ref(session_of(viewer).t1)
    del viewer
    gc.collect()
    assert shown() is None


def test_a_link_that_the_user_undoes_stays_undone(session):
    session.viewer.layers.unlink_layers([session.t1, session.t2])
    session.scan_changed.emit()
    session.t1.interpolation2d = "cubic"
    assert session.t2.interpolation2d != "cubic"


def test_more_edits_than_napari_keeps_steps_are_told_apart(session):
    layer = session.new_labels()
    seen = set()
    for at in range(120):
        layer.data_setitem((np.array([at % 8]), np.array([at // 8]), np.array([3])), 1)
        seen.add(version(layer)[:-1])
    assert len(seen) == 120
    assert version(layer)[-1] == id(layer.data)


def test_the_focus_is_told_of_and_goes_with_what_it_is_in(session):
    heard = []
    session.focus_changed.connect(lambda: heard.append(session.focus))
    session.new_labels()
    focus = Focus.of("item", (np.array([4, 5]), np.array([6, 6]), np.array([7, 9])))
    session.set_focus(focus)
    session.set_focus(focus)
    assert heard == [focus]
    assert focus.centre == (4.5, 6, 8)
    assert focus.mask.shape == (2, 1, 3)
    assert [axis.tolist() for axis in focus.voxels] == [[4, 5], [6, 6], [7, 9]]
    session.viewer.layers.remove(session.labels)
    assert heard == [focus, None]
    session.set_focus(focus)
    session.set_scan(None)
    assert heard == [focus, None, focus, None]


def test_another_rater_is_blind_to_what_the_one_before_drew(open_scan):
    session = open_scan()
    preferences().correct.rater = "ann"
    session.blind = True
    mine = session.new_labels()
    mine.metadata[KEY]["author"] = "ann"
    session.set_labels(mine)
    assert mine.visible
    preferences().correct.rater = "bob"
    assert session.labels is None
    assert not mine.visible
    preferences().correct.rater = "ann"
    assert mine.visible


def test_labels_of_another_scan_on_the_same_voxels_are_refused(session, tmp_path):
    first = replace(session.scan, source=replace(session.scan.source, path=tmp_path / "one.nii"))
    other = replace(first, source=replace(first.source, path=tmp_path / "two.nii"))
    add_scan(session.viewer, first)
    labels = session.new_labels()
    own = session.viewer.add_labels(np.zeros_like(labels.data))
    session.set_labels(own)
    add_scan(session.viewer, other)
    for layer in (labels, own):
        with pytest.raises(
            InputError, match=r"was made on one\.nii, not on the scan that is shown"
        ):
            session.set_labels(layer)
    data, meta, _ = labels.as_layer_data_tuple()
    session.viewer.add_labels(data, **meta)  # a duplicate of what was hidden
    assert session.labels is None
    again = session.viewer.add_labels(np.zeros_like(labels.data))
    session.set_labels(again)
    assert session.labels is again


def test_labels_of_the_users_own_take_no_parents_to_another_scan(session, tmp_path):
    first = replace(session.scan, source=replace(session.scan.source, path=tmp_path / "one.nii"))
    other = replace(first, source=replace(first.source, path=tmp_path / "two.nii"))
    add_scan(session.viewer, first)
    own = session.new_labels()
    own.metadata[KEY] = {"source": replace(first.source, path=tmp_path / "mask.nii")}
    parents_of(own)[tmp_path] = 4
    session.set_labels(None)
    session.set_labels(own)
    assert parents_of(own) == {tmp_path: 4}
    add_scan(session.viewer, other)
    session.set_labels(own)
    assert parents_of(own) == {}


def test_a_reference_can_be_edited_once_it_is_the_labels(session, scan, head):
    for role in ("reference", "rater"):
        data, meta, _ = mask_layer(head.label, scan, role, role)
        layer = session.viewer.add_labels(data, **meta)
        layer.editable = False
        session.set_labels(layer)
        assert layer.editable == (role == "reference")
