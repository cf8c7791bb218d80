"""A part of a dock that is folded away until it is wanted."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget


class Fold(QWidget):
    """A heading that shows and hides what is under it; at first it is hidden.

    Parameters
    ----------
    title, tip
        Of the heading.
    inside
        What is under it.
    """

    def __init__(self, title: str, tip: str, inside: QWidget | None = None) -> None:
        super().__init__()
        self.head = QToolButton()
        self.head.setText(title)
        self.head.setToolTip(tip)
        self.head.setCheckable(True)
        self.head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setAutoRaise(True)
        self.head.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.inside = QWidget() if inside is None else inside
        self.head.toggled.connect(self._on_toggled)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.head)
        column.addWidget(self.inside)
        self._on_toggled(False)

    def open(self, on: bool = True) -> None:
        """Show, or hide, what is under the heading."""
        self.head.setChecked(on)

    def _on_toggled(self, on: bool) -> None:
        self.head.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        self.inside.setVisible(on)
