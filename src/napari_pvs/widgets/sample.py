"""napari's sample data: a synthetic subject, made when asked for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.contrast import Limits
from napari_pvs.widgets.layers import LayerData, grid_layer, scan_layers
from napari_pvs.widgets.notes import KEY

FEATURES = ("id", "region", "length_mm", "diameter_mm", "volume_mm3")
"""What is shown of a PVS of the synthetic subject."""


def synthetic_subject() -> list[LayerData]:
    """Make the first subject of the default synthetic cohort: T1, T2 and its PVS as labels.

    Each PVS is a label of its own; pointing at one shows its region, length and diameter. Takes
    some seconds, in which the viewer goes on.

    Raises
    ------
    InputError
        It could not be made, for want of room in the folder of temporary files.
    """
    from napari.utils import progress
    from qtpy.QtCore import QCoreApplication, QEventLoop

    from napari_pvs.widgets.worker import Job

    application = QCoreApplication.instance()
    if application is None:  # nobody waits at a window
        scan, instances, table = make_subject()
        return sample_layers(scan, instances, {n: [row[n] for row in table] for n in FEATURES})
    loop = QEventLoop()
    job = Job({"verb": "sample"}, application)
    found: list[Any] = []
    job.finished.connect(found.append)
    job.failed.connect(lambda text: found.append(InputError(text)))
    job.ended.connect(loop.quit)
    with progress(total=0, desc="Making a synthetic subject"):
        job.start()
        loop.exec()  # napari wants the layers when this returns
    if not found:
        return []  # napari was closed meanwhile
    if isinstance(found[0], InputError):
        raise found[0]
    return result_layers(found[0])


def result_layers(result: Any) -> list[LayerData]:
    """Make the layers of what the service's ``sample`` has left, a `worker.Result`."""
    from napari_pvs.widgets import exchange
    from napari_pvs.widgets.worker import load_stored

    scan = load_stored(result)
    limits = exchange.load_limits(result.path)
    instances = exchange.load_array(result.path, "reference")
    return sample_layers(scan, instances, result.answer["features"], limits)


def make_subject() -> tuple[Scan, NDArray[np.int32], list[dict[str, Any]]]:
    """Make its scan, the number of the PVS of each voxel on the scan's grid, and their table."""
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
    return scan, subject.instances, subject.table


def sample_layers(
    scan: Scan,
    instances: NDArray[Any],
    features: dict[str, list[Any]],
    limits: dict[str, Limits] | None = None,
) -> list[LayerData]:
    """Make the layers of a synthetic subject; arguments as from `make_subject`."""
    data, meta, kind = grid_layer(instances, scan.grid, scan.source, "reference PVS", "labels")
    columns = {name: np.array(values) for name, values in features.items()}
    meta["features"] = {"index": columns.pop("id"), **columns}
    meta["metadata"][KEY] |= {"role": "reference"}
    return [*scan_layers(scan, limits), (data, meta, kind)]
