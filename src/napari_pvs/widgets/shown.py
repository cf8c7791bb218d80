"""Which of the study's subjects the viewer shows."""

from typing import Any

from napari_pvs.study.bids import StudySubject


def shown_subject(session: Any) -> StudySubject | None:
    """Return the study's subject whose scan is shown; None where the scan is from elsewhere."""
    scan, subject = session.scan, session.subject
    if session.study is None or subject is None or scan is None or scan.source.path is None:
        return None
    shown: StudySubject = subject
    return shown if scan.source.path in (shown.t1, shown.t2) else None
