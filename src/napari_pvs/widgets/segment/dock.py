"""The Segment dock: run a network on the session's scan, and set threshold and smallest volume."""

from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QHBoxLayout, QLabel, QSizePolicy
from superqt import QLabeledDoubleSlider

from napari_pvs.inference.components import LOWEST
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs.protocol import Segmented
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.idle import Steps
from napari_pvs.widgets.background.process import Job, Result
from napari_pvs.widgets.dock import JOB, PREDICTIONS_KEY, JobDock, blink_predictions
from napari_pvs.widgets.parts.controls import Button, Notice, allow, as_it_is
from napari_pvs.widgets.parts.fields import Field, field_of
from napari_pvs.widgets.preferences import follow, preferences
from napari_pvs.widgets.segment.study import StudyPanel
from napari_pvs.widgets.segment.weights_list import WeightsList
from napari_pvs.widgets.state.prediction import Prediction
from napari_pvs.widgets.state.segmentation import (
    COPY_TIP,
    copy_to_labels,
    request_for,
    results_request,
    showing,
)
from napari_pvs.widgets.state.session import BLIND
from napari_pvs.widgets.viewer.typed import Viewer

_LARGEST_MM3 = 20.0
_COPIED = "copied"  # topic of what is said of it
_WIDTH_TIP = (
    "Leave out components that are wider than this and less than twice as long as wide, as lesions "
    "often are. The Correct dock lists them as excluded by shape."
)


class Segment(JobDock):
    """Segment the loaded scan."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.hint = Notice()
        self._subject: str | None = None  # of the study, whose scan is being segmented
        self._of: Scan | None = None
        self._build_options()
        self._build_prediction()
        self.study = StudyPanel(self.session, self.autosave, self.notice, self.config)
        self.group("Study").addRow(self.study)
        self.body.addStretch()
        # one update for all moves that arrive while the last mask was being made
        self._cut_soon = Debouncer(0, self.cut, self)
        for slider in (self.threshold, self.min_volume, self.max_width):
            slider.valueChanged.connect(lambda _: self._cut_soon.throttle())
        self.device.on_change(lambda: self._prefer("device", self.device))
        self.windows.on_change(lambda: self._prefer("windows", self.windows))
        follow("segment", self._show_preferences)
        self.session.scan_changed.connect(self._on_scan)
        self.session.prediction_changed.connect(self._on_prediction)
        self.session.labels_edited.connect(self._on_edit)
        self._on_prediction()

    def _build_options(self) -> None:
        form = self.group("Segment")
        self.weights = WeightsList(self.session)
        self.file = Button("File…", "Choose a weights file made by napari-pvs train.", self._browse)
        self.file.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout()
        row.addWidget(self.weights, 1)
        row.addWidget(self.file)
        form.addRow("Weights", row)
        self.device = field_of(SegmentConfig, "device")
        form.addRow("Device", self.device.widget)
        self.windows = field_of(SegmentConfig, "windows")
        form.addRow("Windows", self.windows.widget)
        self.within = field_of(SegmentConfig, "within")
        form.addRow("Look in", self.within.widget)
        self.register = field_of(SegmentConfig, "register_t2")
        self.register.widget.setToolTip(
            f"{_describe('register_t2')} For the study; the scan shown was registered when loaded."
        )
        form.addRow("Register T2", self.register.widget)
        self.start = Button(
            "Segment", "Find the PVS of this scan; the result is a new layer.", self.run_it
        )
        form.addRow(self.start)
        form.addRow(self.hint)

    def _build_prediction(self) -> None:
        result = self.group("Prediction")
        self.name = Notice()
        result.addRow(self.name)
        self.threshold = _slider(LOWEST, 0.99, 0.5, 2, _describe("threshold"))
        self.min_volume = _slider(0, _LARGEST_MM3, 0, 1, _describe("min_volume"))
        result.addRow("Threshold", self.threshold)
        result.addRow("Min. mm³", self.min_volume)
        self.max_width = _width_box()
        result.addRow("Max. width", self.max_width)
        self.found = QLabel()
        result.addRow(self.found)
        self.open = Button(
            "Open results…",
            "Open a folder that napari-pvs segment wrote for this scan, or a probability map; "
            "drop one on this dock for the same.",
            self._browse_results,
        )
        self.copy = Button("Copy prediction to labels", COPY_TIP, self.copy_it)
        result.addRow(self.copy)
        self.blink = Button(
            f"Toggle previous prediction ({PREDICTIONS_KEY})",
            "Switch between the last two predictions. Sliders, count and Copy follow.",
            lambda: blink_predictions(self.session),
        )
        result.addRow(self.blink)
        result.addRow(self.open)
        self.setAcceptDrops(True)

    def config(self) -> SegmentConfig:
        """The configuration in the form; what cuts the mask can be changed later."""
        chosen = preferences().segment  # before the fields, which follow them
        return SegmentConfig(
            weights=self.weights.currentData(),
            device=self.device.raw(),
            windows=self.windows.raw(),
            within=self.within.raw(),
            register_t2=self.register.raw(),
            min_volume=self.min_volume.value(),
            max_width=self.max_width.value() or None,
            threshold=chosen.threshold or None,
        )

    def run_it(self) -> None:
        """Segment the scan with the chosen weights."""
        scan, config = self.session.require_scan(), self.config()
        subject = self.session.shown_subject
        self._subject = None if subject is None else subject.name
        self._of = scan
        job = Job(request_for(self.session, scan, config), self)
        job.finished.connect(partial(self._on_done, scan, config))
        job.ended.connect(self.check)
        self.run(self.bar.follow(job, "Starting …"))
        self.check()

    def open_results(self, path: Path) -> None:
        """Show what the command line wrote for this scan, as the newest prediction."""
        if self.session.scan is None:
            self.notice.error("Load the scan first, then open its results.")
            return
        scan = self.session.require_scan()
        self._subject, self._of = None, scan
        job = Job(results_request(scan, path), self)
        job.finished.connect(partial(self._on_opened, scan))
        job.ended.connect(self.check)
        self.run(self.bar.follow(job, "Reading …"))
        self.check()

    def dragEnterEvent(self, event: Any) -> None:
        """Take a folder or a file of this machine."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Open what was dropped."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        event.acceptProposedAction()
        if self.busy:
            self.notice.error("A segmentation is running; wait for it to end, or cancel it.")
        elif len(paths) == 1:
            self.open_results(paths[0])
        else:
            self.notice.error("Drop one folder of results, or one probability map.")

    def stop(self) -> None:
        """End all jobs of the dock."""
        super().stop()
        self.study.stop()

    def cut(self) -> None:
        """Make the mask of the prediction shown anew, as the sliders stand."""
        prediction = self.session.prediction
        if prediction is not None:
            prediction.max_width = self.max_width.value() or None
            prediction.cut(self.threshold.value(), self.min_volume.value())
            self.session.show_prediction(prediction)
            self._show_numbers(prediction)
            self.session.prediction_changed.emit()

    def copy_it(self) -> None:
        """Bring the prediction into the labels that are corrected."""
        self.notice.say(copy_to_labels(self.session), _COPIED)

    def check(self) -> None:
        """Enable what can be done now."""
        reason = "load a scan first." if self.session.scan is None else None
        if self.busy:
            reason = "a segmentation is running."
        elif self.session.blind:
            reason = BLIND
        self.start.allow_if(reason)
        self.hint.say("Load a scan first.") if self.session.scan is None else self.hint.clear()
        self.open.allow_if(reason)
        some = self.session.no_prediction
        self.copy.allow_if(some)
        allow(self.threshold, _describe("threshold"), some)
        allow(self.min_volume, _describe("min_volume"), some)
        allow(self.max_width, _WIDTH_TIP, some)
        several = len(self.session.predictions) > 1
        self.blink.allow_if(some or (None if several else "segment with other weights to compare."))

    def _on_done(self, scan: Scan, config: SegmentConfig, result: Result[Segmented]) -> None:
        if scan is self.session.scan:
            self.show_steps(self._show(scan, config, result))
            return
        # another one was loaded meanwhile; in a study the mask is kept all the same
        if result.answer.notes:
            self.notice.warn(f"{self._subject}: {' '.join(result.answer.notes)}", JOB)
            return
        found = f"{result.answer.count} PVS, {result.answer.volume_mm3:,.0f} mm³"
        self.notice.say(f"{self._subject}: {found}, kept in the study.", JOB)
        self.session.study_written.emit()

    def _on_opened(self, scan: Scan, result: Result[Segmented]) -> None:
        if scan is self.session.scan:
            config = result.answer.config or SegmentConfig()
            self.show_steps(self._show(scan, config, result))

    def _browse_results(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a folder of results", "")
        if name:
            self.open_results(Path(name))

    def _show(self, scan: Scan, config: SegmentConfig, result: Result[Segmented]) -> Steps:
        if (yield from showing(self.session, scan, config, result)) is None:
            return
        yield
        if result.answer.notes:
            self.notice.warn("\n".join(result.answer.notes))
        if self.session.study is not None:
            self.session.study_written.emit()

    def _show_preferences(self) -> None:
        chosen = preferences().segment
        self.device.set(chosen.device)
        self.windows.set(chosen.windows)
        if self.session.prediction is None:
            self.min_volume.setValue(chosen.min_volume)

    def _prefer(self, name: str, field: Field) -> None:
        """Save a choice as the default for the next dock and session."""
        value = field.raw()  # before the preferences, which fields follow
        chosen = preferences().segment
        if getattr(chosen, name) != value:
            setattr(chosen, name, value)
        field.set(value)

    def _on_scan(self) -> None:
        if self.busy and self._subject is None and self._of is not self.session.scan:
            self._cancel()  # not what segments the whole study
            self.notice.warn("The segmentation was cancelled because its scan was closed.", JOB)
        elif self.busy and self._of is not self.session.scan:
            self.notice.say(f"Still segmenting {self._subject} for the study.", JOB)
        self.check()

    def _on_edit(self) -> None:
        self.notice.take_back(_COPIED)

    def _on_prediction(self) -> None:
        prediction = self.session.prediction
        if prediction is None:
            self.name.say("Hidden in blind mode." if self.session.blind else "No prediction yet.")
            self.name.setToolTip("")
            self.found.clear()
        else:
            name = "starter weights" if prediction.file is None else prediction.weights
            self.name.say(f"Made with: {name}")
            self.name.setToolTip(f"Weights {prediction.weights_id}")
            for slider, value in (
                (self.threshold, prediction.threshold),
                (self.min_volume, prediction.min_volume),
                (self.max_width, prediction.max_width or 0.0),
            ):
                blocked = slider.blockSignals(True)
                slider.setValue(value)
                slider.blockSignals(blocked)
            self._show_numbers(prediction)
        self.check()

    def _show_numbers(self, prediction: Prediction) -> None:
        text = f"<b>{prediction.count}</b> PVS, {prediction.volume_mm3:,.0f} mm³"
        tips = []
        if prediction.excluded_count:
            text += f"; {prediction.excluded_count} excluded by shape"
            tips.append("What is excluded by shape is listed in the Correct dock; Accept keeps it.")
        if prediction.excluded_by_place:
            text += f"; {prediction.excluded_by_place} excluded by place"
            tips.append(
                "What lies in cortex, sulci, cisterns, ventricles or cerebellum is excluded by "
                "place; segment with Look in: brain to see it."
            )
        self.found.setText(text)
        self.found.setToolTip("\n".join(tips))

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Choose weights", "", "Weights (*.safetensors);;All files (*)"
        )
        if name:
            self.add_weights(Path(name))

    def add_weights(self, path: Path) -> None:
        """Add weights to the list and choose them."""
        self.weights.addItem(path.name, path)
        self.weights.setItemData(
            self.weights.count() - 1, as_it_is(str(path)), Qt.ItemDataRole.ToolTipRole
        )
        self.weights.setCurrentIndex(self.weights.count() - 1)


def _width_box() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0, 10)
    box.setSingleStep(0.1)
    box.setDecimals(1)
    box.setSuffix(" mm")
    box.setSpecialValueText("off")
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return box


def _slider(low: float, high: float, value: float, decimals: int, tip: str) -> QLabeledDoubleSlider:
    slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setRange(low, high)
    slider.setDecimals(decimals)
    slider.setSingleStep(10**-decimals)
    slider.setValue(value)
    slider.setToolTip(tip)
    return slider


def _describe(field: str) -> str:
    """The configuration's description of a field."""
    return SegmentConfig.model_fields[field].description or ""
