"""Remembers which studies were opened."""

from qtpy.QtCore import QObject

from napari_pvs.study import recent
from napari_pvs.study.recent import Recent
from napari_pvs.widgets.state.session import Session


class Recents(QObject):
    """Remembers the studies of one viewer. Get it by `recents_of`.

    Parameters
    ----------
    session
        Its owner.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        session.study_opened.connect(self._on_study)

    def _on_study(self) -> None:
        if self._session.opened is not None:
            recent.remember(Recent(study=self._session.opened.resolve()))


def recents_of(session: Session) -> Recents:
    """Return what remembers the studies of a session; the first call makes it."""
    return session.findChild(Recents) or Recents(session)
