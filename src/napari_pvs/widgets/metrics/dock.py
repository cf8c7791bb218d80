"""The Metrics dock: PVS by region, how labels agree with a reference, and where they do not."""

from pathlib import Path

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QSizePolicy,
)

from napari_pvs.errors import InputError
from napari_pvs.evaluation.compare import Comparison, score
from napari_pvs.evaluation.detection import Agreement, Spot, agreement
from napari_pvs.evaluation.tables import to_tsv
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import Loaded, ReadMask
from napari_pvs.scans.display import grid_index, to_display
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.process import Job, Result, scan_folder
from napari_pvs.widgets.dock import JobDock
from napari_pvs.widgets.metrics.agreement import AgreementPanel
from napari_pvs.widgets.metrics.burden import BurdenPanel, StudyBurden
from napari_pvs.widgets.metrics.study import RunTable, StudyScores
from napari_pvs.widgets.parts.controls import (
    FILES,
    Button,
    LayerBox,
    Notice,
    ask_where,
    sentence,
    write,
)
from napari_pvs.widgets.state.session import BLIND
from napari_pvs.widgets.viewer.canvas import add, show_voxel
from napari_pvs.widgets.viewer.edits import version
from napari_pvs.widgets.viewer.layers import made_by, mask_layer, origin_of
from napari_pvs.widgets.viewer.typed import LabelsLayer, Viewer

ZOOM = 12.0
"""Pixels per mm at which a PVS is easy to see."""
_AFTER_MS = 60  # pause after a stroke before it is measured


class Metrics(JobDock):
    """Compare labels, or a prediction, with a reference."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.hint = Notice()
        self.agreement: Agreement | None = None
        self._seen: tuple[object, ...] | None = None
        self._circular = False
        self._watched: list[LabelsLayer] = []
        self._build_choice()
        self._build_agreement()
        self.burden = BurdenPanel(self, self.measured)
        self.group("Burden by region").addRow(self.burden)
        self.study_burden = StudyBurden(self)
        self.group("Burden of the study").addRow(self.study_burden)
        self.study = StudyScores(self)
        self.group("Agreement in the study").addRow(self.study)
        self.runs = RunTable(self)
        self.group("Training runs").addRow(self.runs)

        self._soon = Debouncer(_AFTER_MS, self.update_numbers, self)
        self.what.currentIndexChanged.connect(lambda _: self._soon.throttle())
        self.what.currentIndexChanged.connect(lambda _: self.burden.soon.throttle())
        self.inside.toggled.connect(lambda _: self._again())
        self.reference.currentIndexChanged.connect(lambda _: self._choose_reference())
        session = self.session
        session.labels_edited.connect(self._soon.throttle)
        session.labels_changed.connect(self._soon.throttle)
        session.scan_changed.connect(self._again)
        session.prediction_changed.connect(self._again)
        session.reference_changed.connect(self._on_reference)
        session.blind_changed.connect(self._again)
        session.study_opened.connect(self._on_study)
        self._on_reference()
        self.update_numbers()

    def _build_choice(self) -> None:
        form = self.group("Compare")
        self.what = LayerBox(self.session, Labels, "Labels (prediction if none)")
        self.what.setToolTip("The layer to measure.")
        self.reference = LayerBox(self.session, Labels, "none")
        self.reference.setToolTip("The layer to compare it with.")
        self.file = Button("File…", "Open a mask of this scan as the reference.", self._browse)
        self.file.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout()
        row.addWidget(self.reference, 1)
        row.addWidget(self.file)
        form.addRow("Measure", self.what)
        form.addRow("Reference", row)
        self.inside = QCheckBox("Inside the brain only")
        self.inside.setToolTip("Ignore voxels outside the brain mask.")
        self.inside.setChecked(True)
        form.addRow(self.inside)
        form.addRow(self.hint)

    def _build_agreement(self) -> None:
        self.measures = AgreementPanel()
        self.measures.selected.connect(self._jump)
        self.measures.place = self._place
        agree = self.group("Agreement")
        agree.addRow(self.measures)
        self.tsv = Button("Export TSV…", "All measures of this scan, as a table.", self._save_tsv)
        self.png = Button("Export PNG…", "A picture of these numbers.", self._save_png)
        row = QHBoxLayout()
        row.addWidget(self.tsv)
        row.addWidget(self.png)
        agree.addRow(row)

    def measured(self) -> LabelsLayer | None:
        """The layer that is scored, or None."""
        prediction = self.session.prediction
        for layer in (self.what.layer(), self.session.labels):
            if layer is not None:
                return layer
        return prediction.layer if prediction else None

    def update_numbers(self) -> None:
        """Update the measures, unless nothing has changed."""
        if self.stopped:
            return
        layer, reference = self.measured(), self.session.reference
        self._watch([one for one in (layer, reference) if one is not None])
        if self.session.blind:
            reference = None
        if layer is None or reference is None or layer is reference:
            self._seen, self._circular = None, False
            self._show(None)
            return
        seen = (layer, version(layer), reference, version(reference))
        if seen == self._seen:
            return
        self._seen = seen
        if layer.data.ndim != 3:
            self._show(None)
            self.hint.error(f"the layer {layer.name!r} is not 3D; choose two layers of one scan.")
            return
        if layer.data.shape != reference.data.shape:
            self._show(None)
            self.hint.error(
                f"the layers {layer.name!r} and {reference.name!r} have different shapes; choose "
                "two layers of one scan."
            )
            return
        volume, region = self._voxel_volume(layer), self._region(layer)
        self._circular = self._same(layer, reference)
        if self._circular:
            self._show(None)
            return
        self._show(agreement(layer.data, reference.data, volume, region))

    def _same(self, layer: LabelsLayer, reference: LabelsLayer) -> bool:
        """Whether one is a copy of the other: what nobody has edited agrees with itself."""
        if not np.array_equal(layer.data > 0, reference.data > 0) or not layer.data.any():
            return False
        predictions = [one.layer for one in self.session.predictions.values()]

        def predicted(one: LabelsLayer) -> bool:
            origin, _ = origin_of(one)
            return one in predictions or made_by(one) is not None or origin == "corrected"

        return predicted(layer) or predicted(reference)

    def open_reference(self, path: Path) -> None:
        """Show a label file of this scan, and compare with it."""
        scan = self.session.require_scan()

        def request(folder: Path) -> ReadMask:
            return ReadMask(scan=scan_folder(scan, folder), path=path)

        def on_done(result: Result[Loaded]) -> None:
            if scan is not self.session.scan:
                return
            # a copy, because the job's folder will be removed
            mask = exchange.load_array(result.path, "mask").copy()
            name = path.name.split(".")[0]
            data, meta, _ = mask_layer(mask, scan, name, "reference")
            layer = Labels(data, **meta)
            add(self.session.viewer, layer, self.session)
            self.session.set_reference(layer)
            if result.answer.notes:
                self.notice.warn("\n".join(result.answer.notes))

        job = Job(request, self)
        job.finished.connect(on_done)
        job.ended.connect(self.check)
        self.run(self.bar.follow(job, "Reading …"))
        self.check()

    def check(self) -> None:
        """Enable what can be done now, and say what is missing."""
        scan = self.session.scan
        busy = "another job is running." if self.busy else None
        self.file.allow_if(busy if scan is not None else "load a scan first.")
        reason = None if self.agreement else "choose a layer and a reference."
        self.tsv.allow_if(reason)
        self.png.allow_if(reason)
        self.burden.check()
        self.study_burden.check()
        self.study.check()
        self.runs.check()

    def _scan_of(self, layer: LabelsLayer) -> Scan | None:
        """The scan, if the layer has as many voxels."""
        scan = self.session.scan
        fits = scan is not None and to_display(scan.brain).shape == layer.data.shape
        return scan if fits else None

    def _voxel_volume(self, layer: LabelsLayer) -> float:
        """In mm³; napari's scale treats a sheared scan's voxels as if they were rectangular."""
        scan = self._scan_of(layer)
        return scan.grid.voxel_volume if scan else float(np.prod(np.abs(layer.scale[-3:])))

    def _region(self, layer: LabelsLayer) -> NDArray[np.bool_] | None:
        scan = self._scan_of(layer)
        return to_display(scan.brain) if scan and self.inside.isChecked() else None

    def _show(self, found: Agreement | None) -> None:
        self.agreement = found
        self.measures.show_agreement(found)
        self.measures.setVisible(found is not None)
        if found is not None:
            self.hint.clear()
        elif self.session.blind:
            self.hint.say(sentence(BLIND))
        elif self.session.reference is None:
            self.hint.say("Choose a reference: a layer or a file.")
        elif self.measured() is self.session.reference:
            self.hint.say("Choose a layer other than the reference.")
        elif self._circular:
            self.hint.warn(
                "Not scored: these labels are the prediction itself, unedited; it would agree "
                "with itself perfectly."
            )
        else:
            self.hint.say("Segment the scan or draw labels first.")
        self.check()

    def _again(self) -> None:
        self._seen = None
        self._soon.throttle()

    def _watch(self, layers: list[LabelsLayer]) -> None:
        """Follow strokes in these layers, even if they are not the session's labels."""
        if [id(one) for one in layers] == [id(one) for one in self._watched]:
            return
        for one in self._watched:
            one.events.set_data.disconnect(self._on_layer)
            one.events.paint.disconnect(self._on_layer)
        self._watched = layers
        for one in layers:
            one.events.set_data.connect(self._on_layer)
            one.events.paint.connect(self._on_layer)

    def _on_study(self) -> None:
        self.study_burden.clear()
        self.study.clear()
        self.runs.clear()
        self.check()

    def _on_layer(self, _: object) -> None:
        self._soon.throttle()
        self.burden.soon.throttle()

    def _on_reference(self) -> None:
        self.reference.choose(self.session.reference)
        self._again()

    def _choose_reference(self) -> None:
        try:
            self.session.set_reference(self.reference.layer())
        except InputError as error:
            self.notice.error(str(error))
            self.reference.choose(self.session.reference)

    def _place(self, index: tuple[int, int, int]) -> str:
        """Where a voxel of the reference lies, in scanner mm; its index where no scan tells."""
        scan, reference = self.session.scan, self.session.reference
        if scan is None or reference is None or self._scan_of(reference) is None:
            return ", ".join(map(str, index))
        place = scan.grid.affine @ np.array([*grid_index(index, scan), 1.0])
        return ", ".join(f"{axis:.0f}" for axis in place[:3])

    def _jump(self, spot: Spot) -> None:
        if self.session.reference is not None:
            show_voxel(self.session.viewer, self.session.reference, spot.index, ZOOM)

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Choose a reference mask", "", FILES)
        if name:
            self.open_reference(Path(name))

    def _save_tsv(self) -> None:
        layer, reference = self.measured(), self.session.reference
        if layer is None or reference is None:
            return
        path = ask_where(self, "measures.tsv", "Table (*.tsv)")
        if path:
            shown = self.session.shown_subject
            subject = layer.name if shown is None else shown.name
            scan = self._scan_of(layer)  # a layer drawn by hand may have another scale
            size = scan.grid.voxel_size[::-1] if scan else tuple(layer.scale)
            one = score(
                layer.data, reference.data, size, subject=subject,
                region=self._region(layer), voxel_volume=self._voxel_volume(layer),
            )  # fmt: skip
            write(path, to_tsv(Comparison((one,))), self.notice)

    def _save_png(self) -> None:
        path = ask_where(self, "measures.png", "Picture (*.png)")
        if path and not self.measures.grab().save(str(path)):
            self.notice.error(f"{path} cannot be written; choose another folder.")
