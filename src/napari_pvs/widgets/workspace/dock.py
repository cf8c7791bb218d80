"""The Workspace: one entry that opens all docks as tabs of one panel, with three planes."""

import re
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QFlowLayout

from napari_pvs.scans.names import stem_of
from napari_pvs.study import recent
from napari_pvs.study.drafts import scan_key
from napari_pvs.study.recent import Recent, Unfinished
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.dock import WIDTH, attend
from napari_pvs.widgets.load.dock import Load
from napari_pvs.widgets.parts.controls import as_it_is
from napari_pvs.widgets.parts.saving import SavingPanel
from napari_pvs.widgets.preferences import NAME
from napari_pvs.widgets.segment.dock import Segment
from napari_pvs.widgets.state.session import Session, session_of
from napari_pvs.widgets.viewer.layers import role_of
from napari_pvs.widgets.viewer.typed import Viewer
from napari_pvs.widgets.workspace.strip import STEPS, StepButton, states

DOCKS = ("Load", "Segment", "Correct", "Train", "Metrics")
PLANES = "Planes"
_BUTTONS = 50  # height of a dock's own buttons, which napari puts beside it here
_LEFT, _WIDE = 250, 1600  # napari's own docks get no more in windows narrower than that
_SHOWN = 6  # recent things of each kind
_NAMES = {"T1": "T1", "T2": "T2", "labels": "PVS labels", "reference": "reference PVS"}


_MODALITY = re.compile(r"[_-](t1w?|t2w?|flair|mp2?rage)$", re.IGNORECASE)


class Workspace(QWidget):
    """The strip of steps; when it is added to a window, it opens everything else.

    Parameters
    ----------
    napari_viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.session: Session = session_of(napari_viewer)
        attend(self.session)
        self.docks: dict[str, tuple[QDockWidget, Any]] = {}
        self._files = Recent()
        # subject to load when its study is listed
        self._waiting: tuple[Path | None, str | None] = None, None
        self._named: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._thread = Background(self)
        self.steps: dict[str, StepButton] = {}
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(1)
        for number, (name, (_, tip)) in enumerate(STEPS.items(), start=1):
            button = self.steps[name] = StepButton(number, name, tip)
            button.clicked.connect(partial(self.go, name))
            row.addWidget(button)
        session = self.session
        self.start = QWidget()
        self.start.setVisible(False)
        self.links = QFlowLayout(self.start)
        self.links.setContentsMargins(4, 0, 4, 2)
        self.layout_ = column = QVBoxLayout(self)
        column.setContentsMargins(2, 0, 2, 0)
        column.setSpacing(2)
        column.addLayout(row)
        column.addWidget(self.start)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._colour()
        theme = getattr(session.viewer.events, "theme", None)
        if theme is not None:
            theme.connect(self._colour)
        self._tell_soon = Debouncer(0, self._tell, self)
        self._fit_soon = Debouncer(0, self._fit_height, self)
        for changed in (
            session.scan_changed, session.prediction_changed, session.labels_changed,
            session.save_state_changed, session.reference_changed, session.study_changed,
            session.study_opened, session.focus_changed, session.blind_changed,
        ):  # fmt: skip
            changed.connect(self._tell_soon.throttle)
        session.viewer.layers.events.inserted.connect(self._on_layer)
        session.scan_changed.connect(self._on_scan)
        self._tell()
        self._look()
        QTimer.singleShot(0, self.open)

    def open(self) -> None:
        """Open all docks and the planes, and place them."""
        window = getattr(self.session.viewer, "window", None)
        holder = self._holder()
        if window is None or holder is None or self.docks:
            return
        for name in (PLANES, *DOCKS):
            made, dock = window.add_plugin_dock_widget(NAME, name)
            self.docks[name] = made, dock
            made.setWindowTitle(name)  # napari's title is cut off on a tab
            made.visibilityChanged.connect(self._tell_soon.throttle)
        main = self.docks[PLANES][0].parent()
        if not isinstance(main, QMainWindow):
            return
        self._fit_height()
        _place(main, holder, [made for made, _ in self.docks.values()])
        self.load.subjects.listed.connect(self._on_listed)
        self.go("Load" if self.session.scan is None else "Segment")
        # once the window has laid them out
        QTimer.singleShot(0, partial(_resize, main, self.docks[PLANES][0], self.docks["Load"][0]))

    @property
    def load(self) -> Load:
        """The Load dock."""
        dock: Load = self.docks["Load"][1]
        return dock

    def go(self, step: str, _: object = None) -> None:
        """Show the dock in which a step is done, where it is done."""
        name = STEPS[step][0]
        if name not in self.docks:
            return
        holder, dock = self.docks[name]
        holder.show()
        holder.raise_()
        area = dock.findChild(QScrollArea)
        saving = dock.findChild(SavingPanel)
        if area is not None and saving is not None:
            if step == "Save":
                area.ensureWidgetVisible(saving, 0, 40)
            else:
                area.verticalScrollBar().setValue(0)
        self.steps[step].setChecked(True)

    def _colour(self, _: object = None) -> None:
        """Take the colour of what is current from napari's theme."""
        from napari.utils.theme import get_theme

        theme = get_theme(str(getattr(self.session.viewer, "theme", "dark")))
        for button in self.steps.values():
            button.accent = str(theme.current.as_hex())
            button.update()

    def _holder(self) -> QDockWidget | None:
        parent: Any = self.parent()
        while parent is not None and not isinstance(parent, QDockWidget):
            parent = parent.parent()
        return parent

    @property
    def subject(self) -> str:
        """Name of what is shown, empty where nothing is."""
        scan, subject = self.session.scan, self.session.shown_subject
        if scan is None:
            return ""
        if subject is not None:
            return subject.name
        if scan.source.path is None:
            return "unnamed scan"
        name = stem_of(scan.source.path)
        return _MODALITY.sub("", name) or name

    def _tell(self) -> None:
        subject = self.subject
        for name, state in states(self.session, subject).items():
            self.steps[name].show_state(state)
        for name in DOCKS:
            holder = self.docks[name][0] if name in self.docks else None
            if holder is not None and not holder.visibleRegion().isEmpty():
                fitting = [step for step, (dock, _) in STEPS.items() if dock == name]
                if not any(self.steps[step].isChecked() for step in fitting):
                    self.steps[fitting[0]].setChecked(True)
        self._name_layers(subject)
        viewer = self.session.viewer
        viewer.title = f"{subject} · napari-pvs" if subject else "napari-pvs"
        self._show_start(self.session.scan is None and self.links.count() > 0)

    def _show_start(self, on: bool) -> None:
        """Show what was opened last, or give its room back."""
        if on == self.start.isVisibleTo(self):
            return
        self.start.setVisible(on)
        self._fit_height()

    def _fit_height(self) -> None:
        """Let the strip be as high as it must at its width, not less, not more.

        Qt would keep the height that it had once, or take that of another width.
        """
        holder, column = self._holder(), self.layout_
        if holder is None:
            return
        column.invalidate()
        needed = column.totalSizeHint().height()
        if column.hasHeightForWidth():
            needed = column.totalHeightForWidth(self.width())
        needed = max(needed, _BUTTONS)
        if (holder.minimumHeight(), holder.maximumHeight()) != (needed, needed):
            holder.setMinimumHeight(needed)
            holder.setMaximumHeight(needed)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Fit the height to the width."""
        super().resizeEvent(event)
        self._fit_soon.throttle()

    def _name_layers(self, subject: str) -> None:
        """Add the subject to the names of its layers, where the user gave none."""
        session = self.session
        for layer in (session.t1, session.t2, session.labels, session.reference):
            plain = None if layer is None else _NAMES.get(str(role_of(layer)))
            if layer is None or plain is None:
                continue
            if layer.name in (plain, self._named.get(layer)):
                wanted = f"{plain} · {subject}" if subject else plain
                if layer.name != wanted:
                    layer.name = wanted
                self._named[layer] = layer.name

    def _look(self) -> None:
        """Look for what was opened last, and what waits there."""

        def find() -> tuple[list[Recent], list[Unfinished]]:
            places = recent.read()
            return places, recent.unfinished(places)

        self._thread.submit(find, self._offer)

    def _offer(self, found: tuple[list[Recent], list[Unfinished]]) -> None:
        places, waiting = found
        layout: Any = self.links
        while layout.count():
            layout.takeAt(0).widget().deleteLater()
        if waiting:
            layout.addWidget(QLabel("Unfinished:"))
        for one in waiting[:_SHOWN]:
            when = f"{one.draft.time.astimezone():%d %b %H:%M}"
            name = one.subject or one.place.name
            tip = f"Edits by {one.draft.author}, never saved as final, in {one.place.path}."
            layout.addWidget(
                _link(f"{name} ({when})", tip, partial(self.open_recent, one.place, one.subject))
            )
        if places:
            layout.addWidget(QLabel("Recent:"))
        for place in places[:_SHOWN]:
            layout.addWidget(_link(place.name, str(place.path), partial(self.open_recent, place)))
        self._tell()

    def open_recent(self, place: Recent, subject: str | None = None) -> None:
        """Open a study or a scan again, and a subject of it.

        Parameters
        ----------
        place, subject
            What; without a subject a study is only listed.
        """
        if not self.docks:
            return
        self.go("Load")
        if place.study is not None:
            self._waiting = place.study, subject
            self.load.open_study(place.study)
            return
        for name, row in self.load.rows.items():
            row.give(getattr(place, name))
        self.load.load_rows()

    def open_results(self, results: Path, scan: Recent) -> None:
        """Load a scan from its files, then show what ``napari-pvs segment`` has written for it.

        Parameters
        ----------
        results
            The folder, a probability map or a mask.
        scan
            The files it was made of.
        """
        self.open_recent(scan)
        job = self.load.job
        if job is not None:
            job.ended.connect(partial(self._on_scan_of_results, results))

    def _on_scan_of_results(self, results: Path) -> None:
        """Show the results, unless the scan could not be read; the Load dock says why."""
        if self.session.scan is not None:
            self.go("Segment")
            segment: Segment = self.docks["Segment"][1]
            segment.open_results(results)

    def _on_listed(self) -> None:
        (study, wanted), self._waiting = self._waiting, (None, None)
        if study != self.load.subjects.study:
            return
        for row in self.load.subjects.table.rows:
            if row.subject.name == wanted:
                self.load.load_subject(row.subject)

    def _on_layer(self, _: object = None) -> None:
        self._tell_soon.throttle()

    def _on_scan(self) -> None:
        """Remember the files of a scan of no study."""
        scan = self.session.scan
        if scan is None or not self.docks or scan.source.path is None:
            return
        given = {name: row.given for name, row in self.load.rows.items()}
        files = {name: one for name, one in given.items() if isinstance(one, Path)}
        if self.session.shown_subject is None and scan.source.path in files.values():
            opened = Recent(**files, key=scan_key(scan))
            if opened != self._files:
                self._files = opened
                recent.remember(opened)


def _link(text: str, tip: str, call: Callable[[], object]) -> QPushButton:
    button = QPushButton(text)
    button.setFlat(True)
    button.setToolTip(as_it_is(tip))
    button.setCursor(Qt.CursorShape.PointingHandCursor)
    button.clicked.connect(lambda: call())
    return button


def _place(main: QMainWindow, strip: QDockWidget, docks: list[QDockWidget]) -> None:
    """Lay the strip across the top, the planes beside napari's view, the docks into one panel."""
    main.addDockWidget(Qt.DockWidgetArea.TopDockWidgetArea, strip)
    planes, first, *others = docks
    main.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, planes)
    main.splitDockWidget(planes, first, Qt.Orientation.Horizontal)
    for dock in others:
        main.tabifyDockWidget(first, dock)


def _resize(main: QMainWindow, planes: QDockWidget, panel: QDockWidget) -> None:
    """Give the panel what it needs, and the planes two fifths of the rest."""
    left = [
        one
        for one in main.findChildren(QDockWidget)
        if main.dockWidgetArea(one) == Qt.DockWidgetArea.LeftDockWidgetArea and one.isVisible()
    ]
    side = WIDTH + 24
    narrow = max([_LEFT, *(one.width() for one in left if main.width() >= _WIDE)])
    room = max(main.width() - side - narrow, 400)
    main.resizeDocks(
        [*left, planes, panel],
        [narrow] * len(left) + [int(0.42 * room), side],
        Qt.Orientation.Horizontal,
    )
