"""More epochs for a training run that is done."""

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QWidget

from napari_pvs.training.runs.status import RunStatus
from napari_pvs.widgets.parts import Button
from napari_pvs.widgets.train_fields import Number

_TIP = "How long the run is to be in all. Its learning rate follows the new length."


class Extend(QWidget):
    """A row that is seen only where there is a run to extend."""

    asked = Signal(int)
    """To go on until so many epochs are done, in all."""

    def __init__(self) -> None:
        super().__init__()
        self._offered: tuple[Path, int] | None = None
        self.epochs = Number(1, None)
        self.epochs.setToolTip(_TIP)
        self.start = Button(
            "Extend",
            "Go on with the run from its end, until it has so many epochs.",
            lambda: self.asked.emit(self.epochs.raw()),
        )
        label = QLabel("Epochs in all")
        label.setToolTip(_TIP)
        label.setBuddy(self.epochs)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        row.addWidget(label)
        row.addWidget(self.epochs, 1)
        row.addWidget(self.start)
        self.offer(None)

    def offer(self, status: RunStatus | None) -> None:
        """Offer to extend a run that is done; None where there is none.

        What was entered stays while the run does.
        """
        self.setVisible(status is not None)
        offered = None if status is None else (status.path, status.epoch)
        if offered != self._offered and status is not None:
            self.epochs.setMinimum(status.epoch + 1)
            self.epochs.set(status.epoch + max(1, status.epoch // 2))
        self._offered = offered
