"""Offers to segment the scan again when a run has better weights, and tells what changed."""

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs import exchange
from napari_pvs.network.weights import fingerprint
from napari_pvs.scans.display import from_display
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.idle import Steps
from napari_pvs.widgets.background.process import Job, Result, store
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.dock import PREDICTIONS_KEY
from napari_pvs.widgets.parts.controls import Button, Notice
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.state.prediction import Prediction
from napari_pvs.widgets.state.segmentation import request_for, showing
from napari_pvs.widgets.train.run_watch import RunWatch


class Offer(QWidget):
    """One line and a button; seen only while there are weights that are not shown.

    Parameters
    ----------
    dock
        The Train dock: its session, job, bar and notice.
    watch
        The run that is followed.
    """

    def __init__(self, dock: Any, watch: RunWatch) -> None:
        super().__init__()
        self._dock, self._watch = dock, watch
        self._thread = Background(self)
        self._reached: dict[str, float] = {}
        """Validation DSC by the id of weights, as far as it was seen."""
        self._best: tuple[Path, float, str] | None = None
        self.text = Notice()
        self.again = Button(
            "Segment again",
            "Segment the scan with the run's best weights; the prediction before stays as a layer "
            "of its own.",
            self.segment,
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        column.addWidget(self.again)
        watch.published.connect(self.look)
        watch.changed.connect(self.check)
        dock.session.prediction_changed.connect(self.check)
        dock.session.scan_changed.connect(self.check)
        self.check()

    def look(self) -> None:
        """Learn the id of the newest best weights; predictions carry it."""
        path, best = self._watch.weights, self._watch.best

        def known(key: str) -> None:
            self._reached[key] = best[0]
            if path == self._watch.weights:
                self._best = path, best[0], key
            self.check()

        # gone meanwhile: there is nothing to offer, and segmenting says so
        self._thread.submit(lambda: fingerprint(path), known, lambda _: None)

    def check(self) -> None:
        """Offer weights that are better than the shown prediction's, if there are any."""
        session, best = self._dock.session, self._best
        prediction = session.prediction
        offered = best is not None and best[0] == self._watch.weights and session.scan is not None
        if offered and prediction is not None:
            was = self._reached.get(prediction.weights_id)
            shown = best[2] in session.predictions
            offered = not shown and (was is None or best[1] > was)
        self.setVisible(offered)
        if not offered:
            return
        was = None if prediction is None else self._reached.get(prediction.weights_id)
        if was is not None:
            self.text.say(f"Better weights (validation DSC {best[1]:.2f}, was {was:.2f}).")
        elif prediction is not None:
            # what the other weights reach on these subjects is not known
            self.text.say(
                f"The run has weights (validation DSC {best[1]:.2f}); shown is "
                f"{prediction.weights}."
            )
        else:
            self.text.say(f"The run has weights (validation DSC {best[1]:.2f}).")
        self.again.setText("Segment with them" if was is None else "Segment again")
        self.again.allow_if("a segmentation is running." if self._dock.busy else None)

    def segment(self) -> None:
        """Segment the scan with the best weights of the run."""
        session = self._dock.session
        scan, before = session.scan, session.prediction
        chosen = preferences().segment
        config = SegmentConfig(
            weights=self._watch.weights,
            device=chosen.device,
            windows=chosen.windows,
            threshold=chosen.threshold or None,
            min_volume=chosen.min_volume if before is None else before.min_volume,
        )
        mask = None if before is None else from_display(before.layer.data).copy()
        store_scan = store(scan)

        def prepare(folder: Path, request: dict[str, Any]) -> None:
            store_scan(folder, request)
            if mask is not None:
                exchange.save_array(folder, "before", mask)

        job = Job(request_for(session, config) | {"verb": "improve"}, self._dock, prepare)
        job.finished.connect(lambda result: self._on_done(scan, config, before, result))
        job.ended.connect(self.check)
        self._dock.run(self._dock.bar.follow(job, "Starting …"))
        self.check()

    def _on_done(
        self, scan: Scan, config: SegmentConfig, before: Prediction | None, result: Result
    ) -> None:
        if scan is self._dock.session.scan:  # no other one was loaded meanwhile
            self._dock.show_steps(self._show(scan, config, before, result))

    def _show(
        self, scan: Scan, config: SegmentConfig, before: Prediction | None, result: Result
    ) -> Steps:
        session, notice, answer = self._dock.session, self._dock.notice, result.answer
        if answer.get("dsc") is not None:
            self._reached[answer["weights_id"]] = answer["dsc"]
        prediction = yield from showing(session, scan, config, result)
        if prediction is None:
            return
        if answer["notes"]:
            notice.warn("\n".join(answer["notes"]))
        elif before is not None and "changes" in answer:
            notice.say(told(answer["changes"]))
        else:
            notice.say(f"{prediction.count} PVS, {prediction.volume_mm3:,.0f} mm³.")
        if session.study is not None:
            session.study_written.emit()


def told(changes: dict[str, Any]) -> str:
    """Say how the new mask differs from the one before.

    Examples
    --------
    >>> told({"added": 14, "removed": 1, "before_mm3": 1000.0, "now_mm3": 1230.0})
    '14 PVS added, 1 removed; 1,230 mm³, was 1,000 (+23 %). Shift-T shows the one before.'
    """
    before, now = changes["before_mm3"], changes["now_mm3"]
    share = f" ({100 * (now - before) / before:+.0f} %)" if before else ""
    return (
        f"{changes['added']} PVS added, {changes['removed']} removed; {now:,.0f} mm³, was "
        f"{before:,.0f}{share}. {PREDICTIONS_KEY} shows the one before."
    )
