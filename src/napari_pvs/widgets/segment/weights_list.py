"""The list of weights to segment with: starter weights, best weights of the study's runs, files."""

from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QComboBox, QSizePolicy

from napari_pvs.training.runs.status import Known, best_weights
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.parts.controls import as_it_is
from napari_pvs.widgets.state.session import Session

_LOOK_MS = 3000  # running trainings publish better weights; any process may have started them


class WeightsList(QComboBox):
    """Chooses weights; `currentData` is their path, None for the starter weights.

    Files added at the end stay there. The chosen weights stay too, even if their run is deleted or
    another study is opened.

    Parameters
    ----------
    session
        The viewer's session, whose study has the runs.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._known: list[Known] = []
        self._asked = False
        self._thread = Background(self)
        self.addItem("Starter weights", None)
        self.setItemData(0, "The weights that come with the plugin.", Qt.ItemDataRole.ToolTipRole)
        self.setToolTip(
            "The network's weights: the starter weights, the best of each training run of the "
            "study (with validation DSC), or a file."
        )
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self.look)
        session.study_opened.connect(self.look)
        session.study_written.connect(self.look)
        self.look()

    def look(self) -> None:
        """Look for weights in the background."""
        study = self._session.opened
        if study is None:
            self._show([])
        elif not self._asked:
            self._asked = True
            self._thread.submit(
                lambda: best_weights(study), lambda known: self._on_found(study, known)
            )

    def showEvent(self, event: QShowEvent | None) -> None:
        """Look for weights regularly while visible."""
        super().showEvent(event)
        self.look()
        self._timer.start()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Stop looking."""
        super().hideEvent(event)
        self._timer.stop()

    def _on_found(self, study: Path, known: list[Known]) -> None:
        self._asked = False
        if study == self._session.opened:
            self._show(known)
        else:
            self.look()

    def _show(self, known: list[Known]) -> None:
        if known == self._known:
            return
        chosen = self.currentData()
        new = {one.path for one in known}
        gone = {one.path for one in self._known} - {chosen}
        with QSignalBlocker(self):
            for at in reversed(range(1, self.count())):
                if self.itemData(at) in new | gone:
                    self.removeItem(at)
            for at, one in enumerate(known, start=1):
                self.insertItem(at, one.label, one.path)
                self.setItemData(at, as_it_is(one.tip), Qt.ItemDataRole.ToolTipRole)
            data = [self.itemData(at) for at in range(self.count())]
            self.setCurrentIndex(data.index(chosen))
        self._known = known
