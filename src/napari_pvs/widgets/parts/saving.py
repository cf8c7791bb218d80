"""Controls for saving labels, and the offer to restore unsaved edits."""

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from napari_pvs.study.drafts import Offer
from napari_pvs.widgets.parts.controls import Button, Notice
from napari_pvs.widgets.preferences import follow
from napari_pvs.widgets.state.autosave import Autosave
from napari_pvs.widgets.state.session import Session


class OfferPanel(QWidget):
    """Offers edits that were never saved as final; visible only if there are some.

    Parameters
    ----------
    autosave
        Finds them.
    """

    def __init__(self, autosave: Autosave) -> None:
        super().__init__()
        self.text = Notice()
        self.restore = Button(
            "Restore", "Bring the labels back; Ctrl+Z undoes that.", autosave.restore
        )
        self.decline = Button("Not now", "Do not bring them back now.", autosave.decline)
        row = QHBoxLayout()
        row.addWidget(self.restore)
        row.addWidget(self.decline)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        column.addLayout(row)
        autosave.offered.connect(self.offer)
        self.offer(None)

    def offer(self, offer: Offer | None) -> None:
        """Show an offer, or none."""
        if offer is not None:
            self.text.warn(offer.text)
        self.setVisible(offer is not None)


class SavingPanel(QWidget):
    """Rater, state of the labels, and the buttons that save them.

    Parameters
    ----------
    session
        The viewer's session.
    autosave
        Saves the labels.
    """

    def __init__(self, session: Session, autosave: Autosave) -> None:
        super().__init__()
        self._session, self._autosave = session, autosave
        self.notice = Notice()
        self.state = Notice()
        self.state.setToolTip("Where the labels are saved. A draft is offered again after a crash.")
        self.rater = QLineEdit()
        self.rater.setToolTip("Your name or initials, stored with every revision.")
        self.rater.editingFinished.connect(self._on_rater)
        self.save = Button(
            "Save as final",
            "Save the labels as the subject's final revision in the study, for training.",
            autosave.save_final,
        )
        self.export = Button("Export…", "Write the labels to a file.", self._export)
        row = QHBoxLayout()
        row.addWidget(self.save)
        row.addWidget(self.export)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Labels", self.state)
        form.addRow("Rater", self.rater)
        form.addRow(row)
        form.addRow(self.notice)
        autosave.told.connect(self._on_told)
        autosave.drafted.connect(self._on_drafted)
        session.save_state_changed.connect(self._show_state)
        session.labels_changed.connect(self._show_state)
        follow("correct", self._show_rater)
        self._show_state()

    def check(self, reason: str | None) -> None:
        """Enable the buttons, or say why nothing can be saved."""
        in_study = self._autosave.in_study
        self.save.allow_if(
            reason or (None if in_study else "this scan is not in a study; use Export.")
        )
        self.export.allow_if(reason)

    def _export(self) -> None:
        path = self._session.require_scan().source.path
        start = path.with_name("pvs_labels.nii.gz") if path else Path("pvs_labels.nii.gz")
        name, _ = QFileDialog.getSaveFileName(
            self, "Export the labels", str(start), "Images (*.nii.gz *.nii *.mgz)"
        )
        if name:
            self._autosave.export(Path(name))

    def _on_rater(self) -> None:
        self._autosave.rater = self.rater.text()
        self._show_rater()

    def _show_rater(self) -> None:
        self.rater.setText(self._autosave.rater)

    def _show_state(self) -> None:
        none = self._session.labels is None
        self.state.say("none" if none else self._session.save_state.text)

    def _on_told(self, kind: str, text: str) -> None:
        notice = self.notice
        if text == self._session.save_state.text:
            notice.clear()  # the line above already says so
            return
        {"error": notice.error, "warning": notice.warn, "info": notice.say}[kind](text)

    def _on_drafted(self) -> None:
        if self._session.save_state.state == "draft":
            self.notice.clear()  # the line above already says so
