"""The measures of an agreement, and the PVS that only one side has."""

from collections.abc import Callable

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QTabWidget, QVBoxLayout, QWidget

from napari_pvs.evaluation.detection import Agreement, Spot
from napari_pvs.widgets.parts.table import Column, Table

_MEASURES = (
    ("DSC", "Dice: 1 is full agreement.", lambda a: a.voxels.dsc, "{:.3f}"),
    ("AVD", "Volume difference, in % of the reference volume.",
     lambda a: a.voxels.avd_percent, "{:.1f} %"),
    ("Recall", "Share of the reference voxels that are found.",
     lambda a: a.voxels.recall, "{:.3f}"),
    ("Precision", "Share of the measured voxels that are in the reference.",
     lambda a: a.voxels.precision, "{:.3f}"),
    ("PVS recall", "Share of the reference's PVS that are found, by at least one voxel.",
     lambda a: a.pvs.recall, "{:.3f}"),
    ("PVS prec.", "Share of the PVS that overlap the reference.",
     lambda a: a.pvs.precision, "{:.3f}"),
    ("PVS", "Number of PVS: measured / reference.",
     lambda a: (a.pvs.n_predicted, a.pvs.n_reference), "{0[0]} / {0[1]}"),
    ("mm³", "PVS volume: measured / reference.",
     lambda a: (a.voxels.volume_predicted_mm3, a.voxels.volume_reference_mm3),
     "{0[0]:,.0f} / {0[1]:,.0f}"),
)  # fmt: skip
_NARROW = 6  # of the measures stand side by side; the others have two numbers
Place = Callable[[tuple[int, int, int]], str]
"""Says where a voxel of the layers lies."""


_PLACE = "Centre in scanner coordinates: mm to the right, to the front and up."


class AgreementPanel(QWidget):
    """A grid of numbers over two tables of PVS, the missed and the false.

    Attributes
    ----------
    place
        Says where a voxel of the layers lies.
    """

    selected = Signal(object)
    """The `Spot` of the selected row."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, QLabel] = {}
        self.place: Place = lambda index: ", ".join(map(str, index))
        spots: tuple[Column[Spot], ...] = (
            Column("R, A, S (mm)", lambda spot: self.place(spot.index), tip=_PLACE),
            Column("mm³", lambda spot: spot.volume_mm3, "{:.1f}", "Volume."),
        )
        grid = QGridLayout()
        grid.setHorizontalSpacing(6)
        for at, (name, tip, _, _) in enumerate(_MEASURES):
            value = self.values[name] = QLabel("–")
            wide = at >= _NARROW
            line, column = (at - _NARROW // 2, 0) if wide else (at // 2, 2 * (at % 2))
            title = QLabel(name)
            for label in (title, value):
                label.setToolTip(tip)
            grid.addWidget(title, line, column)
            grid.addWidget(value, line, column + 1, 1, 3 if wide else 1)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        self.missed, self.false = (
            Table(spots, "Select a row to go there.", lambda spot: spot.index) for _ in range(2)
        )
        self.tabs = QTabWidget()
        for table in (self.missed, self.false):
            table.selected.connect(self.selected)
            self.tabs.addTab(table, "")
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addLayout(grid)
        rows.addWidget(self.tabs)

    def show_agreement(self, found: Agreement | None) -> None:
        """Show the measures, or dashes if there are none."""
        for name, _, value, style in _MEASURES:
            number = None if found is None else value(found)
            self.values[name].setText("–" if number is None else f"<b>{style.format(number)}</b>")
        missed, false = ((), ()) if found is None else (found.missed, found.false)
        for at, (table, spots, title) in enumerate(
            ((self.missed, missed, "Missed"), (self.false, false, "False positives"))
        ):
            table.set_rows(spots)
            self.tabs.setTabText(at, f"{title} ({len(spots)})")
