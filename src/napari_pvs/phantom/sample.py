"""The synthetic subject that the viewer offers as a sample."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.scan import Scan

FEATURES = ("id", "region", "length_mm", "diameter_mm", "volume_mm3")
"""What is shown about a PVS of the synthetic subject."""


def make_subject() -> tuple[Scan, NDArray[np.int32], list[dict[str, Any]]]:
    """Make its scan, the number of the PVS of each voxel on the scan's grid, and their table.

    PVS that no voxel is labelled of, as a rater would not see them, are in neither.
    """
    from napari_pvs.phantom.cohort import make
    from napari_pvs.phantom.config import PhantomConfig
    from napari_pvs.scans.grid import Grid
    from napari_pvs.scans.nifti import Geometry

    subject = make(PhantomConfig(subjects=1, labelled=1), 0)
    source = Geometry.from_affine(subject.t1.shape, subject.affine)
    scan = Scan(
        t1=subject.t1,
        t2=subject.t2,
        grid=Grid(source.shape, source.affine),
        brain=subject.brain,
        source=source,
    )
    return scan, subject.instances, [row for row in subject.table if row["voxels"]]
