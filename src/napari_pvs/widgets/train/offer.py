"""Offers to segment the scan again when a run has better weights, and says what changed."""

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import Changes, Improve, Improved
from napari_pvs.network.weights import fingerprint
from napari_pvs.scans.display import from_display
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.idle import Steps
from napari_pvs.widgets.background.process import Job, Result
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.dock import JOB, PREDICTIONS_KEY, JobDock
from napari_pvs.widgets.parts.controls import Button, Notice
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.state.prediction import Prediction
from napari_pvs.widgets.state.segmentation import request_for, showing
from napari_pvs.widgets.train.run_watch import RunWatch


class Offer(QWidget):
    """A line and a button, visible only while there are better weights than the ones shown.

    Parameters
    ----------
    dock
        The Train dock, for its session, job, bar and notice.
    watch
        The run being followed.
    """

    def __init__(self, dock: JobDock, watch: RunWatch) -> None:
        super().__init__()
        self._dock, self._watch = dock, watch
        self._thread = Background(self)
        self._reached: dict[str, float] = {}
        """Validation DSC by id of the weights, as far as it is known."""
        self._best: tuple[Path, float | None, str] | None = None
        self.text = Notice()
        self.again = Button(
            "Segment again",
            "Segment the scan with the run's best weights; the previous prediction is kept as a "
            "separate layer.",
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
        """Find the id of the newest best weights, which predictions also carry."""
        path, best = self._watch.weights, self._watch.best
        if path is None or best is None:
            return
        dsc, _ = best

        def known(key: str) -> None:
            if dsc is not None:
                self._reached[key] = dsc
            if path == self._watch.weights:
                self._best = path, dsc, key
            self.check()

        # if the file is gone there is nothing to offer, and segmenting will say so
        self._thread.submit(lambda: fingerprint(path), known, lambda _: None)

    def check(self) -> None:
        """Offer weights better than those of the prediction shown, if there are any."""
        session, best = self._dock.session, self._best
        prediction = session.prediction
        offered = None
        wanted = session.scan is not None and not session.blind
        if best is not None and best[0] == self._watch.weights and wanted:
            offered = best
        if offered is not None and prediction is not None:
            _, dsc, key = offered
            was = self._reached.get(prediction.weights_id)
            worse = was is not None and dsc is not None and dsc <= was
            if key in session.predictions or worse:
                offered = None
        self.setVisible(offered is not None)
        if offered is None:
            return
        dsc = offered[1]
        was = None if prediction is None else self._reached.get(prediction.weights_id)
        if dsc is None:
            self.text.say("The run has weights, adapted without labels; their accuracy is unknown.")
            was = None
        elif was is not None:
            self.text.say(f"Better weights (validation DSC {dsc:.2f}, was {was:.2f}).")
        elif prediction is not None:
            # what the other weights reach on these subjects is not known
            self.text.say(f"New weights available (validation DSC {dsc:.2f}).")
        else:
            self.text.say(f"Weights available (validation DSC {dsc:.2f}).")
        self.again.setText("Segment with these weights" if was is None else "Segment again")
        self.again.allow_if("a segmentation is running." if self._dock.busy else None)

    def segment(self) -> None:
        """Segment the scan with the best weights of the run."""
        session = self._dock.session
        scan, before = session.require_scan(), session.prediction
        chosen = preferences().segment
        same: dict[str, Any] = {}
        if before is not None:
            same = {"within": before.within, "max_width": before.max_width}
        config = SegmentConfig(
            weights=self._watch.weights,
            device=chosen.device,
            windows=chosen.windows,
            threshold=chosen.threshold or None,
            min_volume=chosen.min_volume if before is None else before.min_volume,
            **same,
        )
        mask = None if before is None else from_display(before.layer.data).copy()
        again = request_for(session, scan, config)

        def request(folder: Path) -> Improve:
            if mask is not None:
                exchange.save_array(folder, "before", mask)
            return Improve(segment=again(folder))

        job = Job(request, self._dock)
        job.finished.connect(lambda result: self._on_done(scan, config, before, result))
        job.ended.connect(self.check)
        self._dock.run(self._dock.bar.follow(job, "Starting …"))
        self.check()

    def _on_done(
        self, scan: Scan, config: SegmentConfig, before: Prediction | None, result: Result[Improved]
    ) -> None:
        if scan is self._dock.session.scan:  # unless another one was loaded meanwhile
            self._dock.show_steps(self._show(scan, config, before, result))
        elif result.answer.segmented.notes:
            self._dock.notice.warn("\n".join(result.answer.segmented.notes), JOB)

    def _show(
        self, scan: Scan, config: SegmentConfig, before: Prediction | None, result: Result[Improved]
    ) -> Steps:
        session, notice, answer = self._dock.session, self._dock.notice, result.answer
        if answer.dsc is not None:
            self._reached[answer.segmented.weights_id] = answer.dsc
        segmented = Result(answer.segmented, result.folder)
        prediction = yield from showing(session, scan, config, segmented)
        if prediction is None:
            return
        if answer.segmented.notes:
            notice.warn("\n".join(answer.segmented.notes))
        elif before is not None and answer.changes is not None:
            notice.say(told(answer.changes))
        else:
            notice.say(f"{prediction.count} PVS, {prediction.volume_mm3:,.0f} mm³.")
        if session.study is not None:
            session.study_written.emit()


def told(changes: Changes) -> str:
    """Say how the new mask differs from the previous one.

    Examples
    --------
    >>> told(Changes(added=14, removed=1, before_mm3=1000.0, now_mm3=1230.0))
    '14 PVS added, 1 removed; 1,230 mm³, was 1,000 (+23 %). Shift+T toggles the previous one.'
    """
    before, now = changes.before_mm3, changes.now_mm3
    share = f" ({100 * (now - before) / before:+.0f} %)" if before else ""
    return (
        f"{changes.added} PVS added, {changes.removed} removed; {now:,.0f} mm³, was "
        f"{before:,.0f}{share}. {PREDICTIONS_KEY} toggles the previous one."
    )
