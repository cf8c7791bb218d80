"""The Load dock: a subject's T1 and T2 from files, layers or a study, or a synthetic one."""

import re
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Image, Labels
from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QSizePolicy, QWidget
from superqt import QElidingLabel

from napari_pvs.errors import InputError
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import (
    Features,
    ImageName,
    Loaded,
    LoadScan,
    LoadSubject,
    MakeSample,
    Segmented,
)
from napari_pvs.scans.choices import Register
from napari_pvs.scans.names import SUFFIXES, is_label_name
from napari_pvs.scans.nifti import Volume
from napari_pvs.scans.scan import Scan
from napari_pvs.study.bids import StudySubject
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.idle import Steps
from napari_pvs.widgets.background.process import Job, Result
from napari_pvs.widgets.dock import SCANS_KEY, JobDock
from napari_pvs.widgets.load.show import show, show_sample
from napari_pvs.widgets.load.subjects import Subjects
from napari_pvs.widgets.parts.controls import FILES, Button, Notice, as_it_is, sentence, there
from napari_pvs.widgets.parts.fields import field_of
from napari_pvs.widgets.parts.saving import OfferPanel
from napari_pvs.widgets.state.segmentation import results_request, showing
from napari_pvs.widgets.state.session import BLIND
from napari_pvs.widgets.viewer.layers import layer_volume, results_of, role_of, source_of
from napari_pvs.widgets.viewer.typed import Event, Layer, Layers, Viewer

_LOADED = "loaded"  # topic of what is said of it
_NAMES: dict[ImageName, re.Pattern[str]] = {
    "brain": re.compile(r"brain.*mask|mask.*brain", re.IGNORECASE),
    "lesions": re.compile(r"lesion|wmh|infarct", re.IGNORECASE),
    "t2": re.compile(r"(?<![a-z0-9])t2", re.IGNORECASE),
    "t1": re.compile(r"(?<![a-z0-9])t1|mp2?rage", re.IGNORECASE),
}
"""What the name of a file tells."""
_MASKS: tuple[ImageName, ...] = ("brain", "lesions")


class ImageRow(QWidget):
    """Which file or layer is one of the images.

    Parameters
    ----------
    layers
        Of the viewer.
    title, tip
        Of the image.
    kind
        Type of layer that can be it.

    Attributes
    ----------
    given
        A path, a layer, or None.
    folder
        Where its file dialog starts.
    """

    changed = Signal()
    """Another file or layer, or none."""

    def __init__(self, layers: Layers, title: str, tip: str, kind: type) -> None:
        super().__init__()
        self._layers, self._title, self._kind = layers, title, kind
        self.given: Path | Layer | None = None
        self.folder = ""
        self.label = QElidingLabel()
        self.label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        what = "labels" if kind is Labels else "image"
        self.file = Button("File…", f"Choose a {title} file. {tip}", self._browse)
        self.layer = Button(
            "Layer", f"Use the {what} layer selected in the layer list.", self._take_layer
        )
        self.none = Button("✕", f"Clear the {title}.", lambda: self.give(None))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        row.addWidget(self.label, 1)
        for button in (self.file, self.layer, self.none):
            button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
            row.addWidget(button)
        self.give(None)
        self.refresh()

    def give(self, given: Path | Layer | None) -> None:
        """Choose a path or a layer, or none."""
        self.given = given
        self.label.setText("none" if given is None else given.name)
        tip = str(given) if isinstance(given, Path) else getattr(given, "name", "")
        self.label.setToolTip(tip)
        self.none.allow_if("nothing is chosen." if given is None else None)
        self.changed.emit()

    def refresh(self) -> None:
        """Tell whether a layer could be taken now."""
        fits = isinstance(self._layers.selection.active, self._kind)
        what = "a Labels layer" if self._kind is Labels else "an Image layer"
        self.layer.allow_if(None if fits else f"select {what} in the layer list first.")

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, f"Choose the {self._title}", self.folder, FILES)
        if name:
            self.folder = str(Path(name).parent)
            self.give(Path(name))

    def _take_layer(self) -> None:
        self.give(self._layers.selection.active)


class CanvasDrops(QObject):
    """Offers files that are dropped on a viewer's canvas to somebody before napari.

    Parameters
    ----------
    viewer
        Of napari; without a window, nothing is dropped.
    take
        Gets the files and folders; returns whether it has taken them.
    parent
        Owner.
    """

    def __init__(self, viewer: Viewer, take: Callable[[list[Path]], bool], parent: QObject) -> None:
        super().__init__(parent)
        self._take = take
        canvas: Any = getattr(getattr(viewer, "window", None), "_qt_viewer", None)
        # a dock that is kept for a while must not keep the window
        self._canvas = None if canvas is None else weakref.ref(canvas)
        if canvas is not None:
            canvas.installEventFilter(self)

    def stop(self) -> None:
        """Leave drops to napari."""
        canvas = None if self._canvas is None else self._canvas()
        if canvas is not None:
            canvas.removeEventFilter(self)
        self._canvas = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take a drop of local files."""
        if not isinstance(event, QDropEvent) or event.type() != QEvent.Type.Drop:
            return False
        urls = there(event.mimeData()).urls()
        if not urls or not all(url.isLocalFile() for url in urls):
            return False
        taken = self._take([Path(url.toLocalFile()) for url in urls])
        if taken:
            event.acceptProposedAction()
        return taken


class Load(JobDock):
    """Load a scan into the viewer.

    Parameters
    ----------
    napari_viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.folder = ""
        """Where file dialogs start."""
        self.hint = Notice()
        self.rows = self._build_scan()
        self._build_study()
        self.offer = OfferPanel(self.autosave)
        self.body.addWidget(self.offer)
        keys = QLabel(f"{SCANS_KEY}: show T1 or T2")
        keys.setToolTip("Toggle T1 and T2 in place, whichever layer is selected.")
        self.body.addWidget(keys)
        self.subjects.opened.connect(self.load_subject)
        self.subjects.listed.connect(self._on_listed)
        self.session.study_written.connect(self.subjects.refresh_soon)
        self.session.study_opened.connect(self._on_study)
        self.session.blind_changed.connect(self._on_blind)
        self.session.viewer.layers.events.inserted.connect(self._on_inserted)
        self.session.scan_changed.connect(self._on_scan)
        selection = self.session.viewer.layers.selection.events
        selection.active.connect(self._on_selection)
        for row in self.rows.values():
            row.changed.connect(partial(self._on_row, row))
        self.setAcceptDrops(True)
        self._drops = CanvasDrops(self.session.viewer, self.drop_on_canvas, self)
        self.autosave.look()
        self._results_soon = Debouncer(0, self._take_results, self)
        for layer in self.session.viewer.layers:
            self._take_layer(layer)
        self._on_study()
        self.check()

    def _build_scan(self) -> dict[ImageName, ImageRow]:
        form = self.group("Scan")
        rows: dict[ImageName, ImageRow] = {}
        images: tuple[tuple[ImageName, str, str, type], ...] = (
            ("t1", "T1", "T1-weighted; results are on its voxel grid.", Image),
            (
                "t2",
                "T2",
                "T2-weighted; registered to the T1 if it does not lie on it.",
                Image,
            ),
            ("brain", "Brain mask", "Computed if none is given.", Labels),
            (
                "lesions",
                "Lesion map",
                "Optional: the review asks about PVS that touch a lesion.",
                Labels,
            ),
        )
        for name, title, tip, kind in images:
            rows[name] = ImageRow(self.session.viewer.layers, title, tip, kind)
            form.addRow(title, rows[name])
        self.register = field_of(SegmentConfig, "register_t2")
        form.addRow("Register T2", self.register.widget)
        self.load = Button("Load", "Load these images as the scan.", self.load_rows)
        form.addRow(self.load)
        form.addRow(self.hint)
        self.sample = Button(
            "Synthetic subject",
            "Make a synthetic T1 and T2 with known PVS to try things out; takes a few seconds.",
            self.load_sample,
        )
        form.addRow(self.sample)
        return rows

    def _build_study(self) -> None:
        study = self.group("Study")
        self.open = Button("Open folder…", "Choose a BIDS folder (sub-*/anat/…).", self._browse)
        self.refresh = Button("Refresh", "Read the folder again.", self._list)
        self.study = QElidingLabel("none")
        self.study.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        row = QHBoxLayout()
        row.addWidget(self.study, 1)
        for widget in (self.open, self.refresh):
            row.addWidget(widget)
        study.addRow(row)
        self.subjects = Subjects(self.notice)
        self.subjects.blind = self.session.blind
        study.addRow(self.subjects)

    def check(self) -> None:
        """Enable what can be done now."""
        reason = None
        if self.rows["t1"].given is None and self.rows["t2"].given is None:
            reason = "choose or drop a T1, a T2 or both."
        self.load.allow_if(reason)
        self.hint.say(sentence(reason)) if reason else self.hint.clear()
        study = self.subjects.study
        self.refresh.allow_if(None if study else "open a study first.")
        self.study.setText(study.name if study else "none")
        self.study.setToolTip(as_it_is(str(study)) if study else "")
        self.subjects.setVisible(study is not None)

    def load_rows(self) -> Job | None:
        """Load the chosen files and layers, by a job; None if a layer cannot be used."""
        files: dict[ImageName, Path] = {}
        volumes: dict[ImageName, Volume] = {}
        try:
            for name, row in self.rows.items():
                if isinstance(row.given, Path):
                    files[name] = row.given
                elif row.given is not None:
                    data, meta, _ = row.given.as_layer_data_tuple()
                    volumes[name] = layer_volume(data, meta)
        except InputError as error:
            self.notice.error(str(error))
            return None

        register: Register = self.register.raw()

        def request(folder: Path) -> LoadScan:
            for name, volume in volumes.items():
                exchange.save_volume(folder, f"layer_{name}", volume)
            return LoadScan(stored=tuple(volumes), register_t2=register, **files)

        job = Job(request, self)
        job.finished.connect(lambda result: self._on_loaded(result, None))
        self._start(job, "Reading …")
        return job

    def load_subject(self, subject: StudySubject) -> None:
        """Load a subject of the study, with its label."""
        study = self.subjects.study
        if study is None:
            return
        saved = self.autosave.settling()  # the subject may be the one that is being saved
        rater = self.autosave.rater if self.session.blind else None
        register: Register = self.register.raw()

        def request(_: Path) -> LoadSubject:
            saved()
            return LoadSubject(study=study, subject=subject.name, rater=rater, register_t2=register)

        job = Job(request, self)
        job.finished.connect(lambda result: self._on_loaded(result, study))
        self._start(job, f"Reading {subject.name} …")

    def open_results(self, path: Path) -> None:
        """Show what the command line wrote, as the newest prediction; see `results_at`.

        While there is no scan, the one that the results were made of is loaded first.
        """
        scan = self.session.scan
        if self.session.blind:
            self.notice.error(sentence(BLIND))
            return
        if scan is None:
            self._open_with_scan(path)
            return
        job = Job(results_request(scan, path), self)
        job.finished.connect(partial(self._on_opened, scan))
        self.run(self.bar.follow(job, "Reading …"))

    def load_sample(self) -> None:
        """Make and show the synthetic subject."""
        job = Job(MakeSample(), self)
        job.finished.connect(self._on_sample)
        self._start(job, "Making a synthetic subject…")

    def open_study(self, folder: Path) -> None:
        """List the subjects of a BIDS folder."""
        self.bar.follow(self.subjects.job(folder), "Reading subjects…").start()

    def _open_with_scan(self, path: Path) -> None:
        from napari_pvs.inference.results import ScanGone, scan_files  # not when a dock opens

        try:
            files = scan_files(path)
        except ScanGone:
            self.notice.error("Load the scan first, then open its results.")
            return
        except InputError as error:
            self.notice.error(str(error))
            return
        self.rows["t1"].give(files.t1)
        self.rows["t2"].give(files.t2)
        self.rows["brain"].give(files.brain_mask)
        self.rows["lesions"].give(None)  # another scan's
        if (job := self.load_rows()) is not None:
            job.ended.connect(lambda: self._open_next(path))

    def _open_next(self, path: Path) -> None:
        if self.session.scan is not None:
            self.open_results(path)

    def _on_opened(self, scan: Scan, result: Result[Segmented]) -> None:
        if scan is self.session.scan:
            config = result.answer.config or SegmentConfig()
            self.show_steps(showing(self.session, scan, config, result))

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take local files and folders."""
        event = there(event)
        if any(url.isLocalFile() for url in there(event.mimeData()).urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Take the files that were dropped, by their names."""
        event = there(event)
        urls = there(event.mimeData()).urls()
        self.take([Path(url.toLocalFile()) for url in urls if url.isLocalFile()])
        event.acceptProposedAction()

    def take(self, paths: list[Path]) -> None:
        """Sort files into T1, T2 and brain mask by their names; a folder is a study, or results.

        A file whose name does not tell goes where there is room, T1 first, and that is said.
        """
        from napari_pvs.inference.results import results_at  # not when a dock opens

        unsure = []
        for path in paths:
            told = next((row for row, name in _NAMES.items() if name.search(path.name)), None)
            results = results_at(path)
            if results is not None:
                self.open_results(results)
            elif path.is_dir():
                self.open_study(path)
            elif told is not None:
                self.rows[told].give(path)
            else:
                unsure.append(path)
        notes = []
        for path in unsure:
            images: tuple[ImageName, ...] = ("t1", "t2")
            free = [row for row in images if self.rows[row].given is None]
            if not free:
                notes.append(f"{path.name} was ignored: T1 and T2 are already chosen.")
                continue
            self.rows[free[0]].give(path)
            notes.append(f"Using {path.name} as the {free[0].upper()}; its name does not say.")
        if notes:
            self.notice.warn("\n".join(notes))

    def drop_on_canvas(self, paths: list[Path]) -> bool:
        """Load scans that were dropped on the canvas; return whether they are any.

        napari would ask for a reader, and show them as layers that are no scan.
        """
        from napari_pvs.inference.results import results_at  # not when a dock opens

        results = results_at(paths[0]) if len(paths) == 1 else None
        if results is not None:
            self.open_results(results)
            return True
        scans = [one for one in paths if one.name.lower().endswith(SUFFIXES)]
        if any(one.is_dir() for one in paths):
            self.take([one for one in paths if one.is_dir()])
        elif len(scans) < len(paths) or not scans:
            return False
        masks = [
            one
            for one in scans
            if is_label_name(one) and not any(_NAMES[kind].search(one.name) for kind in _MASKS)
        ]
        for path in masks:
            self.session.viewer.open(str(path), plugin="napari-pvs")
        images = [one for one in scans if one not in masks]
        if images:
            for row in self.rows.values():  # what is of another subject goes
                if not isinstance(row.given, Path) or row.given.parent != images[0].parent:
                    row.give(None)
            self.take(images)
            if self.load.isEnabled():
                self.load_rows()
        return True

    def stop(self) -> None:
        """End every job of the dock."""
        super().stop()
        self._drops.stop()
        self.subjects.stop()

    def _start(self, job: Job, text: str) -> None:
        self.autosave.flush()  # so that the labels shown now can go when the scan comes
        self.run(self.bar.follow(job, text))

    def _on_loaded(self, result: Result[Loaded], study: Path | None) -> None:
        self.show_steps(self._tell(show(self.session, result, study)))

    def _on_sample(self, result: Result[Features]) -> None:
        self.show_steps(self._tell(show_sample(self.session, result)))

    def _tell(self, showing: Steps) -> Steps:
        """Show what was loaded, and say what it is."""
        notes = yield from showing
        if notes:
            self.notice.warn("\n".join(notes))
        elif self.session.scan is not None:  # its layers may have been deleted at once
            scan = self.session.scan
            size = "×".join(f"{edge:.3g}" for edge in scan.grid.voxel_size)
            shape = "×".join(map(str, scan.grid.shape))
            self.notice.say(
                f"Loaded {' + '.join(scan.modalities)}: {shape} voxels of {size} mm.", _LOADED
            )

    def _on_scan(self) -> None:
        if self.session.scan is None:
            self.notice.take_back(_LOADED)  # its layers were deleted

    def _on_blind(self) -> None:
        """List the study anew, with what the rater may see."""
        self.subjects.blind = self.session.blind
        self.subjects.refresh()

    def _on_study(self) -> None:
        """List the study that another dock has opened."""
        study = self.session.opened
        if study is not None and study != self.subjects.study:
            self.open_study(study)

    def _on_inserted(self, event: Event) -> None:
        self._take_layer(event.value)

    def _take_layer(self, layer: Layer) -> None:
        """Offer an image that was opened by napari as the scan, where there is none yet.

        A results folder that was opened by napari becomes the prediction.
        """
        if results_of(layer) is not None:
            self._results_soon.throttle()  # napari is adding the others
            return
        source = source_of(layer)
        if self.session.scan is not None or role_of(layer) is not None or source is None:
            return
        name = layer.name if source.path is None else source.path.name
        images = isinstance(layer, Image)
        told = next((row for row, known in _NAMES.items() if known.search(name)), None)
        if told is None and images:
            choices: tuple[ImageName, ...] = ("t1", "t2")
            told = next((row for row in choices if self.rows[row].given is None), None)
        if told is None or images == (told in _MASKS) or self.rows[told].given is not None:
            return
        self.rows[told].give(layer)
        self.notice.say(f"{name} is open as a layer. Press Load to make it the scan.")

    def _take_results(self) -> None:
        """Show results that napari has opened as the prediction, in place of their layers."""
        layers = self.session.viewer.layers
        read = [layer for layer in layers if results_of(layer) is not None]
        if not read or self.session.blind:
            return
        pvs, folder = read[-1], results_of(read[-1])
        if self.session.scan is not None and not self.session.fits(pvs):
            self.notice.warn("These results are of another scan; they stay as layers.")
            return
        for layer in read:
            layers.remove(layer)
        if folder is not None:
            self.open_results(folder)

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a BIDS folder", self.folder)
        if name:
            self._start_in(name)
            self.open_study(Path(name))

    def _on_listed(self) -> None:
        if self.subjects.study is not None:
            self.session.open_study(self.subjects.study)
        self.check()

    def _list(self) -> None:
        if self.subjects.study is not None:
            self.open_study(self.subjects.study)

    def _on_row(self, row: ImageRow) -> None:
        self._start_in(row.folder)
        self.check()

    def _start_in(self, folder: str) -> None:
        """Let file dialogs start in a folder."""
        self.folder = folder
        for row in self.rows.values():
            row.folder = folder

    def _on_selection(self, _: object = None) -> None:
        for row in self.rows.values():
            row.refresh()
