"""napari's sample data: a synthetic subject, made when asked for.

Qt is imported where it is needed: without a window the subject is made without it.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import Features, MakeSample, Number
from napari_pvs.phantom.sample import FEATURES, make_subject
from napari_pvs.scans.display import Limits
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.viewer.layers import KEY, LayerData, grid_layer, scan_layers

if TYPE_CHECKING:
    from napari_pvs.widgets.background.process import Result


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

    from napari_pvs.widgets.background.process import Job

    application = QCoreApplication.instance()
    if application is None:  # nobody waits at a window
        scan, instances, table = make_subject()
        return sample_layers(scan, instances, {n: [row[n] for row in table] for n in FEATURES})
    loop = QEventLoop()
    job = Job(MakeSample(), application)
    found: list[Any] = []
    failed: list[str] = []
    job.finished.connect(found.append)
    job.failed.connect(failed.append)
    job.ended.connect(loop.quit)
    with progress(total=0, desc="Making a synthetic subject"):
        job.start()
        loop.exec()  # napari wants the layers when this returns
    if failed:
        raise InputError(failed[0])
    return result_layers(found[0]) if found else []  # none where napari was closed meanwhile


def result_layers(result: "Result[Features]") -> list[LayerData]:
    """Make the layers of what the task ``make sample`` has left."""
    from napari_pvs.widgets.background.process import load_stored

    scan = load_stored(result)
    limits = exchange.load_limits(result.path)
    instances = exchange.load_array(result.path, "reference")
    return sample_layers(scan, instances, result.answer.features, limits)


def sample_layers(
    scan: Scan,
    instances: NDArray[Any],
    features: dict[str, list[Number]],
    limits: dict[str, Limits] | None = None,
) -> list[LayerData]:
    """Make the layers of a synthetic subject; arguments as from `make_subject`."""
    data, meta, kind = grid_layer(instances, scan.grid, scan.source, "reference PVS", "labels")
    columns = {name: np.array(values) for name, values in features.items()}
    meta["features"] = {"index": columns.pop("id"), **columns}
    meta["metadata"][KEY] |= {"role": "reference"}
    return [*scan_layers(scan, limits), (data, meta, kind)]
