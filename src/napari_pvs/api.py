"""The verbs of the command line for scripts and notebooks; ``import napari_pvs as pvs`` has them.

Options that are not named here are the fields of the verb's configuration, with its defaults.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import claimed, require_there
from napari_pvs.options import build

if TYPE_CHECKING:
    from napari_pvs.burden.count import Counted
    from napari_pvs.evaluation.compare import Comparison
    from napari_pvs.inference.predictor import Progress
    from napari_pvs.inference.segment import Segmentation
    from napari_pvs.scans.choices import Register
    from napari_pvs.scans.scan import Scan

Name = str | Path


def load(
    t1: Name | None = None,
    t2: Name | None = None,
    *,
    brain_mask: Name | None = None,
    device: str = "cpu",
    register: "Register | None" = None,
) -> "Scan":
    """Read the T1, the T2 or both of one subject.

    Parameters
    ----------
    t1, t2
        NIfTI or MGH files.
    brain_mask
        Non-zero inside the brain, on any grid; found in the scan or computed when None.
    device
        Where the brain mask is computed: ``"cpu"`` or ``"cuda"``.
    register
        ``"auto"``, the default: register a T2 that lies more than half a voxel off the T1.
        ``"off"``: leave it where its header places it.

    Returns
    -------
    Images and brain mask on one grid, axes turned to RAS+.

    Raises
    ------
    InputError
        No scan was given, or a file cannot be used.

    Examples
    --------
    >>> scan = load("sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")  # doctest: +SKIP
    >>> scan.grid.voxel_size  # doctest: +SKIP
    (0.8, 0.8, 0.8)
    """
    from napari_pvs.scans.choices import REGISTER
    from napari_pvs.scans.scan import load_scan

    if t1 is None and t2 is None:
        raise InputError("no scan was given; name a T1, a T2, or both.")
    first, second, brain = (None if one is None else Path(one) for one in (t1, t2, brain_mask))
    return load_scan(first, second, brain, device, register or REGISTER)


def segment(
    t1: Name | None = None,
    t2: Name | None = None,
    *,
    scan: "Scan | None" = None,
    out: Name | None = None,
    overwrite: bool = False,
    progress: "Progress | None" = None,
    **options: Any,
) -> "Segmentation":
    """Segment the PVS of one scan.

    Parameters
    ----------
    t1, t2
        NIfTI or MGH files.
    scan
        What `load` returned, in place of files.
    out
        Folder for mask, probability map, label image, table, overlay and summary; nothing is
        written when None.
    overwrite
        Replace results in ``out``.
    progress
        Called with the number of windows done, and of all.
    **options
        Fields of `SegmentConfig`: ``threshold``, ``min_volume``, ``weights``, ``brain_mask`` …

    Returns
    -------
    Probability (float32) and numbered PVS (int32) as (X, Y, Z) arrays on the scan's grid, and a
    table with a row per PVS (mm, mm³).

    Raises
    ------
    InputError
        A file cannot be used, an option does not fit, or ``out`` has results already.

    Examples
    --------
    >>> found = segment("sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", threshold=0.4)  # doctest: +SKIP
    >>> len(found.table), sum(one.volume_mm3 for one in found.table)  # doctest: +SKIP
    (212, 2140.7)
    """
    from napari_pvs.inference import outputs
    from napari_pvs.inference import segment as inference
    from napari_pvs.inference.config import SegmentConfig

    config = build(SegmentConfig, {"t1": t1, "t2": t2, **options}, cli=False)
    if scan is not None and (config.t1 or config.t2 or config.brain_mask):
        raise InputError("a scan and files of a scan were given; give one or the other.")
    if scan is not None and "register_t2" in options:
        raise InputError("a scan is registered when it is loaded; give register to load instead.")

    def run() -> "Segmentation":
        if scan is None:
            return inference.segment(config, progress)
        return inference.segment_scan(scan, config, progress=progress)

    if out is None:
        return run()
    with claimed(Path(out)):
        outputs.check_folder(Path(out), overwrite, outputs.names(config))
        config = outputs.convert_dicom(config, Path(out))
        found = run()
        page = None
        if config.report:
            from napari_pvs.report.files import of_segmentation

            page = of_segmentation(found, config)
        outputs.write(found, Path(out), config, page)
    return found


def evaluate(
    prediction: Name,
    reference: Name,
    *,
    region: Name | None = None,
    probability: Name | None = None,
) -> "Comparison":
    """Score masks against references: DSC, AVD, recall, and detection per PVS.

    Parameters
    ----------
    prediction, reference
        Two files, or two folders whose files are matched by subject. Labels above 0 are PVS.
    region
        Mask, or folder of masks: only voxels inside count.
    probability
        Probability map, or folder of them, for the AUPRC.

    Returns
    -------
    ``scores`` with one entry per subject, and the subjects that could not be compared.

    Raises
    ------
    InputError
        A file or folder is missing or unusable, or the two have different grids.

    Examples
    --------
    >>> evaluate("mask.nii.gz", "reference.nii.gz").scores[0].dsc  # doctest: +SKIP
    0.78
    """
    from napari_pvs.evaluation.compare import compare

    others = [None if one is None else Path(one) for one in (region, probability)]
    return compare(Path(prediction), Path(reference), *others)


def count(
    what: "Name | Segmentation",
    *,
    regions: Name | None = None,
    names: Name | None = None,
    brain_mask: Name | None = None,
) -> "list[Counted]":
    """Count PVS: number, volume, length and diameter, in total and by region.

    Parameters
    ----------
    what
        What `segment` returned, a mask file, or the folder of a study.
    regions
        Label map of the brain; for a study, how the names of its subjects' maps end, or
        ``"none"``. When None, the ICBM152 template is registered to each scan of a study, and what
        `segment` returned has the regions it was segmented with.
    names
        Table (TSV) of its regions: index, name. FreeSurfer's numbers when None.
    brain_mask
        For a mask file, the brain mask of its scan; for the share that PVS have of the brain.

    Returns
    -------
    One entry for each mask. An `InputWarning` names each subject of a study that is not counted.

    Raises
    ------
    InputError
        A file is missing or unusable, or in another place.

    Examples
    --------
    >>> (burden,) = count("mask.nii.gz", regions="aseg.nii.gz")  # doctest: +SKIP
    >>> burden.burden[0].count  # doctest: +SKIP
    212
    """
    from napari_pvs.burden import files
    from napari_pvs.burden.count import count as count_array
    from napari_pvs.burden.regions import TEMPLATE, read_names, read_regions

    if names is not None and regions is None:
        raise InputError("names of regions were given without regions; give both.")
    known = read_names(None if names is None else Path(names))
    if not isinstance(what, str | Path):
        if brain_mask is not None:
            raise InputError("a segmentation has its scan's brain mask; leave it out.")
        scan = what.scan
        drawn = what.regions
        if regions is not None:
            drawn = read_regions(Path(regions), scan.grid, known)
        return [count_array(what.labels > 0, scan.grid, regions=drawn, brain=scan.brain)]
    path = Path(what)
    require_there(path)
    brain = None if brain_mask is None else Path(brain_mask)
    if path.is_dir():
        if brain is not None:
            raise InputError(f"{path} is a study, which has its own brain masks; leave it out.")

        def failed(name: str, why: str) -> None:
            warnings.warn(f"{name} was not counted: {why}", InputWarning, stacklevel=3)

        ending = TEMPLATE if regions is None else str(regions)
        every = files.count_study(
            path,
            regions=ending,
            names=known,
            skipped=lambda name: failed(name, "it has no label and no prediction yet."),
            failed=failed,
        )
        return list(every)
    drawn_map = None if regions is None else Path(regions)
    return [files.count_mask(path, regions=drawn_map, names=known, brain=brain)]


def train(study: Name, out: Name, **options: Any) -> Path:
    """Train on a study, in this process; `napari_pvs.training.run.resume` continues a stopped run.

    Parameters
    ----------
    study
        BIDS dataset with labels.
    out
        Run folder, new or empty.
    **options
        Fields of `TrainingConfig`: ``method``, ``recipe``, ``epochs``, ``weights`` …

    Returns
    -------
    Path of the best weights.

    Raises
    ------
    InputError
        The folder is in use, an option does not fit, or the study cannot be trained on.

    Examples
    --------
    >>> train("study", "study/run", recipe="adapt")  # doctest: +SKIP
    PosixPath('study/run/best.safetensors')
    """
    from napari_pvs.training import run
    from napari_pvs.training.config import TrainingConfig

    return run.train(build(TrainingConfig, {"study": study, **options}, cli=False), Path(out))
