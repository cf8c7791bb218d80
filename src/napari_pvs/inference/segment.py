"""Segment one scan: from files to a mask and a table of its PVS."""

import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.inference.components import Pvs, drop_round, label, table, within
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import Predictor, Progress
from napari_pvs.inference.search_region import PartOfBrain, load_search, plausible
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.regions import Regions, fit_regions
from napari_pvs.scans.scan import Scan, load_scan

Reason = Literal["shape", "place"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmented scan.

    Attributes
    ----------
    scan
        The scan.
    probability
        float32 (X, Y, Z) on the scan's grid: the network's probability or the baseline's score; 0
        where none was looked for.
    labels
        int32 (X, Y, Z), one number per PVS.
    table
        One row per PVS.
    excluded
        One row per component that was left out, by what for: its ``shape``, its ``place``. Their
        ids go on after those of the PVS, in this order.
    threshold
        The threshold that was used.
    origin
        Method and, for the network, name and id of the weights, backend, precision, device, and
        where PVS were looked for (`SegmentConfig.within`).
    regions
        Of the brain, if the template was registered to it.
    """

    scan: Scan
    probability: NDArray[np.float32]
    labels: NDArray[np.int32]
    table: list[Pvs]
    threshold: float
    origin: dict[str, Any]
    regions: Regions | None = None
    excluded: Mapping[Reason, tuple[Pvs, ...]] = field(default_factory=dict)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where PVS are, (X, Y, Z) on the scan's grid."""
        return self.labels > 0


def segment(
    config: SegmentConfig, progress: Progress | None = None, laying: Progress | None = None
) -> Segmentation:
    """Segment the scan named by a configuration; see `segment_scan`.

    Raises
    ------
    InputError
        A file is missing or unusable; see `load_scan` and `Predictor`.
    """
    if config.t1 is None and config.t2 is None:
        raise InputError("no scan was given; name a T1 with --t1, a T2 with --t2, or both.")
    # check the weights before the slow part
    predictor = predictor_of(config) if config.method == "network" else None
    with ThreadPoolExecutor(1) as pool:  # loading needs one core
        ahead = pool.submit(_prepare, predictor)
        files = config.t1, config.t2, config.brain_mask
        scan = load_scan(*files, config.device, config.register_t2)
    ahead.result()
    return segment_scan(scan, config, predictor, progress, laying)


def _prepare(predictor: Predictor | None) -> None:
    """Do ahead what does not depend on the scan."""
    load_search()
    if predictor is not None:
        predictor.prepare()


def segment_scan(
    scan: Scan,
    config: SegmentConfig,
    predictor: Predictor | None = None,
    progress: Progress | None = None,
    laying: Progress | None = None,
) -> Segmentation:
    """Segment a scan in memory; the scan paths in `config` are ignored.

    Parameters
    ----------
    scan
        T1, T2 or both.
    config
        Method, threshold, smallest volume.
    predictor
        For the method ``network``; None makes one from the configuration.
    progress
        Called with the number of windows done and the total.
    laying
        The same for the template's regions, as in `fit_regions`.
    """
    by_place: list[Pvs] = []
    if config.method == "network":
        predictor = predictor or predictor_of(config)
        threshold = predictor.card.threshold_for(scan.modalities)
        with ThreadPoolExecutor(1) as pool:  # the template needs one core, the network leaves some
            fitted = pool.submit(_region, scan, config)
            score = predictor.predict(scan, progress)
        region, notes = fitted.result()
        scan = _noted(scan, notes)
        if region is not None:
            least = config.min_volume, scan.grid.voxel_volume
            kept, gone = within(score, region, threshold, *least)
            by_place, score = table(gone, score, scan.grid), kept
        origin = {
            "method": "network",
            "weights": predictor.card.name,
            "weights_id": predictor.weights_id,
            "architecture": predictor.card.architecture,
            "backend": predictor.backend.name,
            "precision": predictor.backend.precision,
            "device": predictor.device.type,
            "within": "brain" if region is None else "tissue",
        }
    else:
        score, threshold = baseline(scan, config.method)
        origin = {"method": config.method}
    if config.threshold is not None:
        threshold = config.threshold
    labels = components(score, threshold, scan.grid, config)
    rows = table(labels, score, scan.grid)
    by_shape = [] if config.max_width is None else _by_shape(score, threshold, labels, scan, config)
    ids = count(len(rows) + 1)
    reasons: dict[Reason, list[Pvs]] = {"shape": by_shape, "place": by_place}
    excluded = {
        reason: tuple(replace(row, id=next(ids)) for row in left_out)
        for reason, left_out in reasons.items()
    }
    found = Segmentation(scan, score, labels, rows, threshold, origin, excluded=excluded)
    return _with_regions(found, laying) if config.regions or config.report else found


def _region(scan: Scan, config: SegmentConfig) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """Return where PVS can be, None for anywhere, and warnings of the scan."""
    if config.within == "brain":
        return None, ()
    try:
        return plausible(scan.t1, scan.t2, scan.brain, scan.grid), ()
    except PartOfBrain:
        return None, ()
    except InputError as error:
        return None, (f"PVS were looked for everywhere in the brain: {error}",)


def _noted(scan: Scan, notes: tuple[str, ...]) -> Scan:
    """Warn, and return the scan with these warnings."""
    for text in notes:
        warnings.warn(text, InputWarning, stacklevel=2)
    return replace(scan, warnings=(*scan.warnings, *notes)) if notes else scan


def _with_regions(found: Segmentation, laying: Progress | None) -> Segmentation:
    """Lay the template over a segmented scan, as `fit_regions`; doubts are warnings of the scan.

    A scan that shows too little of a brain stays without regions.
    """
    try:
        regions = fit_regions(found.scan, laying)
        notes = regions.doubts
    except InputError as error:
        regions, notes = None, (f"PVS have no regions: {error}",)
    return replace(found, scan=_noted(found.scan, notes), regions=regions)


def _by_shape(
    score: NDArray[np.float32],
    threshold: float,
    labels: NDArray[np.int32],
    scan: Scan,
    config: SegmentConfig,
) -> list[Pvs]:
    """Measure what the largest width left out: above the threshold, large enough, in no PVS."""
    every = label(score, threshold, config.min_volume, scan.grid.voxel_volume)
    rest = label((every > 0) & (labels == 0), 1, 0, scan.grid.voxel_volume)
    return table(rest, score, scan.grid)


def predictor_of(config: SegmentConfig) -> Predictor:
    """Return the predictor for a configuration, ready to run.

    Raises
    ------
    InputError
        As `Predictor`.
    """
    chosen = config.backend, config.precision
    return Predictor(config.weights, config.device, config.windows, *chosen)


def components(
    score: NDArray[np.float32], threshold: float, grid: Grid, config: SegmentConfig
) -> NDArray[np.int32]:
    """Number the PVS of a score map by threshold, smallest volume and largest width."""
    labels = label(score, threshold, config.min_volume, grid.voxel_volume)
    return drop_round(labels, grid.voxel_size, config.max_width)


def baseline(
    scan: Scan, method: Literal["frangi", "threshold"], region: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], float]:
    """Score a scan by a classical method inside white matter and basal ganglia.

    Parameters
    ----------
    scan, method
        What to score, and how.
    region
        White matter and basal ganglia; None estimates them, which takes most of the time.

    Returns
    -------
    float32 (X, Y, Z) in 0..1 on the scan's grid, and the method's default threshold.
    """
    from napari_pvs.inference import classical
    from napari_pvs.inference.search_region import search_region

    if scan.t1 is not None and scan.t2 is not None and np.array_equal(scan.t1, scan.t2):
        raise InputError(
            f"T1 and T2 are the same image, which method {method} cannot use twice; leave out one "
            "of them."
        )
    if region is None:
        region = search_region(scan.t1, scan.t2, scan.brain, scan.grid)
    if not region.any():
        raise InputError(
            f"no white matter was found in {scan.source.path or 'the scan'}, where method {method} "
            "looks for PVS; check the scans and the brain mask."
        )
    if method == "frangi":
        score = classical.frangi(scan.t1, scan.t2, region, scan.grid.voxel_size)
        return score, classical.FRANGI_THRESHOLD
    score = classical.intensity_threshold(scan.t1, scan.t2, region, scan.grid.voxel_size)
    return score, classical.INTENSITY_THRESHOLD
