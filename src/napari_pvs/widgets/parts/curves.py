"""Curves of training runs: loss, DSC and recall, AVD, over epochs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
from qtpy.QtCore import QEvent
from qtpy.QtGui import QPalette, QShowEvent
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_pvs.training.runs.status import History
from napari_pvs.widgets.background.idle import IdleWork, Steps

_AVD_MOST = 200
"""End of the AVD axis; the huge values of an untrained network would flatten the rest."""
_LOSS, _FAINT = "#4c9be8", "#4c9be860"
_DSC, _RECALL, _AVD = "#f2a33a", "#57b894", "#c678b9"
SEVERAL = ("#4c9be8", "#f2a33a", "#57b894", "#c678b9", "#e06c75", "#9aa5b1")
"""Colours of runs drawn together, legible on dark and light backgrounds."""


class Curves(QWidget):
    """Three plots below each other, sharing an axis of epochs.

    They appear a moment later: pyqtgraph is imported in one idle step of the event loop and each
    plot is made in another, because all at once would block the viewer. It is imported on the GUI
    thread, because it creates Qt objects. Anything shown before that is drawn then, one plot per
    step.
    """

    def __init__(self) -> None:
        super().__init__()
        self._graph: Any = None
        self._draw: Callable[[], Steps] | None = None
        self._drawing: IdleWork | None = None
        self.ready = False
        """Whether all plots have been made."""
        self.plots: list[Any] = []
        self.shown: list[tuple[str, History]] = []
        """The runs drawn: their names and curves."""
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(2)
        self._building = IdleWork(self._build(), self)

    def show_run(self, name: str, course: History, epochs: int) -> None:
        """Draw one run.

        Parameters
        ----------
        name
            Name of the run.
        course
            Its curves.
        epochs
            End of the axis.
        """
        self._show([(name, course)], partial(self._draw_run, course, epochs))

    def show_runs(self, courses: Sequence[tuple[str, History]]) -> None:
        """Draw several runs together, with only the DSC in the middle plot."""
        self._show(list(courses), partial(self._draw_runs, [course for _, course in courses]))

    @property
    def drawn(self) -> bool:
        """Whether the plots are up to date."""
        return self.ready and self._drawing is None

    def _show(self, shown: list[tuple[str, History]], draw: Callable[[], Steps]) -> None:
        self.shown, self._draw = shown, draw
        if self.ready:
            self._begin()

    def _begin(self) -> None:
        if self._drawing is not None:
            self._drawing.stop()
            self._drawing.deleteLater()
        self._drawing = None
        if self._draw is not None:
            self._drawing = IdleWork(self._draw(), self)
            self._drawing.ended.connect(self._on_drawn)

    def _on_drawn(self) -> None:
        drawing, self._drawing = self._drawing, None
        if drawing is not None:
            drawing.deleteLater()

    def _build(self) -> Steps:
        import pyqtgraph

        self._graph = pyqtgraph
        yield
        for title, tip, height in (
            ("loss", "Training loss: single steps (faint) and mean of each epoch.", 104),
            ("DSC, recall", "On the validation subjects: Dice, and share of voxels found.", 104),
            (
                "AVD %",
                f"On the validation subjects: absolute volume difference, up to {_AVD_MOST} %.",
                120,
            ),
        ):
            self._add_plot(title, tip, height)
            yield
        _, measures, avd = self.plots
        measures.setYRange(0, 1)
        measures.setXLink(self.plots[0])
        avd.setXLink(self.plots[0])
        avd.getAxis("bottom").setHeight(34)
        avd.setLabel("bottom", "epoch")
        self._paint()
        for plot in self.plots:
            yield
            plot.show()
        yield
        self.ready = True
        self._begin()

    def _add_plot(self, title: str, tip: str, height: int) -> None:
        plot = self._graph.PlotWidget(enableMenu=False)
        menu = plot.getPlotItem().ctrlMenu
        menu.setParent(plot, menu.windowFlags())  # otherwise it would be left as a window
        plot.setToolTip(tip)
        plot.setFixedHeight(height)
        plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        plot.hideButtons()
        plot.setMouseEnabled(False, False)  # the wheel scrolls the dock
        plot.setLabel("left", title)
        plot.getAxis("left").setWidth(48)
        plot.getAxis("left").enableAutoSIPrefix(False)  # no "x0.001"
        plot.getAxis("bottom").setHeight(18)
        plot.showGrid(x=True, y=True, alpha=0.15)
        plot.hide()  # showing it redraws the whole window, so that is a step of its own
        self._column.addWidget(plot)
        self.plots.append(plot)

    def _draw_run(self, course: History, epochs: int) -> Steps:
        loss, measures, avd = self.plots
        loss.clear()
        if course.steps:
            epochs_done, losses = zip(*course.steps, strict=True)
            self._line(loss, epochs_done, losses, _FAINT, width=1)
        self._line(loss, list(course.loss), list(course.loss.values()), _LOSS)
        loss.setXRange(0, max(1, epochs), padding=0.02)
        yield
        measures.clear()
        self._line(measures, *_known(course.validation, 0), _DSC, points=True)
        self._line(measures, *_known(course.validation, 2), _RECALL, points=True)
        self._title(measures, ("DSC", _DSC), ("recall", _RECALL))
        yield
        avd.clear()
        self._line(avd, *_known(course.validation, 1), _AVD, points=True)
        self._limit([course])

    def _draw_runs(self, courses: Sequence[History]) -> Steps:
        loss, measures, avd = self.plots
        coloured = [(course, SEVERAL[at % len(SEVERAL)]) for at, course in enumerate(courses)]
        loss.clear()
        for course, colour in coloured:
            self._line(loss, list(course.loss), list(course.loss.values()), colour)
        longest = max((max(course.loss, default=1) for course in courses), default=1)
        loss.setXRange(0, longest, padding=0.02)
        yield
        measures.clear()
        for course, colour in coloured:
            self._line(measures, *_known(course.validation, 0), colour, points=True)
        measures.setLabel("left", "DSC")
        yield
        avd.clear()
        for course, colour in coloured:
            self._line(avd, *_known(course.validation, 1), colour, points=True)
        self._limit(courses)

    def changeEvent(self, event: QEvent | None) -> None:
        """Adopt the colours of a new theme."""
        super().changeEvent(event)
        if event is not None and event.type() in (
            QEvent.Type.PaletteChange,
            QEvent.Type.StyleChange,
        ):
            self._paint()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Adopt the window's colours, now that it has its style."""
        super().showEvent(event)
        self._paint()

    def _line(
        self,
        plot: Any,
        x: Sequence[float],
        y: Sequence[float],
        colour: str,
        *,
        width: float = 2,
        points: bool = False,
    ) -> None:
        pen = self._graph.mkPen(colour, width=width)
        symbol = {"symbol": "o", "symbolSize": 5, "symbolBrush": colour, "symbolPen": None}
        plot.plot(np.array(x, float), np.array(y, float), pen=pen, **(symbol if points else {}))

    def _title(self, plot: Any, *parts: tuple[str, str]) -> None:
        """Name the lines of a plot in their colours, instead of a legend."""
        words = ", ".join(
            f"<span style='color:{colour}'>{escape(text)}</span>" for text, colour in parts
        )
        plot.setLabel("left", words)

    def _limit(self, courses: Sequence[History]) -> None:
        """End the AVD axis at the largest value, up to the limit."""
        known = [value for course in courses for value in _known(course.validation, 1)[1]]
        self.plots[2].setYRange(0, min(_AVD_MOST, max(known, default=100)))

    def _paint(self) -> None:
        ground = self.palette().color(QPalette.ColorRole.Window)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        for plot in self.plots:
            plot.setBackground(ground)
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(text)
                axis.setTextPen(text)


def _known(
    validation: Mapping[int, Sequence[float | None]], at: int
) -> tuple[list[int], list[float]]:
    known = [(epoch, one[at]) for epoch, one in validation.items() if one[at] is not None]
    return [epoch for epoch, _ in known], [value for _, value in known if value is not None]
