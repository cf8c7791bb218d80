"""The Segment dock: run a network on the session's scan, and set threshold and smallest volume."""

from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QSizePolicy
from superqt import QLabeledDoubleSlider

from napari_pvs.inference.components import LOWEST
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs.protocol import Segmented
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.idle import Steps
from napari_pvs.widgets.background.process import Job, Result
from napari_pvs.widgets.dock import PREDICTIONS_KEY, JobDock, blink_predictions
from napari_pvs.widgets.parts.controls import Button, Notice, allow, as_it_is
from napari_pvs.widgets.parts.fields import field_of
from napari_pvs.widgets.preferences import follow, preferences
from napari_pvs.widgets.segment.weights_list import WeightsList
from napari_pvs.widgets.state.prediction import Prediction
from napari_pvs.widgets.state.segmentation import copy_to_labels, request_for, showing
from napari_pvs.widgets.viewer.typed import Viewer

_LARGEST_MM3 = 20.0


class Segment(JobDock):
    """Segment the loaded scan."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.hint = Notice()
        self._build_options()
        self._build_prediction()
        self.body.addWidget(self.bar)
        self.body.addWidget(self.notice)
        self.body.addStretch()
        # one update for all moves that arrive while the last mask was being made
        self._cut_soon = Debouncer(0, self.cut, self)
        for slider in (self.threshold, self.min_volume):
            slider.valueChanged.connect(lambda _: self._cut_soon.throttle())
        self._show_preferences()
        self.device.on_change(self._prefer)
        self.windows.on_change(self._prefer)
        follow("segment", self._show_preferences)
        self.session.scan_changed.connect(self._on_scan)
        self.session.prediction_changed.connect(self._on_prediction)
        self._on_prediction()

    def _build_options(self) -> None:
        form = self.group("Segment")
        self.weights = WeightsList(self.session)
        self.file = Button("File…", "Choose a weights file made by training.", self._browse)
        self.file.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout()
        row.addWidget(self.weights, 1)
        row.addWidget(self.file)
        form.addRow("Weights", row)
        self.device = field_of(SegmentConfig, "device")
        form.addRow("Device", self.device.widget)
        self.windows = field_of(SegmentConfig, "windows")
        form.addRow("Windows", self.windows.widget)
        self.start = Button(
            "Segment", "Find the PVS in the scan; the result is a new layer.", self.run_it
        )
        form.addRow(self.start)
        form.addRow(self.hint)

    def _build_prediction(self) -> None:
        smallest = preferences().segment.min_volume
        result = self.group("Prediction")
        self.name = Notice()
        result.addRow(self.name)
        self.threshold = _slider(LOWEST, 0.99, 0.5, 2, _describe("threshold"))
        self.min_volume = _slider(0, _LARGEST_MM3, smallest, 1, _describe("min_volume"))
        result.addRow("Threshold", self.threshold)
        result.addRow("Min. mm³", self.min_volume)
        self.found = QLabel()
        result.addRow(self.found)
        self.copy = Button(
            "Copy into my labels",
            "Copy this mask into the labels you are correcting, as one undoable step. Voxels that "
            "you have changed are kept.",
            self.copy_it,
        )
        result.addRow(self.copy)
        self.blink = Button(
            f"Blink with the previous ({PREDICTIONS_KEY})",
            "Switch between the newest prediction and the previous one.",
            lambda: blink_predictions(self.session),
        )
        result.addRow(self.blink)

    def config(self) -> SegmentConfig:
        """The configuration in the form; threshold and smallest volume can be changed later."""
        return SegmentConfig(
            weights=self.weights.currentData(),
            device=self.device.raw(),
            windows=self.windows.raw(),
            min_volume=self.min_volume.value(),
            threshold=preferences().segment.threshold or None,
        )

    def run_it(self) -> None:
        """Segment the scan with the chosen weights."""
        scan, config = self.session.require_scan(), self.config()
        job = Job(request_for(self.session, scan, config), self)
        job.finished.connect(partial(self._on_done, scan, config))
        job.ended.connect(self.check)
        self.run(self.bar.follow(job, "Starting …"))
        self.check()

    def cut(self) -> None:
        """Update the newest prediction's mask from the sliders."""
        prediction = self.session.prediction
        if prediction is not None:
            prediction.cut(self.threshold.value(), self.min_volume.value())
            for other in self.session.predictions.values():
                other.layer.visible = other is prediction
            self._show_numbers(prediction)
            self.session.prediction_changed.emit()

    def copy_it(self) -> None:
        """Copy the prediction into the labels being corrected."""
        self.notice.say(copy_to_labels(self.session))

    def check(self) -> None:
        """Enable what can be done now."""
        reason = "load a scan first (the Load dock)." if self.session.scan is None else None
        if self.busy:
            reason = "a segmentation is running."
        self.start.allow_if(reason)
        self.hint.say(f"To segment, {reason}") if self.session.scan is None else self.hint.clear()
        some = None if self.session.prediction else "segment the scan first."
        self.copy.allow_if(some)
        allow(self.threshold, _describe("threshold"), some)
        allow(self.min_volume, _describe("min_volume"), some)
        several = len(self.session.predictions) > 1
        self.blink.allow_if(None if several else "segment with other weights, to compare.")

    def _on_done(self, scan: Scan, config: SegmentConfig, result: Result[Segmented]) -> None:
        if scan is self.session.scan:  # unless another one was loaded meanwhile
            self.show_steps(self._show(scan, config, result))

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

    def _prefer(self) -> None:
        """Save the choices as the defaults for the next dock and session."""
        chosen = preferences().segment
        for name, field in (("device", self.device), ("windows", self.windows)):
            if getattr(chosen, name) != field.raw():
                setattr(chosen, name, field.raw())

    def _on_scan(self) -> None:
        if self.session.scan is None:
            self.stop()
        self.check()

    def _on_prediction(self) -> None:
        prediction = self.session.prediction
        if prediction is None:
            self.name.say("None yet.")
            self.found.clear()
        else:
            self.name.say(f"By {prediction.weights} ({prediction.weights_id}).")
            for slider, value in (
                (self.threshold, prediction.threshold),
                (self.min_volume, prediction.min_volume),
            ):
                blocked = slider.blockSignals(True)
                slider.setValue(value)
                slider.blockSignals(blocked)
            self._show_numbers(prediction)
        self.check()

    def _show_numbers(self, prediction: Prediction) -> None:
        self.found.setText(f"<b>{prediction.count}</b> PVS, {prediction.volume_mm3:,.0f} mm³")

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
