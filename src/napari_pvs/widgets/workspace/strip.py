"""The strip of steps: what is done, what is missing, and where one is."""

from dataclasses import dataclass

from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import QAbstractButton, QSizePolicy

from napari_pvs.widgets.state.session import Session


@dataclass(frozen=True)
class State:
    """How far a step is.

    Attributes
    ----------
    text
        What is there, or what is missing.
    done
        Whether there is something.
    """

    text: str
    done: bool = False


STEPS: dict[str, tuple[str, str]] = {
    "Load": ("Load", "Open a scan, a study, or a synthetic subject."),
    "Segment": ("Segment", "Find PVS with the network."),
    "Review": ("Correct", "Accept, reject, add and split PVS."),
    "Save": ("Correct", "Save labels as final, or export them."),
    "Train": ("Train", "Train on the labels of a study."),
    "Measure": ("Metrics", "Compare labels with a reference; score the study."),
}
"""Each step, the dock that it is done in, and what it is."""


def states(session: Session, subject: str) -> dict[str, State]:
    """Tell how far each step is.

    Parameters
    ----------
    session
        Of the viewer.
    subject
        Name of what is shown.
    """
    scan, labels, prediction = session.scan, session.labels, session.prediction
    found = {"Load": State("no scan") if scan is None else State(subject, True)}
    if prediction is not None:
        found["Segment"] = State(f"{prediction.count} PVS", True)
    else:
        missing = "hidden: blind mode" if session.blind else "no prediction"
        found["Segment"] = State("load a scan first" if scan is None else missing)
    if labels is None:
        found["Review"] = State("no labels")
    else:
        found["Review"] = State("in review" if session.focus is not None else "labels ready", True)
    saved = session.save_state
    found["Save"] = (
        State("nothing to save") if labels is None else State(saved.text, saved.state == "saved")
    )
    study = session.opened or session.study
    found["Train"] = State("no study") if study is None else State(study.name, True)
    if session.reference is None:
        found["Measure"] = State("no reference")
    else:
        found["Measure"] = State(f"against {session.reference.name}", True)
    return found


class StepButton(QAbstractButton):
    """A step: its number and name, and below how far it is; cut off where there is no room.

    Parameters
    ----------
    number, name, tip
        Of the step.
    """

    def __init__(self, number: int, name: str, tip: str) -> None:
        super().__init__()
        self.number, self.name, self._tip = number, name, tip
        self.state = State("")
        self.accent = "#4a6cd4"
        self.setText(name)
        self.setCheckable(True)
        self.setAutoExclusive(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(84)
        self.show_state(self.state)

    def show_state(self, state: State) -> None:
        """Show how far it is."""
        self.state = state
        self.setToolTip(f"{self._tip}\n{state.text}" if state.text else self._tip)
        self.setAccessibleName(f"{self.number} {self.name}: {state.text}")
        self.update()

    def sizeHint(self) -> QSize:
        """Two lines."""
        return QSize(150, 2 * self.fontMetrics().height() + 10)

    def minimumSizeHint(self) -> QSize:
        """Two lines, short."""
        return QSize(84, self.sizeHint().height())

    def paintEvent(self, _: QPaintEvent | None) -> None:
        """Draw both lines, and a bar under the step where one is."""
        painter = QPainter(self)
        palette, box = self.palette(), self.rect()
        roles = QPalette.ColorRole
        text = palette.color(roles.WindowText)
        accent = QColor(self.accent)
        if self.underMouse() or self.hasFocus():
            wash = palette.color(roles.WindowText)
            wash.setAlpha(24)
            painter.fillRect(box, wash)
        if self.isChecked():
            wash = palette.color(roles.WindowText)
            wash.setAlpha(30)
            painter.fillRect(box, wash)
            painter.fillRect(QRect(0, box.bottom() - 2, box.width(), 3), accent)
        font = painter.font()
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(text)
        line = self.fontMetrics().height()
        title = f"{self.number}  {self.name}" + ("  ✓" if self.state.done else "")
        inner = box.adjusted(8, 4, -4, 0)
        left = Qt.AlignmentFlag.AlignLeft
        painter.drawText(inner, getattr(left, "value", left), title)
        font.setBold(False)
        painter.setFont(font)
        text.setAlpha(255 if self.isChecked() else 170)
        painter.setPen(text)
        cut = Qt.TextElideMode.ElideRight
        said = painter.fontMetrics().elidedText(self.state.text, cut, inner.width())
        painter.drawText(inner.adjusted(0, line + 2, 0, 0), getattr(left, "value", left), said)
        painter.end()
