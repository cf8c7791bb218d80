"""Which of the study's subjects the viewer shows, and how its labels are being made."""

from typing import TYPE_CHECKING

from napari_pvs.study.bids import StudySubject
from napari_pvs.widgets.kept import Made
from napari_pvs.widgets.notes import origin_of, parents_of

if TYPE_CHECKING:  # a session imports what asks this
    from napari_pvs.widgets.session import Session


def shown_subject(session: "Session") -> StudySubject | None:
    """Return the study's subject whose scan is shown; None where the scan is from elsewhere."""
    scan, subject = session.scan, session.subject
    if session.study is None or subject is None or scan is None or scan.source.path is None:
        return None
    return subject if scan.source.path in (subject.t1, subject.t2) else None


def made(session: "Session", rater: str) -> Made:
    """Tell who edits the labels that are shown, and from what."""
    layer = session.labels
    return (
        Made(rater, "drawn") if layer is None else Made(rater, *origin_of(layer), parents_of(layer))
    )
