"""Editors of single values: each has `raw` (what was entered), `set`, and a signal `changed`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from napari_pvs.widgets.parts import Button
from napari_pvs.widgets.plain_text import as_it_is

_NARROW = QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed


class Choice(QComboBox):
    """One of several words."""

    changed = Signal()

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self.addItems(words)
        self.setSizePolicy(*_NARROW)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.currentIndexChanged.connect(lambda _: self.changed.emit())

    def raw(self) -> str:
        """The chosen word."""
        return self.currentText()

    def as_raw(self, value: Any) -> str:
        """What `raw` is for a value."""
        return str(value)

    def set(self, value: Any) -> None:
        """Choose a word."""
        self.setCurrentText(value)


class Switch(QCheckBox):
    """Yes or no."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.toggled.connect(lambda _: self.changed.emit())

    def raw(self) -> bool:
        """Whether it is on."""
        return self.isChecked()

    def as_raw(self, value: Any) -> bool:
        """What `raw` is for a value."""
        return bool(value)

    def set(self, value: Any) -> None:
        """Switch on or off."""
        self.setChecked(value)


class Number(QSpinBox):
    """A whole number."""

    changed = Signal()

    def __init__(self, low: int | None, high: int | None) -> None:
        super().__init__()
        self.setRange(0 if low is None else int(low), 10**9 if high is None else int(high))
        self.setSizePolicy(*_NARROW)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.valueChanged.connect(lambda _: self.changed.emit())

    def raw(self) -> int:
        """The number."""
        return self.value()

    def as_raw(self, value: Any) -> int:
        """What `raw` is for a value."""
        return int(value)

    def set(self, value: Any) -> None:
        """Show another number."""
        self.setValue(value)


class Entry(QLineEdit):
    """A number with decimals, or several values with commas between them.

    Parameters
    ----------
    several
        Whether it holds several.
    """

    changed = Signal()

    def __init__(self, several: bool) -> None:
        super().__init__()
        self._several = several
        self.setSizePolicy(*_NARROW)
        if several:
            self.setPlaceholderText("none")
        self.textChanged.connect(lambda _: self.changed.emit())

    def raw(self) -> Any:
        """What was typed: the configuration makes numbers of it, or says what is wrong."""
        if not self._several:
            return self.text().strip().replace(",", ".")
        return [word for word in self.text().replace(",", " ").split() if word]

    def as_raw(self, value: Any) -> Any:
        """What `raw` is for a value."""
        return [str(one) for one in value] if self._several else f"{value:g}"

    def set(self, value: Any) -> None:
        """Show another value."""
        raw = self.as_raw(value)
        self.setText(", ".join(raw) if self._several else raw)


class File(QWidget):
    """Weights to start from: none, the starter's, a run's, or a file."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.box = QComboBox()
        self.box.setSizePolicy(*_NARROW)
        self.box.addItem("none: a new network", None)
        self.box.addItem("starter", "starter")
        self.box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.box.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.file = Button("File…", "Choose weights that training has made.", self._browse)
        self.file.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        row.addWidget(self.box, 1)
        row.addWidget(self.file)
        self.setFocusProxy(self.box)

    def raw(self) -> str | None:
        """Path, ``starter`` or None."""
        return self.box.currentData()

    def as_raw(self, value: Any) -> str | None:
        """What `raw` is for a value."""
        return None if value is None else str(value)

    def set(self, value: Any) -> None:
        """Choose weights; a file that is not in the list joins it."""
        raw = self.as_raw(value)
        if self.box.findData(raw) < 0:
            self.offer(Path(raw))
        self.box.setCurrentIndex(self.box.findData(raw))

    def offer(self, path: Path, name: str = "") -> None:
        """Add a file to the list, once."""
        if self.box.findData(str(path)) < 0:
            self.box.addItem(name or path.name, str(path))
            self.box.setItemData(
                self.box.count() - 1, as_it_is(str(path)), Qt.ItemDataRole.ToolTipRole
            )

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Choose weights", "", "Weights (*.safetensors);;All files (*)"
        )
        if name:
            self.set(name)
