"""The teacher of a semi-supervised method: everything the training loop has to ask about it.

A new method is one module: a subclass of `Teacher`, and a call of `register`.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.cohort import Cohort
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.data.sampling import Patches, Target
from napari_pvs.training.methods import METHODS, TEACHERS, Method
from napari_pvs.training.runs.events import EventLog
from napari_pvs.training.state import State


class Teacher(Protocol):
    """Makes a run's pseudo-labels, and decides how unlabelled scans are trained on.

    The loop calls `prepare` when an epoch begins, `scans`, `target` and `enrich` for every step (in
    a thread, one step ahead), `view` and `loss` during the step, and `allowed` at every validation.
    By default, all of them do nothing.

    Parameters
    ----------
    state
        Networks, progress, device and configuration of the run, and the processes that train it.
    out
        The run's folder.
    """

    def __init__(self, state: State, out: Path) -> None: ...

    @staticmethod
    def batch(config: TrainingConfig) -> int:
        """Return how many unlabelled patches a step has if they are of the smallest edge."""
        return 0

    @staticmethod
    def predictions(config: TrainingConfig, scans: int, validated: Collection[int]) -> int:
        """Return how many whole scans a run predicts, to forecast its duration.

        Parameters
        ----------
        config
            The run's configuration.
        scans
            Number of unlabelled scans.
        validated
            Epochs that end with a validation.
        """
        return 0

    def prepare(
        self,
        epoch: int,
        cohort: Cohort,
        events: EventLog,
        alive: Callable[[], None],
        *,
        new: bool,
    ) -> None:
        """Prepare what the steps of an epoch need, such as pseudo-labels for whole scans.

        Parameters
        ----------
        epoch
            Counted from 0.
        cohort
            The run's subjects.
        events
            The run's event log, to announce lengthy work.
        alive
            Must be called every few seconds.
        new
            Whether the epoch is just beginning, rather than being continued in the middle.
        """
        return None

    def scans(self, step: int, cohort: Cohort) -> Sequence[PreparedSubject]:
        """Return the scans that a step's unlabelled patches are drawn from, possibly none."""
        return ()

    @property
    def target(self) -> Target | None:
        """Returns the pseudo-label of a scan; None if `view` makes pseudo-labels itself."""
        return None

    def enrich(self, patches: Patches, step: int) -> Patches:
        """Return unlabelled patches with what the teacher adds to them.

        Parameters
        ----------
        patches
            As drawn, with what `target` gave.
        step
            Number of the step; with the seed it tells all that is random.
        """
        return patches

    def view(self, patches: Patches, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return unlabelled patches as the network will see them, and their pseudo-labels.

        Parameters
        ----------
        patches
            As drawn, with what `target` returned.
        generator
            Source of all randomness, on the CPU, so that a step can be repeated.

        Returns
        -------
        Images (N, 2, P, P, P) and pseudo-labels (N, 1, P, P, P), float32, on the run's device.
        """
        raise NotImplementedError

    def loss(self, logits: Tensor, pseudo: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return what unlabelled patches add to a step's loss, and values for the event ``step``.

        Parameters
        ----------
        logits
            (N, 1, P, P, P), the network's output for what `view` returned.
        pseudo
            The pseudo-labels that `view` returned.
        """
        raise NotImplementedError

    def allowed(
        self,
        thresholds: NDArray[np.float64],
        epoch: int,
        cohort: Cohort,
        alive: Callable[[], None],
    ) -> NDArray[np.bool_] | None:
        """Judge from the unlabelled scans which thresholds a validation may choose.

        Parameters
        ----------
        thresholds
            All candidates.
        epoch
            The epoch that begins after the validation.
        cohort, alive
            As in `prepare`.

        Returns
        -------
        One value per threshold; None allows all.
        """
        return None


class NoTeacher(Teacher):
    """The teacher of supervised methods, which do not use unlabelled scans."""

    def __init__(self, state: State, out: Path) -> None:
        pass

    def view(self, patches: Patches, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Fail: a supervised method draws no unlabelled patches."""
        raise AssertionError("a supervised method sees no unlabelled patches")

    def loss(self, logits: Tensor, pseudo: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Fail, like `view`."""
        raise AssertionError("a supervised method sees no unlabelled patches")


_CLASSES: dict[str, type[Teacher]] = {}


def register(name: str, teacher: type[Teacher], *methods: Method, about: str = "") -> None:
    """Add a teacher, and the methods that use only this teacher.

    From then on the command line, the Train form and cross-validation offer them.

    Parameters
    ----------
    name
        Its name for ``--teacher``.
    teacher
        Its class.
    methods
        Methods with this ``teacher``.
    about
        What makes the pseudo-labels, in a few words.
    """
    _CLASSES[name] = teacher
    TEACHERS.setdefault(name, about)
    METHODS.update({method.name: method for method in methods})


def teacher_class(config: TrainingConfig) -> type[Teacher]:
    """Return the class of a run's teacher."""
    name = config.taught_by
    return NoTeacher if name is None else _CLASSES[name]


def make_teacher(state: State, out: Path) -> Teacher:
    """Make the teacher of a run; parameters as for `Teacher`."""
    return teacher_class(state.config)(state, out)
