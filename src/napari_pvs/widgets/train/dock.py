"""The Train dock: start a training run, follow it, and use its weights.

The run is the command line's, in a separate process: closing the dock or napari does not affect it,
and the next dock finds it again.
"""

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_pvs.errors import InputError
from napari_pvs.jobs.protocol import PlannedRun, PlanRun
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs import process as launch
from napari_pvs.training.runs import status as runs
from napari_pvs.training.runs.folder import BEST
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.process import Job, Result
from napari_pvs.widgets.dock import JobDock
from napari_pvs.widgets.parts.controls import Button, Notice, as_it_is, section, there
from napari_pvs.widgets.preferences import follow, preferences
from napari_pvs.widgets.train.form import ConfigForm
from napari_pvs.widgets.train.offer import Offer
from napari_pvs.widgets.train.run_view import RunView
from napari_pvs.widgets.viewer.typed import Viewer

_PLAN_AFTER_MS = 700  # pause after a change before asking what a run would need


class Train(JobDock):
    """Train on the labels of a study."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.study: Path | None = None
        self._planning: Job | None = None
        self._stopped = False
        self._refused: str | None = None
        self._build_study()
        self._build_new_run()
        self._build_run()
        self.body.addStretch()

        self._plan_soon = Debouncer(_PLAN_AFTER_MS, self.plan, self)
        self.form.changed.connect(self._on_form)
        self.view.watch.changed.connect(self.check)
        self.view.watch.ended.connect(self._on_run_end)
        self.view.resumed.connect(self._on_resumed)
        self.session.study_opened.connect(self._on_study)
        self.session.study_labelled.connect(self._ask_plan)
        self._on_study()
        follow("train", self._find_again)
        self.check()

    def _build_study(self) -> None:
        form = self.group("Study")
        self.name = QElidingLabel("none")
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.open = Button("Open folder…", "Choose a BIDS folder (sub-*/anat/…).", self._browse)
        row = QHBoxLayout()
        row.addWidget(self.name, 1)
        row.addWidget(self.open)
        form.addRow(row)

    def _build_new_run(self) -> None:
        self.form = ConfigForm()
        self.use, self.cost = Notice(), Notice()
        self.start = Button(
            "Start",
            "Train in a separate process that continues when napari is closed.",
            self.start_run,
        )
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.form, self.use, self.cost, self.start):
            column.addWidget(part)
        self.new = section("New run", "Settings of a new run.", content)
        self.group("Training").addRow(self.new)

    def _build_run(self) -> None:
        self.view = RunView(self.notice)
        self.offer = Offer(self, self.view.watch)
        form = self.group("Run")
        self.run_box = there(form.parentWidget())
        form.addRow(self.offer)
        form.addRow(self.view)
        self.setTabOrder(self.start, self.offer.again)
        self.setTabOrder(self.offer.again, self.view.choice)

    def open_study(self, study: Path) -> None:
        """Open another study; if one of its runs is in progress, show it."""
        study = Path(study).absolute()
        try:
            found = runs.runs(study)
        except InputError as error:
            self.notice.error(str(error))
            return
        for notice in (self.notice, self.use, self.cost):  # they are about the previous study
            notice.clear()
        self.study, self._refused = study, None
        self.name.setText(study.name)
        self.name.setToolTip(as_it_is(str(study)))
        self.view.set_runs(found)
        for run in found:
            self._offer_weights(run)
        self._open_form(not self.view.live)
        self.check()
        self._ask_plan()

    def config(self) -> TrainingConfig:
        """The configuration in the form.

        Raises
        ------
        InputError
            A value is not valid.
        """
        return self.form.config(self.study)

    def start_run(self) -> None:
        """Start a new run, and follow it."""
        self._stop_planning()
        try:
            run = launch.start(self.config())
        except InputError as error:
            if self.study is not None and self.study.is_dir():
                self.view.set_runs(runs.runs(self.study))  # shows the run that is in the way
            self.notice.error(str(error))
            self.check()
            return
        self.notice.clear()
        self._remember()
        self._open_form(False)
        if self.study is not None:
            self.view.set_runs(runs.runs(self.study), run)
        self.check()

    def plan(self) -> None:
        """Ask a process what the run would use and cost."""
        self._plan_soon.cancel()
        self._stop_planning()
        if self.study is None or self.view.live or self._stopped:
            return
        try:
            config = self.config()
        except InputError as error:
            self._refuse(str(error))
            return
        self.cost.say("Reading the study…")
        self._planning = job = Job(PlanRun(config=config), self)
        job.finished.connect(self._on_planned)
        job.failed.connect(self._refuse)
        job.start()

    def check(self) -> None:
        """Enable what can be done now, and say what is missing."""
        reason = self._refused
        if self.view.live:
            reason = "a run of this study is in progress; stop it first, or wait for it to end."
        elif self.study is None:
            reason = "open a study first."
        self.start.allow_if(reason)
        self.run_box.setVisible(self.view.watch.run is not None)
        if self.study is None:
            self.use.say("Open a study first: a BIDS folder with labels of at least two subjects.")
        self.offer.check()

    def stop(self) -> None:
        """End what the dock has started, except the training run."""
        super().stop()
        self._stopped = True
        self._plan_soon.cancel()
        self._stop_planning()
        self.view.stop()

    def _open_form(self, on: bool) -> None:
        if on:
            self.new.expand(animate=False)
        else:
            self.new.collapse(animate=False)

    def _on_form(self) -> None:
        """Report invalid values at once; ask for a plan a moment later if all are valid."""
        self._refused = None
        try:
            if self.study is not None:
                self.config()
        except InputError as error:
            self._plan_soon.cancel()
            self._stop_planning()
            self._refuse(str(error))
            return
        self._ask_plan()
        self.check()

    def _ask_plan(self) -> None:
        if self.study is not None and not self.view.live and not self._stopped:
            self._plan_soon.throttle()

    def _stop_planning(self) -> None:
        if self._planning is not None:
            self._planning.cancel()
            self._planning = None

    def _on_planned(self, result: Result[PlannedRun]) -> None:
        self._planning = None
        self.use.say(result.answer.use)
        self.cost.say(result.answer.cost)
        self._refused = None
        if result.answer.refused:
            self._refuse(result.answer.refused)
        self.check()

    def _refuse(self, text: str) -> None:
        self._planning = None
        self._refused = text
        self.cost.error(text[0].upper() + text[1:])
        self.check()

    def _on_run_end(self) -> None:
        run, status, study = self.view.watch.run, self.view.watch.status, self.study
        if run is None or study is None:
            return
        if status is not None and status.state == "new" and launch.end_code(run) is not None:
            # wrong input leaves no folder behind
            why = self.view.why.text()
            launch.discard(run)
            self.view.set_runs(runs.runs(study) if study.is_dir() else [])
            if why:
                self.notice.error(why)
            else:
                self.notice.say("Stopped before it began.")
            self._open_form(True)
        elif status is not None and status.state == "done":
            self.notice.say("The run has finished.")
        self._offer_weights(run)
        self._ask_plan()
        self.check()

    def _offer_weights(self, run: Path) -> None:
        if (run / BEST).is_file():
            self.form.offer_weights(run / BEST, f"best of {run.name}")

    def _on_study(self) -> None:
        study = self.session.opened
        if study is not None and study.absolute() != self.study:
            self.open_study(study)

    def _find_again(self) -> None:
        """Open the study that was trained on last, in case its run is still in progress."""
        remembered = preferences().train.study
        if self.study is None and remembered and Path(remembered).is_dir():
            self.open_study(Path(remembered))

    def _on_resumed(self) -> None:
        self._remember()
        self._open_form(False)

    def _remember(self) -> None:
        preferences().train.study = str(self.study)

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a BIDS folder", str(self.study or ""))
        if name:
            self.open_study(Path(name))
