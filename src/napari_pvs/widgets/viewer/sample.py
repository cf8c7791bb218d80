"""napari's sample data: a synthetic subject, made when asked for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.phantom.sample import FEATURES, make_subject
from napari_pvs.scans.display import Limits
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.viewer.layers import KEY, LayerData, grid_layer, scan_layers


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
    from napari_pvs.jobs import exchange
    from napari_pvs.widgets.background.process import load_stored

    scan = load_stored(result)
    limits = exchange.load_limits(result.path)
    instances = exchange.load_array(result.path, "reference")
    return sample_layers(scan, instances, result.answer["features"], limits)


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
