import numpy as np
import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.evaluation.compare import compare_files, compare_folders, score
from napari_pvs.scans.nifti import Geometry, write_like

AFFINE = np.array([[0.8, 0, 0, -8], [0, 0.8, 0, -6], [0, 0, 1.0, 4], [0, 0, 0, 1.0]])
SHAPE = (14, 12, 10)


def masks():
    prediction, reference = np.zeros((2, *SHAPE), dtype=bool)
    reference[2:4, 2, 2:7] = reference[8, 8, 3:6] = True
    prediction[2:4, 2, 3:8] = prediction[11, 3, 2:4] = True
    return prediction, reference


def write(path, array, affine=AFFINE):
    write_like(path, array, Geometry.from_affine(array.shape, affine))
    return path


def test_score_gathers_all_measures():
    prediction, reference = masks()
    probability = np.where(prediction, 0.9, 0.1).astype(np.float32)
    got = score(prediction, reference, (0.8, 0.8, 1), subject="a", probability=probability)
    assert got.subject == "a"
    assert got.dsc == pytest.approx(2 * 8 / (12 + 13))
    assert (got.recall, got.precision) == (pytest.approx(8 / 13), pytest.approx(8 / 12))
    assert got.avd_percent == pytest.approx(100 / 13)
    assert (got.count_predicted, got.count_reference) == (2, 2)
    assert got.volume_reference_mm3 == pytest.approx(13 * 0.64)
    assert got.lenient_f1 == got.strict_f1 == 0.5
    assert got.surface_dsc == pytest.approx((10 + 10) / 25)
    share = 13 / reference.size
    assert got.auprc == pytest.approx(8 / 13 * 8 / 12 + 5 / 13 * share)
    assert got.ceiling_dsc is None
    assert score(prediction, reference, (1, 1, 1), subject="a").auprc is None


def test_score_of_empty_masks():
    empty, full = np.zeros(SHAPE, dtype=bool), masks()[1]
    both = score(empty, empty, (1, 1, 1), subject="a")
    assert both.both_empty
    assert both.dsc == both.surface_dsc == both.lenient_f1 == both.strict_f1 == 1
    assert both.avd_percent is None
    one = score(full, empty, (1, 1, 1), subject="a")
    assert not one.both_empty
    assert one.dsc == one.lenient_f1 == one.strict_f1 == 0


def test_files_give_what_arrays_give(tmp_path):
    prediction, reference = masks()
    region = np.zeros(SHAPE, dtype=np.uint8)
    region[:10] = 1
    probability = np.where(reference, 1, np.float32(0.25)).astype(np.float32)
    got = compare_files(
        write(tmp_path / "guess.nii.gz", prediction),
        write(tmp_path / "sub-07_truth.nii", reference.astype(np.int16) * 5),
        write(tmp_path / "brain.nii.gz", region),
        write(tmp_path / "prob.nii.gz", probability),
    )
    assert got == score(
        prediction,
        reference,
        np.array([0.8, 0.8, 1], dtype=np.float32).tolist(),  # as NIfTI stores it
        subject="sub-07",
        region=region,
        probability=probability,
    )
    assert got.auprc == 1


def test_an_empty_region_and_a_scan_as_probability_are_refused(tmp_path):
    """Measured in an empty region, any two masks would agree."""
    mask = write(tmp_path / "mask.nii.gz", masks()[1])
    empty = write(tmp_path / "empty.nii.gz", np.zeros(SHAPE, bool))
    scan = write(tmp_path / "scan.nii.gz", np.linspace(0, 300, np.prod(SHAPE)).reshape(SHAPE))
    with pytest.raises(InputError, match=r"empty\.nii\.gz is empty; give a mask"):
        compare_files(mask, mask, region=empty)
    with pytest.raises(InputError, match=r"scan\.nii\.gz has values outside 0 to 1"):
        compare_files(mask, mask, probability=scan)


def test_flipped_and_swapped_axes_are_the_same_grid(tmp_path):
    prediction, reference = masks()
    # The same voxels in the world: x reversed, then the order z, x, y.
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, SHAPE[0] - 1
    swap = np.eye(4)[:, [2, 0, 1, 3]]
    turned = prediction[::-1].transpose(2, 0, 1)
    truth = write(tmp_path / "truth.nii.gz", reference)
    plain = compare_files(write(tmp_path / "plain.nii.gz", prediction), truth)
    other = compare_files(write(tmp_path / "turned.nii.gz", turned, AFFINE @ flip @ swap), truth)
    assert plain == other
    assert plain.subject == "truth"


def test_volumes_of_a_sheared_grid(tmp_path):
    prediction, reference = masks()
    sheared = AFFINE @ np.array([[1, 0.3, 0, 0], [0, 1, 0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    got = compare_files(
        write(tmp_path / "a.nii", prediction, sheared),
        write(tmp_path / "b.nii", reference, sheared),
    )
    assert got.volume_reference_mm3 == pytest.approx(13 * 0.64)
    assert got.volume_predicted_mm3 == pytest.approx(12 * 0.64)


def test_a_probability_of_zero_everywhere_is_a_map(tmp_path):
    reference = masks()[1]
    truth = write(tmp_path / "b.nii", reference)
    zero = write(tmp_path / "zero.nii", np.zeros(SHAPE, np.float32))
    got = compare_files(truth, truth, probability=zero)
    assert got.auprc == pytest.approx(reference.mean())


@pytest.mark.parametrize("what", ["shape", "shift", "flip"])
def test_other_grid_is_refused(tmp_path, what):
    prediction, reference = masks()
    affine = AFFINE.copy()
    if what == "shape":
        prediction = prediction[1:]
    elif what == "shift":
        affine[0, 3] += 0.4
    else:
        affine[0, 0] = -0.8  # flipped about the origin: not the same voxels
    with pytest.raises(InputError, match="resample") as caught:
        compare_files(
            write(tmp_path / "guess.nii", prediction, affine), write(tmp_path / "t.nii", reference)
        )
    assert "guess.nii" in str(caught.value)
    assert "t.nii" in str(caught.value)


def test_continuous_values_are_refused(tmp_path):
    prediction, reference = masks()
    truth = write(tmp_path / "truth.nii", reference * np.float32(0.7))
    with pytest.raises(InputError, match=r"truth\.nii.*threshold"):
        compare_files(write(tmp_path / "guess.nii", prediction), truth)


def test_missing_file_is_named(tmp_path):
    truth = write(tmp_path / "truth.nii", masks()[1])
    with pytest.raises(InputError, match=r"absent\.nii"):
        compare_files(tmp_path / "absent.nii", truth)


def cohort(root):
    prediction, reference = masks()
    ours, theirs = root / "ours", root / "theirs"
    for name, guess in (("sub-01", prediction), ("sub-02", reference), ("sub-03", prediction)):
        write(ours / name / "anat" / f"{name}_desc-pvs_mask.nii.gz", guess)
        write(ours / name / "anat" / f"{name}_desc-brain_mask.nii.gz", np.ones(SHAPE, bool))
        soft = np.where(guess, 0.9, 0.1).astype(np.float32)
        write(ours / name / "anat" / f"{name}_desc-pvs_probseg.nii.gz", soft)
    for name in ("sub-01", "sub-02", "sub-04"):
        write(theirs / f"{name}_ses-1_mask.nii.gz", reference)
    return ours, theirs


def test_folders_are_matched_by_subject(tmp_path):
    ours, theirs = cohort(tmp_path)
    got = compare_folders(ours, theirs, region=ours, probability=ours)
    assert [one.subject for one in got.scores] == ["sub-01"]
    assert got.identical == ("sub-02",)
    assert got.only_predicted == ("sub-03",)
    assert got.only_reference == ("sub-04_ses-1",)
    assert got.scores[0].dsc == pytest.approx(0.64)


def test_folders_without_a_common_subject(tmp_path):
    ours, _ = cohort(tmp_path)
    write(tmp_path / "others" / "sub-99_mask.nii", masks()[1])
    with pytest.raises(InputError, match="no subject in common"):
        compare_folders(ours, tmp_path / "others")


def test_a_missing_region_is_told(tmp_path):
    ours, theirs = cohort(tmp_path)
    next(ours.rglob("sub-02_desc-brain_mask.nii.gz")).unlink()
    regions = tmp_path / "regions"
    write(regions / "sub-01_mask.nii", np.ones(SHAPE, bool))
    got = compare_folders(ours, theirs, region=regions)
    assert [one.subject for one in got.scores] == ["sub-01"]
    ((name, why),) = got.refused
    assert name == "sub-02"
    assert why == f"{regions} has no suitable file for sub-02; add one named after the subject."


def test_of_two_masks_none_is_taken_and_the_others_are_compared(tmp_path):
    ours, theirs = cohort(tmp_path)
    write(ours / "sub-02" / "sub-02_acq-b_desc-pvs_mask.nii.gz", masks()[1])
    (theirs / "sub-05_mask.nii.gz").symlink_to("nowhere")
    write(ours / "sub-05_mask.nii.gz", masks()[1])
    got = compare_folders(ours, theirs)
    assert [one.subject for one in got.scores] == ["sub-01"]
    assert [name for name, _ in got.refused] == ["sub-02", "sub-05"]
    assert "could both be the mask of sub-02" in got.refused[0][1]
    assert "fetch it (datalad get, git annex get)" in got.refused[1][1]
    assert got.only_reference == ("sub-04_ses-1",)


def test_masks_that_are_the_same_are_left_out_of_a_cohort_and_said(tmp_path, write_image):
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    other = mask.copy()
    other[2, 2, 2] = 0
    for name, true in (("sub-01", mask), ("sub-02", other)):
        write_image(tmp_path / "a" / f"{name}_mask.nii.gz", mask)
        write_image(tmp_path / "b" / f"{name}_mask.nii.gz", true)
    found = compare_folders(tmp_path / "a", tmp_path / "b")
    assert found.identical == ("sub-01",)
    assert [one.subject for one in found.scores] == ["sub-02"]
    assert compare_files(*(tmp_path / side / "sub-01_mask.nii.gz" for side in "ab")).identical
    (tmp_path / "a" / "sub-02_mask.nii.gz").unlink()
    with pytest.warns(InputWarning, match="have the same masks, so every score is perfect"):
        found = compare_folders(tmp_path / "a", tmp_path / "b")
    assert [one.dsc for one in found.scores] == [1]
