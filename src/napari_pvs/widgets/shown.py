"""Which of the study's subjects the viewer shows, and how its labels are being made."""

from typing import TYPE_CHECKING

from napari_pvs.study.bids import StudySubject
from napari_pvs.widgets.kept import Made
from napari_pvs.widgets.layers import corrected_from

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
    prediction, subject = session.prediction, shown_subject(session)
    weights = None if session.labels is None else corrected_from(session.labels)
    weights = weights if prediction is None else prediction.weights_id
    corrected = weights is not None or (subject is not None and subject.label is not None)
    return Made(rater, "corrected" if corrected else "drawn", weights)
