"""What a semi-supervised method is made of: its teacher, which the training loop asks.

A new method is one module: a class that is a `Teacher`, and a call of `register`.
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
    """Makes the pseudo-labels of a run, and decides what is learnt from unlabelled scans.

    The loop asks `prepare` when an epoch begins, `scans`, `target` and `enrich` for every step (in
    a thread, one step ahead), `view` and `loss` in the step, and `allowed` at every validation.
    What a teacher does not override teaches nothing.

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
        """Return how many unlabelled patches of the smallest edge a step has."""
        return 0

    @staticmethod
    def predictions(config: TrainingConfig, scans: int, validated: Collection[int]) -> int:
        """Return how many whole scans are predicted in a run, for the forecast of its time.

        Parameters
        ----------
        config
            Of the run.
        scans
            How many unlabelled scans there are.
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
        """Prepare what the steps of an epoch need, such as pseudo-labels of whole scans.

        Parameters
        ----------
        epoch
            From 0.
        cohort
            Who takes part.
        events
            Of the run: says what takes long.
        alive
            To be called every few seconds.
        new
            Whether the epoch begins; else a run goes on in the middle of it.
        """
        return None

    def scans(self, step: int, cohort: Cohort) -> Sequence[PreparedSubject]:
        """Return the scans that the unlabelled patches of a step are drawn from; it may be none."""
        return ()

    @property
    def target(self) -> Target | None:
        """What gives the pseudo-label of a scan; None where `view` makes them."""
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
        """Return unlabelled patches as the network is to see them, and their pseudo-labels.

        Parameters
        ----------
        patches
            As drawn, with what `target` gave.
        generator
            On the CPU: all that is random, so that a step can be repeated.

        Returns
        -------
        Images (N, 2, P, P, P) and pseudo-labels (N, 1, P, P, P), float32, on the run's device.
        """
        raise NotImplementedError

    def loss(self, logits: Tensor, pseudo: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return what unlabelled patches add to the loss of a step, and what there is to say of it.

        Parameters
        ----------
        logits
            (N, 1, P, P, P), the network's answer to what `view` returned.
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
        """Tell which thresholds a validation may choose, by the unlabelled scans.

        Parameters
        ----------
        thresholds
            Those that are tried.
        epoch
            The one that begins after the validation.
        cohort, alive
            As in `prepare`.

        Returns
        -------
        One value per threshold; None where any may be chosen.
        """
        return None


class NoTeacher(Teacher):
    """Of supervised methods: there is nothing to learn from unlabelled scans."""

    def __init__(self, state: State, out: Path) -> None:
        pass

    def view(self, patches: Patches, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Refuse: no unlabelled patches are drawn."""
        raise AssertionError("a supervised method sees no unlabelled patches")

    def loss(self, logits: Tensor, pseudo: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Refuse, as `view`."""
        raise AssertionError("a supervised method sees no unlabelled patches")


_CLASSES: dict[str, type[Teacher]] = {}


def register(name: str, teacher: type[Teacher], *methods: Method, about: str = "") -> None:
    """Add a teacher, and the methods that are its own.

    Command line, Train form and cross-validation offer them from then on.

    Parameters
    ----------
    name
        What ``--teacher`` calls it.
    teacher
        Its class.
    methods
        Methods whose ``teacher`` it is.
    about
        Who makes the pseudo-labels, in a few words.
    """
    _CLASSES[name] = teacher
    TEACHERS.setdefault(name, about)
    METHODS.update({method.name: method for method in methods})


def teacher_class(config: TrainingConfig) -> type[Teacher]:
    """Return the class of a run's teacher."""
    name = config.taught_by
    return NoTeacher if name is None else _CLASSES[name]


def make_teacher(state: State, out: Path) -> Teacher:
    """Make the teacher of a run; parameters are those of `Teacher`."""
    return teacher_class(state.config)(state, out)
