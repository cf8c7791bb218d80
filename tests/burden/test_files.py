"""The masks of a study, one after the other."""

from pathlib import Path

import pytest

from napari_pvs.burden import files as counting
from napari_pvs.burden.files import count_study, each_mask
from napari_pvs.report import files as reporting
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


@pytest.mark.parametrize(
    ("module", "verb"), [(counting, count_study), (reporting, reporting.report_study)]
)
def test_workers_that_were_started_elsewhere_find_the_study(
    make_study, monkeypatch, module, verb
) -> None:
    study, seen = make_study(1), []
    monkeypatch.chdir(study.parent)

    def each_mask(place, make, **_):
        seen.extend([place, make.args[0], make.args[-1]])
        return iter(())

    monkeypatch.setattr(module, "each_mask", each_mask)
    list(verb(Path(study.name), skipped=print, failed=print))
    assert seen[:2] == [study, study]
    assert all(path.is_absolute() for path in seen)
