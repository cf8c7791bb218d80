"""A probability map and its mask in the viewer, which follows threshold and smallest volume."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_pvs.inference.components import drop_round, label, likely, round_ones
from napari_pvs.inference.config import Within
from napari_pvs.jobs.scratch import Folder
from napari_pvs.scans.display import from_display
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.masks import Box
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.viewer.layers import mask_layer
from napari_pvs.widgets.viewer.typed import LabelsLayer


@dataclass(eq=False)
class Prediction:
    """What one network (or baseline) says about the session's scan.

    Attributes
    ----------
    weights_id
        First 12 digits of the weights' SHA-256, or the baseline's name.
    weights
        Name of the weights, for people.
    probability
        float32 (X, Y, Z) on the scan's grid; read-only.
    grid
        Of the scan.
    layer
        Its mask, uint8, read-only for the user: correct a copy of it.
    threshold, min_volume, max_width
        How the mask was made; `cut` makes it anew.
    file
        The weights' file; None for the starter's.
    folder
        What keeps a map on disk for as long as the prediction lives.
    box, part
        `likely` voxels, and the probability there; computed where not given, with the mask.
    count, volume_mm3
        PVS of the mask.
    excluded
        (X, Y, Z) on the scan's grid, what is left out of the mask for its shape; None where
        nothing is.
    excluded_count
        How many components that are.
    within
        Where PVS may lie, as `SegmentConfig.within`.
    excluded_by_place
        How many components lay elsewhere, at the weights' own threshold.
    """

    weights_id: str
    weights: str
    probability: NDArray[np.float32]
    grid: Grid
    layer: LabelsLayer
    threshold: float
    min_volume: float
    max_width: float | None
    file: Path | None = None
    folder: Folder | None = None
    box: Box | None = None
    part: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    count: int = 0
    volume_mm3: float = 0.0
    excluded: NDArray[np.bool_] | None = None
    excluded_count: int = 0
    within: Within = "tissue"
    excluded_by_place: int = 0

    def __post_init__(self) -> None:
        if self.box is None:
            self.box = likely(self.probability, self.threshold)
            self.part = np.ascontiguousarray(self.probability[self.box])
            self.cut(self.threshold, self.min_volume)
        elif self.max_width is not None:
            self._exclude(self._labels())

    def cut(self, threshold: float, min_volume: float) -> None:
        """Make the mask anew: what `inference.segment.components` finds in the map.

        Parameters
        ----------
        threshold
            Smallest probability of a PVS, from `components.LOWEST` on.
        min_volume
            Smallest PVS, mm³.
        """
        self.threshold, self.min_volume = threshold, min_volume
        labels = self._labels()
        self._exclude(labels)
        labels = drop_round(labels, self.grid.voxel_size, self.max_width)
        self.count = int(labels.max(initial=0))
        mask = labels > 0
        self.volume_mm3 = float(np.count_nonzero(mask)) * self.grid.voxel_volume
        from_display(self.layer.data)[self.box or ...] = mask
        self.layer.refresh(extent=False)

    def _labels(self) -> NDArray[np.int32]:
        """All components inside the box, whatever their shape."""
        return label(self.part, self.threshold, self.min_volume, self.grid.voxel_volume)

    def _exclude(self, labels: NDArray[np.int32]) -> None:
        numbers = round_ones(labels, self.grid.voxel_size, self.max_width)
        self.excluded, self.excluded_count = None, len(numbers)
        if len(numbers):
            self.excluded = np.zeros(self.grid.shape, bool)
            self.excluded[self.box or ...] = np.isin(labels, numbers)


def make_layer(scan: Scan, name: str, mask: NDArray[np.uint8] | None = None) -> LabelsLayer:
    """Make the layer of a prediction, which can be looked at but not painted on.

    Parameters
    ----------
    scan
        Of what.
    name
        What the layer list shows.
    mask
        On the scan's grid; empty where None.
    """
    found = np.zeros(scan.grid.shape, np.uint8) if mask is None else mask
    data, meta, _ = mask_layer(found, scan, name, "prediction")
    layer: LabelsLayer = Labels(data, **meta)
    layer.editable = False
    return layer
