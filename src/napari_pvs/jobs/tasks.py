"""What a process does for each request: it reads, computes, and leaves arrays in the folder.

Nothing here knows Qt. Heavy libraries are imported by the task that needs them.
"""

import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_pvs.errors import InputError
from napari_pvs.evaluation.compare import Comparison, compare_files
from napari_pvs.files import sentence
from napari_pvs.inference.components import likely
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import (
    Changes,
    Count,
    CountPvs,
    CountStudy,
    Features,
    FindRegions,
    Header,
    Improve,
    Improved,
    ListSubjects,
    Loaded,
    LoadScan,
    LoadSubject,
    MakeReport,
    MakeSample,
    Nothing,
    OpenResults,
    Phase,
    PlannedRun,
    PlanRun,
    Progress,
    ReadMask,
    ReadRuns,
    Request,
    Row,
    RunRow,
    Say,
    ScoreStudy,
    Segment,
    Segmented,
    SegmentedSubject,
    SegmentStudy,
    Subjects,
    Table,
)
from napari_pvs.scans.masks import connected_components
from napari_pvs.scans.nifti import Volume
from napari_pvs.scans.scan import Scan
from napari_pvs.study import bids
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.raters import final_of

_TITLES = {"t1": "T1", "t2": "T2", "brain": "brain mask", "lesions": "lesion map"}


def load_scan(request: LoadScan, folder: Path, say: Say) -> Loaded:
    """Load a scan and label files on its grid."""
    from napari_pvs.scans import checks, nifti
    from napari_pvs.scans.dicom import read_image

    def given(name: str) -> Volume | None:
        labels = name in ("brain", "lesions")
        path: Path | None = getattr(request, name)
        if name in request.stored:
            volume = exchange.load_volume(folder, f"layer_{name}")
            check = checks.require_finite if labels else checks.require_variety
            check(volume.data, f"the {_TITLES[name]} layer")
            return volume
        if path is None:
            return None
        return nifti.read_labels(path) if labels else read_image(path)

    say(Phase("Reading …"))
    t1, t2, brain = (given(name) for name in ("t1", "t2", "brain"))
    if brain is None:
        say(Phase("Finding the brain …"))
    scan = Scan.from_volumes(t1, t2, brain, register=request.register_t2)
    notes = list(scan.warnings)
    try:
        lesions = given("lesions")
        scan = scan if lesions is None else scan.with_lesions(lesions)
    except InputError as error:
        notes.append(str(error))
    exchange.save_scan(folder, scan)
    for name, path in request.labels.items():
        try:
            notes += _read(folder, name, path, scan)
        except InputError as error:
            notes.append(str(error))
    return Loaded(tuple(notes))


def load_subject(request: LoadSubject, folder: Path, say: Say) -> Loaded:
    """Load the scan and label of a subject from the current state of its study."""
    found = bids.subject(request.study, request.subject)
    if request.rater is not None:
        store = LabelStore(request.study, request.subject)
        own = final_of(store, request.rater)
        path = None if own is None else store.path(own)
        found = replace(found, label=path, current=own, pending=None)
    label, _ = bids.label_of(request.study, found)
    role = "reference" if found.state == "reference" else "labels"
    labels = {} if label is None else {role: label}
    files = LoadScan(
        t1=found.t1,
        t2=found.t2,
        brain=found.brain,
        lesions=found.lesions,
        labels=labels,
        register_t2=request.register_t2,
    )
    return replace(load_scan(files, folder, say), subject=found)


def read_mask(request: ReadMask, folder: Path, say: Say) -> Loaded:
    """Read a label file on the grid of a scan."""
    say(Phase("Reading …"))
    scan = exchange.load_scan(request.scan)
    return Loaded(tuple(_read(folder, "mask", request.path, scan)))


def make_sample(request: MakeSample, folder: Path, say: Say) -> Features:
    """Make the synthetic subject."""
    from napari_pvs.phantom.sample import FEATURES, make_subject

    say(Phase("Making a synthetic subject…"))
    scan, instances, table = make_subject()
    exchange.save_scan(folder, scan)
    exchange.save_array(folder, "reference", instances)
    return Features({name: [row[name] for row in table] for name in FEATURES})


def segment(request: Segment, folder: Path, say: Say) -> Segmented:
    """Segment a scan; in a study, save the mask as a draft, by which the study is scored."""
    from napari_pvs.inference.segment import predictor_of, segment_scan
    from napari_pvs.study.predictions import keep

    config = request.config
    say(Phase("Reading the weights …"))
    predictor = predictor_of(config)
    scan = exchange.load_scan(request.scan)
    say(Phase(f"Segmenting on {predictor.device.type} …"))
    result = segment_scan(scan, config, predictor, lambda done, total: say(Progress(done, total)))
    exchange.save_array(folder, "probability", result.probability)
    exchange.save_array(folder, "mask", (result.labels > 0).astype(np.uint8))
    x, y, z = box = likely(result.probability, result.threshold)
    np.save(folder / "part.npy", np.ascontiguousarray(result.probability[box]))
    notes = []
    if request.study is not None and request.subject is not None:
        try:
            keep(result, request.study, request.subject)
        except InputError as error:
            notes.append(str(error))
    method = result.origin["method"]
    return Segmented(
        threshold=float(result.threshold),
        box=((x.start, x.stop), (y.start, y.stop), (z.start, z.stop)),
        count=len(result.table),
        volume_mm3=float(sum(row.volume_mm3 for row in result.table)),
        weights_id=result.origin.get("weights_id", method),
        weights=result.origin.get("weights", method),
        excluded_by_place=len(result.excluded["place"]),
        notes=tuple(notes),
    )


def open_results(request: OpenResults, folder: Path, say: Say) -> Segmented:
    """Read a segmentation that was written before, as if it had been made now."""
    from napari_pvs.inference.results import read_results

    say(Phase("Reading …"))
    scan = exchange.load_scan(request.scan)
    found = read_results(request.path, scan)
    mask = found.labels > 0
    exchange.save_array(folder, "probability", found.probability)
    exchange.save_array(folder, "mask", mask.astype(np.uint8))
    x, y, z = box = likely(found.probability, found.threshold)
    np.save(folder / "part.npy", np.ascontiguousarray(found.probability[box]))
    return Segmented(
        threshold=found.threshold,
        box=((x.start, x.stop), (y.start, y.stop), (z.start, z.stop)),
        count=int(found.labels.max(initial=0)),
        volume_mm3=float(np.count_nonzero(mask)) * scan.grid.voxel_volume,
        weights_id=found.key,
        weights=found.name,
        excluded_by_place=found.excluded_by_place,
        config=found.config,
    )


def segment_study(request: SegmentStudy, folder: Path, say: Say) -> Nothing:
    """Segment the subjects of a study, one after the other."""
    from napari_pvs.study import predictions

    say(Phase("Reading the weights …"))
    made = predictions.segment_study(request.study, request.config)
    for done, one in enumerate(made, start=1):
        say(Phase(f"Segmented {one.name}, {done} of {one.total} …"))
        say(Progress(done, one.total))
        say(Row(SegmentedSubject(**asdict(one))))
    return Nothing()


def improve(request: Improve, folder: Path, say: Say) -> Improved:
    """Segment again, and report the differences from the mask ``before`` in the folder."""
    from napari_pvs.evaluation.detection import agreement
    from napari_pvs.network.weights import fingerprint, read, starter_path

    path = request.segment.config.weights or starter_path()
    found = segment(request.segment, folder, say)
    card = read(path)[1]
    dsc = None
    if fingerprint(path) == found.weights_id:  # otherwise better ones have replaced them meanwhile
        dsc = card.accuracy.get("validation", {}).get("dsc")
    if not (folder / "before.npy").is_file():
        return Improved(found, dsc, None)
    volume = exchange.load_scan(request.segment.scan).grid.voxel_volume
    before, now = (exchange.load_array(folder, name) for name in ("before", "mask"))
    compared = agreement(now, before, volume)
    return Improved(
        found,
        dsc,
        Changes(
            added=len(compared.false),
            removed=len(compared.missed),
            before_mm3=compared.voxels.volume_reference_mm3,
            now_mm3=compared.voxels.volume_predicted_mm3,
        ),
    )


def list_subjects(request: ListSubjects, folder: Path, say: Say) -> Subjects:
    """List the subjects of a study."""
    say(Phase("Reading subjects…"))
    seen = bids.survey(request.study)
    told = (f"{name}: {why}" for name, why in seen.refused)
    return Subjects(seen.found, (*told, *seen.notes))


def count_pvs(request: CountPvs, folder: Path, say: Say) -> Nothing:
    """Count the PVS of each label and measure their volume."""
    from napari_pvs.scans.grid import Grid
    from napari_pvs.scans.nifti import read_labels

    for name, path in request.labels.items():
        try:
            label = read_labels(path)
        except (InputError, OSError) as error:
            say(Row(Count(name, error=sentence(error))))
            continue
        present = label.data > 0
        _, found = connected_components(present)
        volume = np.count_nonzero(present) * Grid(label.shape, label.affine).voxel_volume
        say(Row(Count(name, found, float(volume))))
    return Nothing()


def find_regions(request: FindRegions, folder: Path, say: Say) -> Loaded:
    """Register the template to a scan."""
    from napari_pvs.scans.regions import fit_regions

    say(Phase("Finding the regions …"))
    regions = fit_regions(exchange.load_scan(request.scan))
    exchange.save_regions(folder, regions)
    return Loaded(regions.doubts)


def make_report(request: MakeReport, folder: Path, say: Say) -> Nothing:
    """Write a page of the scan and its mask."""
    from napari_pvs.files import write_text
    from napari_pvs.report.files import of_mask

    scan = exchange.load_scan(request.scan)
    regions = None if request.regions is None else exchange.load_regions(request.regions)
    if regions is None:
        say(Phase("Finding the regions …"))
    mask = exchange.load_array(folder, "mask") > 0
    made = of_mask(
        scan, mask, name=request.name, origin=request.origin, regions=regions,
        weights=request.weights,
    )  # fmt: skip
    write_text(request.out, made.html)
    return Nothing()


def count_study(request: CountStudy, folder: Path, say: Say) -> Table:
    """Count the PVS of a study."""
    from napari_pvs.burden import files, tables

    notes: list[str] = []
    counted = []
    found = files.count_study(
        request.study,
        regions=request.regions,
        skipped=lambda name: notes.append(f"{name}: no label and no prediction yet."),
        failed=lambda name, why: notes.append(f"{name}: {why}"),
    )
    for one in found:
        counted.append(one)
        say(Row(one.burden[0]))
        say(Phase(f"Counted {one.burden[0].subject} …"))
    return Table(tables.burden_tsv(counted) if counted else "", tuple(notes))


def score_study(request: ScoreStudy, folder: Path, say: Say) -> Table:
    """Score the newest prediction of each subject against its label."""
    from napari_pvs.evaluation.tables import to_tsv

    seen = bids.survey(request.study)
    made = []
    refused = [f"{name}: {why}" for name, why in seen.refused]
    for done, subject in enumerate(seen.found, start=1):
        say(Progress(done, len(seen.found)))
        try:
            store = LabelStore(request.study, subject.name)
            newest = store.predicted()
            if subject.label is None or newest is None or subject.current == newest:
                continue
            score = compare_files(store.path(newest), subject.label, subject.brain)
        except (InputError, OSError) as error:
            refused.append(f"{subject.name}: {sentence(error)}")
            continue
        if score.identical:
            refused.append(f"{subject.name}: not scored; its label is the prediction, unedited.")
            continue
        made.append(replace(score, subject=subject.name))
        say(Row(made[-1]))
    if refused and not made:
        raise InputError(" ".join(refused))
    return Table(to_tsv(Comparison(tuple(made))) if made else "", tuple(refused))


def plan_run(request: PlanRun, folder: Path, say: Say) -> PlannedRun:
    """Say what a run would use and cost."""
    from napari_pvs.training.plan import plan

    return PlannedRun(**asdict(plan(request.config)))


def read_runs(request: ReadRuns, folder: Path, say: Say) -> Header:
    """Read the runs of a study: a row for each, with its curves."""
    from napari_pvs.training.runs import compare, status

    for path in status.runs(request.study):
        try:
            watch = status.seen(path)
        except InputError:  # reported where that run is chosen
            continue
        past = watch.history
        best = max(past.validation.values(), key=lambda found: found.dsc, default=None)
        say(Row(RunRow(path.name, compare.row(watch), past, best)))
    return Header(compare.HEADER)


def _read(folder: Path, name: str, path: Path, scan: Scan) -> list[str]:
    """Store a mask file for the docks; return sentences on what is doubtful about it."""
    from napari_pvs.scans.pvs import read_on, warn_of_outside

    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        mask = read_on(path, scan.grid, scan.source.path or "the scan")
        warn_of_outside(
            int(np.count_nonzero(mask)),
            int(np.count_nonzero(mask[scan.brain])),
            f"{path}: {{}} voxels lie outside the brain mask; check both.",
        )
        exchange.save_array(folder, name, mask)
    return [str(doubt.message) for doubt in doubts]


TASKS: dict[type[Request], Callable[[Any, Path, Say], Any]] = {
    LoadScan: load_scan,
    LoadSubject: load_subject,
    ReadMask: read_mask,
    MakeSample: make_sample,
    Segment: segment,
    OpenResults: open_results,
    SegmentStudy: segment_study,
    Improve: improve,
    ListSubjects: list_subjects,
    CountPvs: count_pvs,
    FindRegions: find_regions,
    MakeReport: make_report,
    CountStudy: count_study,
    ScoreStudy: score_study,
    PlanRun: plan_run,
    ReadRuns: read_runs,
}
"""Which function answers which request."""
