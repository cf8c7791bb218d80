"""The docks' building blocks: buttons, notices, layer choices, sections, dialogs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QLabel,
    QPushButton,
    QSizePolicy,
    QWidget,
)
from superqt import QCollapsible

from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.study.drafts import as_input_error
from napari_pvs.widgets.state.session import Session, unwrapped
from napari_pvs.widgets.viewer.typed import LabelsLayer

FILES = "Scans (*.nii *.nii.gz *.mgz *.mgh);;All files (*)"
_TINTS = {"error": "rgba(220, 60, 60, 70)", "warning": "rgba(220, 160, 30, 70)"}
T = TypeVar("T")
_UNLIMITED = (1 << 24) - 1  # Qt's QWIDGETSIZE_MAX


def there(value: T | None) -> T:
    """Return a value that Qt's types call optional but that always exists here."""
    if value is None:
        raise RuntimeError("Qt returned nothing")
    return value


def as_it_is(text: str) -> str:
    """Return a text, such as a path, so that Qt shows it literally even if it looks like HTML."""
    if Qt.mightBeRichText(text):  # type: ignore[attr-defined]  # qtpy has both for all bindings
        return str(Qt.convertFromPlainText(text))  # type: ignore[attr-defined]
    return text


def sentence(text: str) -> str:
    """Return a reason as a sentence of its own."""
    return text[:1].upper() + text[1:]


class Notice(QLabel):
    """A line of text that stays until the next one; empty, it takes no room unless that is kept.

    Parameters
    ----------
    lines
        How many lines of room it keeps, so that nothing below it moves when it speaks.

    Attributes
    ----------
    kind
        ``info``, ``warning`` or ``error``; empty if there is no message.
    topic
        What the message is about, so that it can be withdrawn.
    """

    def __init__(self, lines: int = 0) -> None:
        super().__init__()
        self._lines = lines
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)  # messages contain file names
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # a path without spaces must not widen the dock
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        if lines:
            self.setMinimumHeight(lines * self.fontMetrics().lineSpacing() + 2)
            self.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.kind = self.topic = ""
        self.clear()

    def clear(self) -> None:
        """Remove the message."""
        self._show("", "", "")

    def take_back(self, topic: str) -> None:
        """Remove the message if it is about a topic."""
        if self.topic == topic:
            self.clear()

    def say(self, text: str, topic: str = "") -> None:
        """Show some information."""
        self._show("info", text, topic)

    def warn(self, text: str, topic: str = "") -> None:
        """Show a warning."""
        self._show("warning", text, topic)

    def error(self, text: str, topic: str = "") -> None:
        """Show what went wrong, with the remedy."""
        self._show("error", text, topic)

    def _show(self, kind: str, text: str, topic: str) -> None:
        self.kind, self.topic = kind, topic
        tint = _TINTS.get(kind)
        self.setStyleSheet(
            f"background-color: {tint}; border-radius: 3px; padding: 4px;" if tint else ""
        )
        self.setText(text)
        if not self._lines:
            self.setVisible(bool(text))


class Button(QPushButton):
    """A button that says why it is disabled, and is as narrow as its text allows.

    Parameters
    ----------
    text
        Text on the button.
    tip
        What it does.
    slot
        Called by a click, without arguments.
    """

    def __init__(self, text: str, tip: str, slot: Callable[[], object]) -> None:
        super().__init__(text)
        self._tip = tip
        self.setMinimumWidth(self.fontMetrics().horizontalAdvance(text) + 10)
        self.clicked.connect(lambda: slot())
        self.allow_if(None)

    def allow_if(self, reason: str | None) -> None:
        """Enable the button, or disable it for a reason."""
        allow(self, self._tip, reason)


def allow(widget: QWidget, tip: str, reason: str | None) -> None:
    """Enable a widget, or disable it and say why in its tooltip."""
    widget.setEnabled(reason is None)
    widget.setToolTip(tip if reason is None else f"{tip}\n\nNot now: {reason}")


def section(title: str, tip: str, content: QWidget) -> QCollapsible:
    """Return a heading that shows and hides what is below it; initially hidden."""
    made = QCollapsible(title, expandedIcon="▾", collapsedIcon="▸")
    made.setDuration(0)
    made.toggleButton().setToolTip(tip)
    there(made.layout()).setContentsMargins(0, 0, 0, 0)
    made.setContent(content)

    def show(on: bool) -> None:
        content.setMaximumHeight(_UNLIMITED)  # let it grow; while hidden it takes no space
        content.setVisible(on)  # otherwise Tab would lead into it

    made.toggled.connect(show)
    show(False)
    return made


class LayerBox(QComboBox):
    """Chooses one of the viewer's layers of a type; it keeps the layer objects, not names.

    Parameters
    ----------
    session
        The viewer's session.
    kind
        Type of the layers.
    none
        Text of the first entry, for no layer.
    """

    def __init__(self, session: Session, kind: type, none: str) -> None:
        super().__init__()
        self._session, self._kind, self._none = session, kind, none
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self._layers: list[Any] = []  # of the kind
        events = session.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.changed):
            event.connect(self._fill)
        self._fill()

    def layer(self) -> LabelsLayer | None:
        """The chosen layer, or None."""
        index = self.currentIndex() - 1
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def choose(self, layer: LabelsLayer | None) -> None:
        """Choose a layer, or none, without a signal."""
        self._show(layer)

    def _fill(self, _: object = None) -> None:
        chosen = self.layer()
        self._show(chosen)
        if self.layer() is not chosen:  # it was deleted
            self.currentIndexChanged.emit(0)

    def _show(self, chosen: LabelsLayer | None) -> None:
        """List the current layers, and choose one."""
        blocked = self.blockSignals(True)
        for layer in self._layers:
            layer.events.name.disconnect(self._fill)
        layers = [unwrapped(layer) for layer in self._session.viewer.layers]
        self._layers = [layer for layer in layers if isinstance(layer, self._kind)]
        self.clear()
        self.addItem(self._none)
        for at, layer in enumerate(self._layers, start=1):
            self.addItem(layer.name)
            layer.events.name.connect(self._fill)
            if layer is chosen:
                self.setCurrentIndex(at)
        self.blockSignals(blocked)


def ask_where(parent: QWidget, name: str, kinds: str) -> Path | None:
    """Ask the user for a file to write."""
    chosen, _ = QFileDialog.getSaveFileName(parent, "Export", name, kinds)
    return Path(chosen) if chosen else None


def write(path: Path, text: str, notice: Notice) -> None:
    """Write a text file, and report success or failure."""
    try:
        write_text(path, text)
        notice.say(f"Wrote {path}.")
    except (InputError, OSError) as error:
        notice.error(str(as_input_error(error)))
