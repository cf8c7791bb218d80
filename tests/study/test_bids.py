import shutil

import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans.nifti import write_like
from napari_pvs.study import bids
from napari_pvs.study.bids import Selection, fingerprint, subjects, survey
from napari_pvs.study.labels import LabelStore


def test_scans_labels_and_masks(tmp_path, touch):
    touch(
        tmp_path,
        "sub-02/anat/sub-02_T2w.nii",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-03/func/sub-03_bold.nii.gz",
        "derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz",
        "derivatives/other/sub-01/anat/sub-01_desc-pvs_mask.nii.gz",
        "derivatives/bet/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "participants.tsv",
    )
    one, two = subjects(tmp_path)
    assert (one.name, one.person) == ("sub-01", "sub-01")
    assert one.t1 == tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"
    assert one.t2 == tmp_path / "sub-01/anat/sub-01_T2w.nii.gz"
    assert one.label == tmp_path / "derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz"
    assert one.brain == tmp_path / "derivatives/bet/sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    assert (two.name, two.t1, two.label, two.brain) == ("sub-02", None, None, None)
    assert two.t2.name == "sub-02_T2w.nii"


@pytest.mark.parametrize(
    "name", ["label-lesion", "label-WMH", "desc-lesions", "desc-wmh", "run-1_label-lesion"]
)
def test_a_map_of_lesions_is_found_by_its_name(tmp_path, name, touch):
    found = tmp_path / f"derivatives/lst/sub-01/anat/sub-01_{name}_mask.nii.gz"
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "derivatives/bet/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        f"derivatives/aside/sub-01/anat/sub-01_space-MNI152_{name}_mask.nii.gz",
        found.relative_to(tmp_path),
    )
    (one,) = subjects(tmp_path)
    assert one.lesions == found
    assert one.brain.name == "sub-01_desc-brain_mask.nii.gz"


def test_a_map_of_lesions_that_cannot_be_used_stops_nothing(tmp_path, touch):
    where = "derivatives/lst/sub-01/anat"
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        f"{where}/sub-01_acq-a_desc-lesion_mask.nii.gz",
        f"{where}/sub-01_acq-b_desc-lesion_mask.nii.gz",
    )
    found = survey(tmp_path)
    assert found.found[0].lesions is None
    assert found.notes == (
        f"sub-01 has no lesion map: {tmp_path / where} contains "
        "sub-01_acq-a_desc-lesion_mask.nii.gz and sub-01_acq-b_desc-lesion_mask.nii.gz; keep one "
        "of them.",
    )


def test_sessions_belong_to_one_person(tmp_path, touch):
    touch(
        tmp_path,
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.mgz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.mgz",
        "sub-01/ses-c/func/x.nii",
        "derivatives/labels/sub-01/ses-b/anat/sub-01_ses-b_desc-pvs_mask.nii.gz",
    )
    found = subjects(tmp_path)
    assert [s.name for s in found] == ["sub-01_ses-a", "sub-01_ses-b"]
    assert {s.person for s in found} == {"sub-01"}
    assert [s.label is not None for s in found] == [False, True]


@pytest.mark.parametrize(
    "name", ["sub-01_acq-fast_T1w.nii.gz", "sub-01_T1w.nii", "sub-01_acq-fast_run-2_T1w.nii.gz"]
)
def test_two_candidates(tmp_path, name, touch):
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", f"sub-01/anat/{name}")
    with pytest.raises(InputError, match=r"keep one of them\.$") as error:
        subjects(tmp_path)
    assert name in str(error.value)
    assert "sub-01_T1w.nii.gz" in str(error.value)


def test_first_of_several_runs(tmp_path, touch):
    touch(tmp_path, *(f"sub-01/anat/sub-01_run-{n}_T1w.nii.gz" for n in (2, 1, 3)))
    assert subjects(tmp_path)[0].t1.name == "sub-01_run-1_T1w.nii.gz"


def test_the_mask_on_the_scan_goes_before_one_on_a_template(tmp_path, touch):
    derivative = "derivatives/fmriprep/sub-01/anat/sub-01"
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        f"{derivative}_desc-brain_mask.nii.gz",
        f"{derivative}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
    )
    assert subjects(tmp_path)[0].brain.name == "sub-01_desc-brain_mask.nii.gz"


def test_a_mask_on_a_template_is_of_scans_on_it_alone(tmp_path, touch):
    derivative = "derivatives/fmriprep/sub-01/anat/sub-01"
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        f"{derivative}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
    )
    assert subjects(tmp_path)[0].brain is None
    scan = tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    scan.rename(scan.with_name("sub-01_space-MNI152NLin2009cAsym_T1w.nii.gz"))
    assert subjects(tmp_path)[0].brain is not None


def test_nothing_there(tmp_path, touch):
    with pytest.raises(InputError, match="contains no sub"):
        subjects(tmp_path)
    touch(tmp_path, "sub-01/anat/notes.txt", "sub-02")
    with pytest.raises(InputError, match="contains no sub"):
        subjects(tmp_path)
    with pytest.raises(InputError, match="absent is not a folder"):
        subjects(tmp_path / "absent")
    with pytest.raises(InputError, match="sub-02 is not a folder"):
        subjects(tmp_path / "sub-02")


@pytest.fixture
def study(tmp_path, touch):
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii.gz")
    return tmp_path


@pytest.fixture
def save(study, mask, like):
    """Function of origin and state: saves a revision for sub-01."""

    def run(origin, state="final", seed=0):
        store = LabelStore(study, "sub-01")
        return store.save(mask(seed), like, author="ann", origin=origin, state=state)

    return run


def only(study):
    return subjects(study)[0]


def test_label_is_the_current_final_revision(study, save, mask, like):
    assert (only(study).label, only(study).revision) == (None, None)
    first = save("drawn")
    draft = save("corrected", "draft", seed=1)
    one = only(study)
    assert (one.current, one.revision, one.pending) == (first, 1, draft)
    assert one.label == LabelStore(study, "sub-01").path(first)
    save("corrected", seed=2)
    assert (only(study).revision, only(study).pending) == (3, None)
    plain = study / "derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz"
    write_like(plain, mask(3), like)  # another tool
    one = only(study)
    assert (one.label, one.revision, one.state) == (plain, None, "reference")
    LabelStore(study, "sub-01").import_outside()
    one = only(study)
    assert (one.revision, one.state, one.current.voxels) == (4, "reference", mask(3).sum())


@pytest.mark.parametrize(
    ("history", "state"),
    [
        ([("predicted", "draft")], "segmented"),
        ([("predicted", "draft"), ("corrected", "draft")], "segmented"),
        ([("drawn", "draft")], "new"),
        ([("predicted", "final")], "segmented"),
        ([("predicted", "draft"), ("corrected", "final")], "corrected"),
        ([("drawn", "final")], "corrected"),
        ([("imported", "final"), ("predicted", "draft")], "reference"),
    ],
)
def test_state(study, save, history, state):
    assert [s.state for s in subjects(study)] == ["new", "new"]
    for seed, (origin, kind) in enumerate(history):
        save(origin, kind, seed)
    assert [s.state for s in subjects(study)] == [state, "new"]


def test_fingerprint_tells_what_changed(study, save, mask, like):
    def now():
        return fingerprint(subjects(study))

    assert now() == {}
    first = save("drawn")
    assert now() == {"sub-01": (1, first.sha256)}
    save("corrected", "draft", seed=1)
    assert now() == {"sub-01": (1, first.sha256)}
    second = save("corrected", seed=1)
    assert now() == {"sub-01": (3, second.sha256)}
    plain = study / "derivatives/labels/sub-02/ses-a/anat/sub-02_ses-a_desc-pvs_mask.nii.gz"
    write_like(plain, mask(2), like)
    before = now()["sub-02_ses-a"]
    write_like(plain, mask(3), like)
    assert now()["sub-02_ses-a"] != before
    assert now()["sub-02_ses-a"][0] is None
    plain.unlink()
    assert now() == {"sub-01": (3, second.sha256)}


def test_a_damaged_revision_is_named(study, save):
    save("drawn")
    sidecar = study / "derivatives/labels/sub-01/anat/revisions/r0001.json"
    sidecar.write_text("{")
    seen = survey(study)
    assert [one.name for one in seen.found] == ["sub-02_ses-a"]
    ((name, why),) = seen.refused
    assert name == "sub-01"
    assert "r0001.json is not a readable revision" in why
    with pytest.warns(InputWarning, match=r"sub-01 is left out: .*r0001\.json is not a readable"):
        assert len(subjects(study)) == 1


def test_labels_that_nobody_has_are_told(make_study):
    root = make_study(4, labelled=4)
    assert survey(root).notes == ()
    labels = root / "derivatives" / "labels"
    for scan in (root / "sub-01" / "anat").iterdir():
        scan.unlink()
    misspelt = labels / "sub-02" / "anat" / "sub-02_desc-PVS_mask.nii.gz"
    (labels / "sub-02" / "anat" / "sub-02_desc-pvs_mask.nii.gz").rename(misspelt)
    lost = labels / "sub-01" / "anat" / "sub-01_desc-pvs_mask.nii.gz"
    shutil.rmtree(root / "sub-03")

    def told():
        seen = survey(root)
        ((name, why),) = seen.refused
        other, absent = seen.notes
        assert (name, other) == (
            "sub-01",
            f"{misspelt} is not used: a label is named sub-02_label-PVS_mask.nii.gz.",
        )
        assert f"{root} has no scan of sub-03" in absent
        return why

    assert f"for the label {lost}; put the scan back, or move the label away" in told()
    # one whose label is all revisions
    revisions = labels / "sub-01" / "anat" / "revisions"
    revisions.mkdir()
    lost = lost.rename(revisions / "r0001_00000000.nii.gz")
    assert f"for the label {lost}; put" in told()


def test_scans_are_those_of_the_run_that_the_label_is_named_for(tmp_path, touch):
    scans = [f"sub-01/anat/sub-01_run-{n}_{kind}.nii.gz" for n in (1, 2) for kind in ("T1w", "T2w")]
    labels = "derivatives/labels/sub-01/anat/sub-01"
    masks = "derivatives/bet/sub-01/anat/sub-01"
    touch(tmp_path, *scans, f"{labels}_run-02_desc-pvs_mask.nii.gz")
    touch(tmp_path, *(f"{masks}_run-{n}_desc-brain_mask.nii.gz" for n in (1, 2)))
    (one,) = subjects(tmp_path)
    assert [path.name for path in (one.t1, one.t2, one.brain)] == [
        "sub-01_run-2_T1w.nii.gz", "sub-01_run-2_T2w.nii.gz", "sub-01_run-2_desc-brain_mask.nii.gz"
    ]  # fmt: skip
    (tmp_path / f"{labels}_run-02_desc-pvs_mask.nii.gz").rename(
        tmp_path / f"{labels}_run-3_desc-pvs_mask.nii.gz"
    )
    touch(tmp_path, "sub-02/anat/sub-02_T1w.nii.gz")
    seen = survey(tmp_path)
    assert [subject.name for subject in seen.found] == ["sub-02"]
    assert "names another run or acquisition than sub-01_run-1_T1w" in seen.refused[0][1]


@pytest.mark.parametrize("entity", ["acq", "rec", "ce", "echo"])
def test_a_label_chooses_between_acquisitions(tmp_path, touch, entity):
    touch(tmp_path, *(f"sub-01/anat/sub-01_{entity}-{n}_T1w.nii.gz" for n in (1, 2)))
    touch(tmp_path, "sub-02/anat/sub-02_T1w.nii.gz")
    ((name, why),) = survey(tmp_path).refused
    assert name == "sub-01"
    assert why.endswith("keep one of them.")
    touch(tmp_path, f"derivatives/labels/sub-01/anat/sub-01_{entity}-2_desc-pvs_mask.nii.gz")
    assert subjects(tmp_path)[0].t1.name == f"sub-01_{entity}-2_T1w.nii.gz"


def test_a_label_named_for_a_run_that_no_scan_names_is_doubted(tmp_path, touch):
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    touch(tmp_path, "derivatives/labels/sub-01/anat/sub-01_run-2_desc-pvs_mask.nii.gz")
    (note,) = survey(tmp_path).notes
    assert "names run-2, but no scan does; sub-01_T1w.nii.gz is used" in note


def test_the_magnitude_is_taken_and_never_the_phase(tmp_path, touch):
    touch(tmp_path, *(f"sub-01/anat/sub-01_part-{p}_T2w.nii.gz" for p in ("mag", "phase")))
    assert subjects(tmp_path)[0].t2.name == "sub-01_part-mag_T2w.nii.gz"


def test_scans_and_labels_of_somebody_else_are_refused(tmp_path, touch):
    touch(tmp_path, "sub-01/ses-1/anat/sub-01_ses-2_T1w.nii.gz", "sub-02/anat/sub-03_T1w.nii.gz")
    touch(tmp_path, "sub-04/anat/sub-04_T1w.nii.gz", "sub-05/anat/sub-05_T1w.nii.gz")
    touch(tmp_path, "derivatives/labels/sub-05/anat/sub-04_desc-pvs_mask.nii.gz")
    seen = survey(tmp_path)
    assert [one.name for one in seen.found] == ["sub-04"]
    assert [name for name, _ in seen.refused] == ["sub-01_ses-1", "sub-02", "sub-05"]
    assert all("is named sub-0" in why for _, why in seen.refused)


@pytest.mark.parametrize(
    "link",
    [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz",
        "derivatives/bet/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
    ],
)
def test_one_link_to_nothing_keeps_nobody_else_back(tmp_path, touch, link):
    touch(tmp_path, *(f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in (1, 2)))
    path = tmp_path / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to("../.git/annex/objects/x.nii.gz")
    seen = survey(tmp_path)
    assert [one.name for one in seen.found] == ["sub-02"]
    ((name, why),) = seen.refused
    assert name == "sub-01"
    assert why.startswith(f"{path} is a link to a file that does not exist; fetch it (datalad get")


def test_whoever_is_passed_over_is_told(tmp_path, touch):
    touch(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz")
    touch(tmp_path, "sub-02/func/sub-02_bold.nii.gz", "sub-03.json")
    seen = survey(tmp_path)
    assert [one.name for one in seen.found] == ["sub-01_ses-1"]
    beside, nothing = seen.notes
    assert "are not used, because sub-01 has sessions" in beside
    assert "sub-02 contains no anat/*_T1w or *_T2w and is not used" in nothing


def test_a_subject_that_is_a_link_to_nothing_is_told(tmp_path, touch):
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-03/ses-1/anat/sub-03_ses-1_T1w.nii.gz")
    for name in ("sub-01.json", "sub-02", "sub-03/ses-2", "sub-03/ses-1.json"):
        (tmp_path / name).symlink_to("nowhere")
    seen = survey(tmp_path)
    assert [one.name for one in seen.found] == ["sub-01", "sub-03_ses-1"]
    assert [name for name, _ in seen.refused] == ["sub-02", "sub-03_ses-2"]
    assert all("fetch it" in why for _, why in seen.refused)
    assert seen.notes == ()


def test_a_folder_that_cannot_be_read_is_told(tmp_path, touch, monkeypatch):
    touch(tmp_path, *(f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in (1, 2)))
    listed = type(tmp_path).iterdir

    def iterdir(self):
        if "sub-01" in self.parts and self.name == "anat":
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(type(tmp_path), "iterdir", iterdir)
    seen = survey(tmp_path)
    assert [one.name for one in seen.found] == ["sub-02"]
    assert "anat cannot be read (Permission denied); change its permissions" in seen.refused[0][1]


def test_a_brain_mask_that_is_wanted_is_told_where_a_study_keeps_it(study, monkeypatch):
    def load(*_):
        raise InputError("no brain was found in a.nii; give its brain mask (--brain-mask).")

    monkeypatch.setattr(bids, "load_scan", load)
    for one, inner in zip(
        subjects(study),
        ("sub-01/anat/sub-01", "sub-02/ses-a/anat/sub-02_ses-a"),
        strict=True,
    ):
        with pytest.raises(InputError) as told:
            bids.scan_of(one)
        assert str(told.value) == (
            "no brain was found in a.nii; give its brain mask "
            f"(derivatives/masks/{inner}_desc-brain_mask.nii.gz)."
        )


def test_the_pvs_of_a_subject_are_its_label_or_its_prediction(study, save):
    def found():
        return bids.label_of(study, only(study))

    store = LabelStore(study, "sub-01")
    assert found() == (None, None)
    predicted = save("predicted", "draft")
    assert found() == (store.path(predicted), predicted)
    save("corrected", "draft", seed=1)  # not finished
    assert found() == (None, None)
    final = save("corrected", seed=2)
    assert found() == (store.path(final), final)
    save("predicted", "draft", seed=3)
    assert found() == (store.path(final), final)


def test_one_subject_is_found_as_in_the_list_of_all(study, save):
    save("drawn")
    assert [bids.subject(study, one.name) for one in subjects(study)] == subjects(study)
    with pytest.raises(InputError, match=r"no longer has a scan of sub-09; refresh"):
        bids.subject(study, "sub-09")
    assert len({*subjects(study), *subjects(study)}) == 2  # values


def test_what_only_the_second_scan_or_no_scan_is_named_for(tmp_path, touch):
    anat = "sub-01/anat/sub-01"
    touch(tmp_path, f"{anat}_run-1_T1w.nii.gz", f"{anat}_run-2_T2w.nii.gz")
    (one,), (note,) = survey(tmp_path).found, survey(tmp_path).notes
    assert (one.t1.name, one.t2.name) == ("sub-01_run-1_T1w.nii.gz", "sub-01_run-2_T2w.nii.gz")
    assert "are from different runs; check that they belong together" in note
    touch(tmp_path, f"{anat}_run-1_T2w.nii.gz")  # that of the T1's run
    (one,) = survey(tmp_path).found
    assert one.t2.name == "sub-01_run-1_T2w.nii.gz"
    assert survey(tmp_path).notes == ()


@pytest.mark.parametrize("stem", ["label-PVS_mask", "desc-pvs_mask"])
def test_a_label_is_found_under_each_name(tmp_path, touch, stem):
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    label = f"derivatives/labels/sub-01/anat/sub-01_{stem}.nii.gz"
    touch(tmp_path, label)
    (one,) = survey(tmp_path).found
    assert (one.label, one.state) == (tmp_path / label, "reference")


def test_two_labels_of_two_names_refuse_their_subject_only(make_study, write_image, head):
    study = make_study(2)
    write_image(study / "derivatives/labels/sub-01/anat/sub-01_label-PVS_mask.nii.gz", head.brain)
    seen = survey(study)
    assert [one.name for one in seen.found] == ["sub-02"]
    ((name, why),) = seen.refused
    assert name == "sub-01"
    assert "sub-01_label-PVS_mask.nii.gz and sub-01_desc-pvs_mask.nii.gz; keep one of them" in why


def test_whom_one_wants(tmp_path, touch):
    for name in ("sub-1", "sub-2/ses-a", "sub-2/ses-b", "sub-3/ses-a"):
        path = tmp_path / name / "anat" / f"{name.replace('/', '_')}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        path.touch()

    def names(*which):
        return [one.name for one in survey(tmp_path, Selection(*which)).found]

    assert names() == ["sub-1", "sub-2_ses-a", "sub-2_ses-b", "sub-3_ses-a"]
    assert names(("1", "sub-3")) == ["sub-1", "sub-3_ses-a"]
    assert names((), ("ses-a",)) == ["sub-2_ses-a", "sub-3_ses-a"]
    assert names(("2",), ("b",)) == ["sub-2_ses-b"]
    with pytest.raises(InputError, match="has no scan of sub-4, ses-c; check the names"):
        names(("2", "4"), ("a", "c"))
    with pytest.raises(InputError, match="has no scan of sub-4"):
        names(("4",))


def test_runs_and_missing_scans_are_told(tmp_path, touch):
    touch(tmp_path, *(f"sub-1/anat/sub-1_run-{n}_T1w.nii.gz" for n in (1, 2)))
    touch(tmp_path, "sub-1/anat/sub-1_run-1_T2w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")
    touch(tmp_path, "sub-3/anat/sub-3_T2w.nii.gz")
    assert survey(tmp_path).notes == (
        f"{tmp_path / 'sub-1/anat/sub-1_run-2_T1w.nii.gz'} is not used; sub-1_run-1_T1w.nii.gz is.",
        "1 of 3 have no T1w; only T2w is used for sub-3.",
        "1 of 3 have no T2w; only T1w is used for sub-2.",
    )


def test_copies_of_a_label_under_both_names_are_no_news(make_study):
    study, (one, two) = make_study(1), ("desc-pvs_mask", "label-PVS_mask")
    store = LabelStore(study, "sub-01")
    store.import_outside()
    anat = study / "derivatives/labels/sub-01/anat"
    shutil.copy(anat / f"sub-01_{one}.nii.gz", anat / f"sub-01_{two}.nii.gz")
    seen = survey(study)
    assert seen.notes == ()
    assert seen.found[0].revision == 1


def test_a_folder_whose_name_would_be_another_in_a_file_is_left_out(tmp_path, touch):
    for name in ("sub-1", "sub-1_old", "sub-2/ses-a", "sub-2/ses-a_bak"):
        touch(tmp_path, f"{name}/anat/{name.replace('/', '_')}_T1w.nii.gz")
    found = survey(tmp_path)
    assert [one.name for one in found.found] == ["sub-1", "sub-2_ses-a"]
    assert found.notes == tuple(
        f"{tmp_path / name} is not used, because its name has a _; rename or move it."
        for name in ("sub-1_old", "sub-2/ses-a_bak")
    )
