"""Where PVS can be in a prepared scan, by the template."""

import logging

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.inference.components import within
from napari_pvs.inference.config import Within
from napari_pvs.inference.search_region import PartOfBrain, plausible
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.tissue import MEDIAN
from napari_pvs.training.data.prepared import PreparedSubject

log = logging.getLogger(__name__)


class Place:
    """Leaves out what lies where no PVS can be, as `napari-pvs segment` does.

    Parameters
    ----------
    where
        As `TrainingConfig.within`; with ``brain`` nothing is left out, nor is it in scans of less
        than a whole brain.
    """

    def __init__(self, where: Within) -> None:
        self._where = where
        self._regions: dict[str, NDArray[np.uint8] | None] = {}  # bits, by subject

    def __call__(
        self, subject: PreparedSubject, probability: NDArray[np.float32], threshold: float
    ) -> NDArray[np.float32]:
        """Return a scan's probability, 0 where no PVS can be.

        Parameters
        ----------
        subject
            The scan.
        probability
            float32 in the shape of its brain.
        threshold
            At which PVS are told apart; each stays or goes whole, see `components.within`.
        """
        if self._where == "brain":
            return probability
        if subject.name not in self._regions:
            self._regions[subject.name] = _region(subject)
        bits = self._regions[subject.name]
        if bits is None:
            return probability
        region = np.unpackbits(bits, count=probability.size).astype(bool)
        volume = float(np.prod(subject.voxel_size))
        return within(probability, region.reshape(probability.shape), threshold, 0, volume)[0]


EVERYWHERE = Place("brain")


def _region(subject: PreparedSubject) -> NDArray[np.uint8] | None:
    try:
        return np.packbits(plausible(*raw(subject)))
    except PartOfBrain:
        return None
    except InputError:
        log.warning(
            "The template does not fit %s: its pseudo-labels may lie anywhere in the brain.",
            subject.name,
        )
        return None


def raw(
    subject: PreparedSubject,
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None, NDArray[np.bool_], Grid]:
    """Return T1, T2, brain and grid as template and tissue classes want them: nothing negative."""
    brain = np.asarray(subject.brain)
    t1, t2 = (
        np.where(brain, np.maximum(image.astype(np.float32) + MEDIAN, 0.05), 0)
        if image.any()
        else None
        for image in subject.images
    )
    return t1, t2, brain, Grid(brain.shape, np.diag([*subject.voxel_size, 1.0]))
