"""The masks of a study, one after the other."""

from pathlib import Path

from napari_pvs.burden.files import each_mask
from napari_pvs.study.bids import StudySubject


def test_what_fails_for_one_subject_stops_no_other(make_study) -> None:
    def make(subject: StudySubject, mask: Path, state: str) -> str:
        if subject.name == "sub-01":
            raise OSError(5, "Input/output error", str(mask))
        return subject.name

    skipped: list[str] = []
    failed: list[tuple[str, str]] = []
    made = each_mask(
        make_study(3, labelled=2),
        make,
        skipped=skipped.append,
        failed=lambda *told: failed.append(told),
    )
    assert list(made) == ["sub-02"]
    assert skipped == ["sub-03"]
    ((name, why),) = failed
    assert name == "sub-01"
    assert "Input/output error" in why
