"""Tasks: what they answer, how it travels, and how their process ends."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.inference.components import LOWEST
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs import exchange, tasks
from napari_pvs.jobs.protocol import (
    CountPvs,
    CountStudy,
    Done,
    Failed,
    FindRegions,
    ListSubjects,
    LoadScan,
    LoadSubject,
    MakeReport,
    MakeSample,
    Nothing,
    OpenResults,
    Progress,
    ReadMask,
    Row,
    ScoreStudy,
    Segment,
    SegmentStudy,
    decode,
    encode,
    read_request,
    write_request,
)
from napari_pvs.phantom import cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.regions import Regions
from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore

COMMAND = [sys.executable, "-P", "-m", "napari_pvs.jobs"]


@pytest.fixture
def said():
    return []


@pytest.fixture
def ask(tmp_path, said):
    """Function that does a request in a folder of its own, and returns the answer."""

    def call(request):
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        write_request(folder, request)  # as it travels
        assert read_request(folder) == request
        answer = tasks.TASKS[type(request)](request, folder, said.append)
        assert decode(encode(Done(answer)), request) == Done(answer)
        return answer

    call.folder = tmp_path / "folder"
    return call


def answer(folder, request):
    """Answer of a real process, its exit code and what it said before."""
    folder.mkdir()
    write_request(folder, request)
    with subprocess.Popen(
        [*COMMAND, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        lines = [decode(line, request) for line in process.stdout]
        code = process.wait()  # its stdin is open until here
    return lines[-1], code, lines[:-1]


def test_it_knows_no_qt():
    code = "import sys, napari_pvs.jobs.tasks as s; print(*(n for n in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"qtpy", "PyQt6", "PySide6", "napari", "torch"} & set(found.stdout.split())


def test_files_become_a_scan_and_its_labels(ask, head_files, head, tmp_path, write_image):
    label = write_image(tmp_path / "label.nii.gz", head.label)
    other = write_image(tmp_path / "other.nii.gz", head.label[1:])
    t1, t2, brain = head_files
    labels = {"labels": label, "reference": other}
    found = ask(LoadScan(t1=t1, t2=t2, brain=brain, labels=labels))
    assert found.notes == (
        f"{other} is not on the voxel grid of {t1}; give a mask drawn on this scan, or "
        "resample it.",
    )
    scan = exchange.load_scan(ask.folder)
    np.testing.assert_array_equal(scan.t2, load_scan(*head_files).t2)
    got = exchange.load_array(ask.folder, "labels")
    np.testing.assert_array_equal(got, head.label)
    assert got.dtype == np.uint8
    assert not (ask.folder / "reference.npy").exists()


def test_a_map_of_lesions_comes_with_the_scan_or_says_why_not(ask, head_files, head):
    t1, t2, brain = head_files
    shape, affine = head.label.shape, nib.load(t1).affine
    away = brain.parent / "away.nii.gz"
    away_affine = affine.copy()
    away_affine[:3, 3] += 500
    nib.save(nib.Nifti1Image(head.label.astype(np.uint8), away_affine), away)
    half = brain.parent / "half.nii.gz"  # as a FLAIR has it: other voxels, the same place
    coarse = affine @ np.diag([2, 2, 2, 1.0])
    coarse[:3, 3] += affine[:3, :3] @ [0.5, 0.5, 0.5]
    blocks = np.zeros([n // 2 for n in shape], np.uint8)
    blocks[5, 6, 7] = 3
    nib.save(nib.Nifti1Image(blocks, coarse), half)
    assert ask(LoadScan(t1=t1, t2=t2, brain=brain, lesions=half)).notes == ()
    scan = exchange.load_scan(ask.folder)
    expected = np.zeros(shape, bool)
    expected[10:12, 12:14, 14:16] = True
    np.testing.assert_array_equal(scan.lesions, expected)
    (note,) = ask(LoadScan(t1=t1, t2=t2, brain=brain, lesions=away)).notes
    assert note == (f"{away} does not overlap with {t1}; give the lesion map of this scan.")
    assert exchange.load_scan(ask.folder).lesions is None
    gone = brain.parent / "gone.nii.gz"
    (note,) = ask(LoadScan(t1=t1, t2=t2, brain=brain, lesions=gone)).notes
    assert str(gone) in note


def test_what_is_doubtful_about_a_mask_is_told(ask, head_files, head):
    t1, t2, brain = head_files
    found = ask(LoadScan(t1=t1, t2=t2, brain=brain, labels={"labels": brain}))
    (note,) = found.notes
    assert note.startswith(f"{brain} marks ")
    assert "give a mask of PVS" in note
    np.testing.assert_array_equal(exchange.load_array(ask.folder, "labels"), head.brain)
    exchange.save_scan(ask.folder, load_scan(*head_files))
    assert ask(ReadMask(scan=ask.folder, path=brain)).notes == (note,)


def test_a_process_answers_in_json_whatever_libraries_print(tmp_path, head, write_image):
    labels = {"a": write_image(tmp_path / "a.nii.gz", head.label), "b": tmp_path / "no"}
    last, code, lines = answer(tmp_path / "ok", CountPvs(labels=labels))
    assert (last, code) == (Done(Nothing()), 0)
    first, second = (line.value for line in lines)
    assert first.name == "a"
    assert first.volume_mm3 == pytest.approx(head.label.sum() * 0.512)
    assert 1 <= first.count <= 8
    assert "does not exist" in second.error


def test_wrong_input_is_a_sentence(tmp_path):
    last, code, _ = answer(tmp_path / "bad", LoadScan(t1=tmp_path / "none.nii"))
    assert isinstance(last, Failed)
    assert code == 2
    assert last.text == f"{tmp_path / 'none.nii'} does not exist; check the path."


def test_it_ends_when_napari_does(tmp_path):
    folder = tmp_path / "orphan"
    folder.mkdir()
    write_request(folder, MakeSample())
    process = subprocess.Popen([*COMMAND, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert b"Making" in process.stdout.readline()
    process.stdin.close()
    assert process.wait() == 3
    process.stdout.close()


def test_segmenting_in_a_study_leaves_a_draft(ask, make_study, tiny_weights, tmp_path, said):
    root = make_study(subjects=2, labelled=1)
    config = SegmentConfig(weights=tiny_weights, device="cpu")
    labelled_before = subjects(root)[0].label
    for subject in subjects(root):
        folder = tmp_path / subject.name
        folder.mkdir()
        exchange.save_scan(folder, load_scan(subject.t1, subject.t2, subject.brain))
        for _ in range(2):
            found = ask(Segment(scan=folder, config=config, study=root, subject=subject.name))
    assert found.weights == "tiny"
    assert found.notes == ()
    assert Progress(1, 1) in said
    probability = exchange.load_array(ask.folder, "probability")
    assert 0 < found.threshold < probability.max()
    box = tuple(slice(*part) for part in found.box)
    outside = probability.copy()
    outside[box] = 0
    assert outside.max() < LOWEST
    np.testing.assert_array_equal(np.load(ask.folder / "part.npy"), probability[box])
    assert (found.count > 0) == exchange.load_array(ask.folder, "mask").any()
    labelled, new = subjects(root)
    assert (labelled.state, labelled.label) == ("reference", labelled_before)
    assert new.state == "segmented"
    for one in (labelled, new):  # the same mask is not kept twice
        assert (one.pending.origin, one.pending.number) == ("predicted", 1)
        assert one.pending.weights_id == found.weights_id


def test_another_mask_by_the_same_weights_is_kept_and_none_makes_a_moved_study_anew(
    ask, make_study, tiny_weights, tmp_path
):
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    folder = tmp_path / "scan"
    folder.mkdir()
    exchange.save_scan(folder, load_scan(subject.t1, subject.t2, subject.brain))
    config = SegmentConfig(weights=tiny_weights, device="cpu")
    request = Segment(scan=folder, config=config, study=root, subject=subject.name)
    ask(request)
    higher = config.model_copy(update={"threshold": 0.99999})
    ask(request.model_copy(update={"config": higher}))
    drafts = list(LabelStore(root, subject.name).drafts())
    assert [draft.number for draft in drafts] == [2, 1]
    assert drafts[0].voxels < drafts[1].voxels
    root.rename(tmp_path / "moved")
    (note,) = ask(request).notes
    assert note == f"{root} is no longer there; open the study where it is now."
    assert not root.exists()


@pytest.mark.filterwarnings("ignore:.* marks .* of its voxels")  # of small heads
def test_predictions_of_a_study_are_scored_against_its_labels(ask, make_study, head, said):
    root = make_study(subjects=3, labelled=0)
    for subject, state in zip(subjects(root)[:2], ("draft", "draft"), strict=True):
        scan = load_scan(subject.t1, subject.t2, subject.brain)
        store = LabelStore(root, subject.name)
        give = {"author": "a", "like": scan.source}
        store.save(scan.to_source(scan.brain), origin="predicted", state=state, **give)
    assert ask(ScoreStudy(study=root)).tsv == ""
    store = LabelStore(root, "sub-02")
    edited = scan.brain.copy()
    edited[tuple(np.argwhere(edited)[0])] = False  # a copy of the prediction is not scored
    store.save(scan.to_source(edited), origin="corrected", state="final", **give)
    tsv = ask(ScoreStudy(study=root)).tsv
    rows = [one.value for one in said if isinstance(one, Row)]
    assert [row.subject for row in rows] == ["sub-02"]
    assert 0.99 < rows[0].dsc < 1
    assert tsv.splitlines()[1].startswith("sub-02\t")
    nothing = scan.to_source(np.zeros(scan.grid.shape, bool))
    store.save(nothing, origin="predicted", state="draft", **give)  # after the label
    ask(ScoreStudy(study=root))
    assert [one.value.dsc for one in said if isinstance(one, Row)] == [rows[0].dsc, 0.0]


def test_subjects_travel_as_json(ask, make_study):
    root = make_study(subjects=2, labelled=1)
    found = ask(ListSubjects(study=root))
    assert [one.name for one in found.subjects] == ["sub-01", "sub-02"]
    assert found.subjects == tuple(subjects(root))
    with pytest.raises(InputError, match="is not a folder"):
        ask(ListSubjects(study=root / "gone"))


def test_a_mask_is_read_on_the_grid_of_a_scan(ask, head_files, head, write_image, tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    exchange.save_scan(folder, load_scan(*head_files))
    path = write_image(tmp_path / "mask.nii.gz", head.label.astype(np.int32) * 300)
    ask(ReadMask(scan=folder, path=path))
    got = exchange.load_array(ask.folder, "mask")
    np.testing.assert_array_equal(got, head.label * 300)


def test_a_blind_rater_gets_the_own_label_alone(ask, make_study):
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    scan = load_scan(subject.t1, subject.t2, subject.brain)
    store = LabelStore(root, "sub-01")
    masks = {}
    for at, author in enumerate(("ann", "bob")):
        masks[author] = np.zeros(scan.grid.shape, bool)
        masks[author][6 + 4 * at, 6, 5:9] = True
        store.save(scan.to_source(masks[author]), scan.source, author=author, origin="drawn")
    request = LoadSubject(study=root, subject="sub-01")
    for rater, expected in ((None, "bob"), ("ann", "ann"), ("bob", "bob")):
        answer = ask(request.model_copy(update={"rater": rater}))
        np.testing.assert_array_equal(
            exchange.load_array(ask.folder, "labels") > 0, masks[expected]
        )
        assert answer.subject.current.author == expected
    (ask.folder / "labels.npy").unlink()
    answer = ask(request.model_copy(update={"rater": "cas"}))
    assert not (ask.folder / "labels.npy").exists()
    assert (answer.subject.label, answer.subject.current) == (None, None)


def test_the_synthetic_subject(ask, monkeypatch):
    real = cohort.make
    small = PhantomConfig(subjects=1, labelled=1, field_of_view=(48, 48, 32), pvs=(20, 20))
    monkeypatch.setattr(cohort, "make", lambda config, index: real(small, index))
    features = ask(MakeSample()).features
    instances = exchange.load_array(ask.folder, "reference")
    assert sorted(features["id"]) == np.unique(instances)[1:].tolist()
    assert exchange.load_scan(ask.folder).modalities == ("T1", "T2")


def test_labels_outside_the_brain_are_told_with_their_number(ask, head, head_files, write_image):
    t1, t2, brain = head_files
    half = head.brain.copy()
    half[: len(half) // 2] = False
    mask = write_image(brain.with_name("half.nii.gz"), half)
    label = write_image(brain.with_name("label.nii.gz"), head.label)
    loaded = ask(LoadScan(t1=t1, t2=t2, brain=mask, labels={"labels": label}))
    voxels, out = int(head.label.sum()), int((head.label & ~half).sum())
    (told,) = [note for note in loaded.notes if "lie outside" in note]
    assert told == f"{label}: {out} of {voxels} voxels lie outside the brain mask; check both."


def test_what_the_command_line_wrote_is_opened_as_it_was_made(
    ask, head_files, tiny_weights, tmp_path
):
    from napari_pvs.inference.outputs import write
    from napari_pvs.inference.segment import segment

    t1, t2, brain = head_files
    config = SegmentConfig(
        t1=t1, t2=t2, brain_mask=brain, weights=tiny_weights, device="cpu", min_volume=2.0
    )
    made = segment(config)
    write(made, tmp_path / "results", config)
    exchange.save_scan(tmp_path, made.scan)
    answer = ask(OpenResults(scan=tmp_path, path=tmp_path / "results"))
    assert answer.count == made.labels.max() > 0
    assert answer.weights_id == made.origin["weights_id"]
    assert (answer.config.min_volume, answer.config.weights) == (2.0, tiny_weights)
    np.testing.assert_array_equal(exchange.load_array(ask.folder, "mask"), made.labels > 0)
    found = exchange.load_array(ask.folder, "probability")
    np.testing.assert_allclose(found, made.probability, atol=2e-5)


def test_all_subjects_of_a_study_are_segmented_once(ask, make_study, tiny_weights, said):
    study = make_study(subjects=2, labelled=0)
    config = SegmentConfig(weights=tiny_weights, device="cpu")
    request = SegmentStudy(study=study, config=config)
    assert ask(request) == Nothing()
    rows = [message.value for message in said if isinstance(message, Row)]
    assert [(row.name, row.total) for row in rows] == [("sub-01", 2), ("sub-02", 2)]
    assert all(row.count is not None and not row.why for row in rows)
    assert LabelStore(study, "sub-02").predicted() is not None
    said.clear()
    ask(request)
    rows = [message.value for message in said if isinstance(message, Row)]
    assert [row.count for row in rows] == [None, None]


def test_too_little_brain_has_no_regions(ask, head_files):
    ask.folder.mkdir()
    exchange.save_scan(ask.folder, load_scan(*head_files))
    with pytest.raises(InputError, match="too little to lay a template over"):
        ask(FindRegions(scan=ask.folder))


def test_a_page_is_written_with_the_regions_that_are_known(ask, head_files, head, tmp_path):
    ask.folder.mkdir()
    scan = load_scan(*head_files)
    exchange.save_scan(ask.folder, scan)
    exchange.save_array(ask.folder, "mask", head.label)
    out = tmp_path / "page.html"
    ask(MakeReport(scan=ask.folder, out=out, name="sub-<b>", origin={"mask": "by hand"}))
    page = out.read_text(encoding="utf-8")
    assert "sub-&lt;b&gt;" in page
    assert "too little to lay a template over" in page
    index = scan.brain.astype(np.uint16)
    exchange.save_regions(ask.folder, Regions(("pons",), index))
    ask(MakeReport(scan=ask.folder, out=out, name="a", regions=ask.folder))
    page = out.read_text(encoding="utf-8")
    assert "too little" not in page
    assert "pons" in page


def test_a_study_is_counted(ask, said, make_study):
    study = make_study(3, labelled=2)
    (
        study / "derivatives" / "labels" / "sub-02" / "anat" / "sub-02_desc-pvs_mask.nii.gz"
    ).write_bytes(b"no")
    found = ask(CountStudy(study=study, regions="none"))
    (row,) = [one.value for one in said if isinstance(one, Row)]
    assert (row.subject, row.region, row.state) == ("sub-01", "all", "reference")
    assert row.count > 3
    assert decode(encode(Row(row)), CountStudy(study=study, regions="none")) == Row(row)
    assert "sub-01\treference\tall\tboth" in found.tsv
    assert [note.split(":")[0] for note in found.notes] == ["sub-02", "sub-03"]
