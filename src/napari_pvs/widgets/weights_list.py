"""The list of weights to segment with: the starter's, the best of each run of the study, files."""

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtWidgets import QComboBox, QSizePolicy

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.network.weights import ModelCard
from napari_pvs.training.folder import BEST
from napari_pvs.training.runs import runs
from napari_pvs.widgets.background import Background
from napari_pvs.widgets.plain_text import as_it_is
from napari_pvs.widgets.session import Session

_LOOK_MS = 3000  # runs that go on publish better weights; any process may have started them


@dataclass(frozen=True)
class Known:
    """Best weights of a run.

    Attributes
    ----------
    path
        Their file.
    label
        What the list shows: what they reach first, because the names of runs are long.
    tip
        More about them.
    """

    path: Path
    label: str
    tip: str


def best_weights(study: Path) -> list[Known]:
    """Find the best weights of a study's runs, those of the newest run first."""
    try:
        found = runs(study)
    except (InputError, OSError):  # moved: its weights are gone, and segmenting says so
        return []
    known = []
    for run in reversed(found):
        path = run / BEST
        with contextlib.suppress(OSError):  # no validation yet
            about = path.stat()
            known.append(_described(path, about.st_mtime_ns, about.st_size))
    return known


class WeightsList(QComboBox):
    """Chooses weights; `currentData` is their path, None for the starter's.

    Files that are added at its end stay there. Weights that are chosen stay too, when their run
    is deleted or another study is opened.

    Parameters
    ----------
    session
        Of the viewer: its study's runs are offered.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._known: list[Known] = []
        self._asked = False
        self._thread = Background(self)
        self.addItem("Starter weights", None)
        self.setItemData(0, "They come with the plugin.", Qt.ItemDataRole.ToolTipRole)
        self.setToolTip(
            "The network's weights: the starter's, the best of each training run of the study "
            "with their DSC on validation, or a file."
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

    def showEvent(self, event: Any) -> None:  # Qt's name
        """Look from time to time."""
        super().showEvent(event)
        self.look()
        self._timer.start()

    def hideEvent(self, event: Any) -> None:  # Qt's name
        """Look no more."""
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


@lru_cache(maxsize=512)
def _described(path: Path, _: int, __: int) -> Known:
    """Describe weights by their card; the time and size of their file tell when it is another."""
    from safetensors import SafetensorError, safe_open

    run = path.parent.name
    try:
        with safe_open(path, framework="numpy") as file:
            card = json_files.parse((file.metadata() or {})["card"], ModelCard)
        reached, epoch = card.accuracy["validation"], card.training["epoch"]
        label = f"DSC {reached['dsc']:.2f}: {run}"
        on = f"{reached['subjects']} validation scan{'s' * (reached['subjects'] != 1)}"
        tip = f"Best weights of {run}: DSC {reached['dsc']:.3f} on {on}, epoch {epoch}.\n{path}"
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return Known(path, run, str(path))  # segmenting says what is wrong with them
    return Known(path, label, tip)
