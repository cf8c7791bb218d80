"""napari's sample data: a synthetic subject, made when asked for."""

import numpy as np

from napari_pvs.widgets.layers import LayerData, grid_layer, scan_layers


def synthetic_subject() -> list[LayerData]:
    """Make the first subject of the default synthetic cohort: T1, T2 and its PVS as labels.

    Each PVS is a label of its own; pointing at one shows its region, length and diameter. Takes
    some ten seconds.
    """
    from napari_pvs.phantom.cohort import make
    from napari_pvs.phantom.config import PhantomConfig
    from napari_pvs.scans.grid import Grid
    from napari_pvs.scans.nifti import Geometry
    from napari_pvs.scans.scan import Scan

    subject = make(PhantomConfig(subjects=1, labelled=1), 0)
    source = Geometry.from_affine(subject.t1.shape, subject.affine)
    scan = Scan(
        t1=subject.t1,
        t2=subject.t2,
        grid=Grid(source.shape, source.affine),
        brain=subject.brain,
        source=source,
    )
    data, meta, kind = grid_layer(subject.instances, scan.grid, source, "reference PVS", "labels")
    columns = ("id", "region", "length_mm", "diameter_mm", "volume_mm3")
    features = {name: np.array([row[name] for row in subject.table]) for name in columns}
    meta["features"] = {"index": features.pop("id"), **features}
    return [*scan_layers(scan), (data, meta, kind)]
