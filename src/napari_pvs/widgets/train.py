"""The Train dock: start a training run, follow it, and use its weights.

The run is the command line's, in a process of its own: closing the dock or napari leaves it alone,
and the next dock finds it again.
"""

from pathlib import Path
from typing import Any

from qtpy.QtCore import QSettings, QTimer
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QSizePolicy, QVBoxLayout
from superqt import QElidingLabel

from napari_pvs.errors import InputError
from napari_pvs.training import runs
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.folder import BEST
from napari_pvs.widgets import launch
from napari_pvs.widgets.fold import Fold
from napari_pvs.widgets.parts import Button, Dock, Notice
from napari_pvs.widgets.plain_text import as_it_is
from napari_pvs.widgets.progress import JobBar
from napari_pvs.widgets.run_offer import Offer
from napari_pvs.widgets.run_view import RunView
from napari_pvs.widgets.train_form import ConfigForm
from napari_pvs.widgets.train_job import TrainJob
from napari_pvs.widgets.worker import Result

_PLAN_AFTER_MS = 700  # what a run would need is asked when nothing was set for so long
_REMEMBERED = "train/study"


class Train(Dock):
    """Train on the labels of a study.

    Parameters
    ----------
    napari_viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.study: Path | None = None
        self._planning: TrainJob | None = None
        self._stopped = False
        self._refused: str | None = None
        self.notice = Notice()
        self.bar = JobBar(self.notice)
        form = self.group("Study")
        self.name = QElidingLabel("none")
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.open = Button("Open folder…", "Choose a BIDS folder (sub-*/anat/…).", self._browse)
        row = QHBoxLayout()
        row.addWidget(self.name, 1)
        row.addWidget(self.open)
        form.addRow(row)
        self.body.addWidget(self.notice)
        self.body.addWidget(self.bar)

        self.new = Fold("New run", "What a new run is to do.")
        self.form = ConfigForm()
        self.use, self.cost = Notice(), Notice()
        self.start = Button(
            "Start",
            "Train in a process of its own, which goes on when napari is closed.",
            self.start_run,
        )
        column = QVBoxLayout(self.new.inside)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.form, self.use, self.cost, self.start):
            column.addWidget(part)
        self.group("Training").addRow(self.new)
        self.view = RunView(self.notice)
        self.offer = Offer(self, self.view.watch)
        self.run_form = self.group("Run")
        self.run_form.addRow(self.offer)
        self.run_form.addRow(self.view)
        self.setTabOrder(self.start, self.offer.again)
        self.setTabOrder(self.offer.again, self.view.choice)
        self.body.addStretch()

        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PLAN_AFTER_MS)
        self._soon.timeout.connect(self.plan)
        self.form.changed.connect(self._on_form)
        self.view.watch.changed.connect(self.check)
        self.view.watch.ended.connect(self._on_run_end)
        self.view.resumed.connect(self._on_resumed)
        self.session.study_opened.connect(self._on_study)
        self.session.study_labelled.connect(self._ask_plan)
        self._on_study()
        if self.study is None:
            self._find_again()
        self.check()

    def open_study(self, study: Path) -> None:
        """Train on another study; a run of it that goes on is shown."""
        study = Path(study).absolute()
        try:
            found = runs.runs(study)
        except InputError as error:
            self.notice.error(str(error))
            return
        for notice in (self.notice, self.use, self.cost):  # they are of the study before
            notice.clear()
        self.study, self._refused = study, None
        self.name.setText(study.name)
        self.name.setToolTip(as_it_is(str(study)))
        self.view.set_runs(found)
        for run in found:
            self._offer_weights(run)
        self.new.open(not self.view.live)
        self.check()
        self._ask_plan()

    def config(self) -> TrainingConfig:
        """What the form says.

        Raises
        ------
        InputError
            A value does not fit.
        """
        return self.form.config(self.study)

    def start_run(self) -> None:
        """Start a new run, and follow it."""
        self._stop_planning()
        try:
            run = launch.start(self.config())
        except InputError as error:
            if self.study is not None and self.study.is_dir():
                self.view.set_runs(runs.runs(self.study))  # the one that is in the way is shown
            self.notice.error(str(error))
            self.check()
            return
        self.notice.clear()
        self._remember()
        self.new.open(False)
        self.view.set_runs(runs.runs(self.study), run)
        self.check()

    def plan(self) -> None:
        """Ask a process what the run would use, and what it would cost."""
        self._soon.stop()
        self._stop_planning()
        if self.study is None or self.view.live or self._stopped:
            return
        try:
            config = self.config()
        except InputError as error:
            self._refuse(str(error))
            return
        self.cost.say("Looking at the study …")
        request = {"verb": "plan", "config": config.model_dump(mode="json")}
        self._planning = job = TrainJob(request, self)
        job.finished.connect(self._on_planned)
        job.failed.connect(self._refuse)
        job.start()

    def check(self) -> None:
        """Enable what can be done now, and say what is missing."""
        reason = self._refused
        if self.view.live:
            reason = "a run of this study goes on; stop it first, or wait for its end."
        elif self.study is None:
            reason = "open a study first."
        self.start.allow_if(reason)
        self.run_form.parentWidget().setVisible(self.view.watch.run is not None)
        if self.study is None:
            self.use.say("To train, open a study: a BIDS folder with labels of two persons.")
        self.offer.check()

    def stop(self) -> None:
        """End what the dock has started, but for the training run."""
        super().stop()
        self._stopped = True
        self._soon.stop()
        self._stop_planning()
        self.view.stop()

    def _on_form(self) -> None:
        """Say at once what does not fit; what fits is looked at a moment later."""
        self._refused = None
        try:
            if self.study is not None:
                self.config()
        except InputError as error:
            self._soon.stop()
            self._stop_planning()
            self._refuse(str(error))
            return
        self._ask_plan()
        self.check()

    def _ask_plan(self) -> None:
        if self.study is not None and not self.view.live and not self._stopped:
            self._soon.start()

    def _stop_planning(self) -> None:
        if self._planning is not None:
            self._planning.cancel()
            self._planning = None

    def _on_planned(self, result: Result) -> None:
        self._planning = None
        self.use.say(result.answer["use"])
        self.cost.say(result.answer["cost"])
        self._refused = None
        if result.answer["refused"]:
            self._refuse(result.answer["refused"])
        self.check()

    def _refuse(self, text: str) -> None:
        self._planning = None
        self._refused = text
        self.cost.error(text[0].upper() + text[1:])
        self.check()

    def _on_run_end(self) -> None:
        run, status = self.view.watch.run, self.view.watch.status
        if status is not None and status.state == "new" and launch.end_code(run) is not None:
            # wrong input leaves no folder behind
            why = self.view.why.text()
            launch.discard(run)
            self.view.set_runs(runs.runs(self.study) if self.study.is_dir() else [])
            if why:
                self.notice.error(why)
            else:
                self.notice.say("Stopped before it had begun.")
            self.new.open()
        elif status is not None and status.state == "done":
            self.notice.say("The run is done.")
        if self.study is not None and run is not None:
            self._offer_weights(run)
        self._ask_plan()
        self.check()

    def _offer_weights(self, run: Path) -> None:
        if (run / BEST).is_file():
            self.form.fields["weights"].offer(run / BEST, f"best of {run.name}")

    def _on_study(self) -> None:
        study = self.session.opened
        if study is not None and study.absolute() != self.study:
            self.open_study(study)

    def _find_again(self) -> None:
        """Open the study that was trained on last, if its run still goes on or wants a look."""
        remembered = str(QSettings("napari-pvs", "napari-pvs").value(_REMEMBERED, "") or "")
        if remembered and Path(remembered).is_dir():
            self.open_study(Path(remembered))

    def _on_resumed(self) -> None:
        self._remember()
        self.new.open(False)

    def _remember(self) -> None:
        QSettings("napari-pvs", "napari-pvs").setValue(_REMEMBERED, str(self.study))

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a BIDS folder", str(self.study or ""))
        if name:
            self.open_study(Path(name))
