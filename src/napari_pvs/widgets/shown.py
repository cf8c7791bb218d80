"""Which of the study's subjects the viewer shows."""

from typing import TYPE_CHECKING

from napari_pvs.study.bids import StudySubject

if TYPE_CHECKING:  # a session imports what asks this
    from napari_pvs.widgets.session import Session


def shown_subject(session: "Session") -> StudySubject | None:
    """Return the study's subject whose scan is shown; None where the scan is from elsewhere."""
    scan, subject = session.scan, session.subject
    if session.study is None or subject is None or scan is None or scan.source.path is None:
        return None
    return subject if scan.source.path in (subject.t1, subject.t2) else None
