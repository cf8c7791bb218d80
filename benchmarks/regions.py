"""Measure how well the template's regions lie on scans, and make them.

``python benchmarks/regions.py --data DIR`` registers the template to phantoms made from the label
maps in ``DIR/anatomy`` that had no part in the regions, to those label maps painted as T1, and to
the scans in ``DIR/real``. It prints, against the truth where there is one: Dice of the ventricles
and of deep structures, of the brain, the share of voxels on the right side, the figures by which
doubts are told, and CPU seconds. ``--poor`` does the same with what should be doubted.

``--make`` writes src/napari_pvs/scans/icbm152_regions.nii.gz anew from the label maps of `MAKERS`
(SynthSeg's training maps, Billot et al. 2023, Apache-2.0): each head is registered to the
template, its labels are carried over, mirrored, and the most frequent one taken.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom.anatomy import Tissue, from_codes
from napari_pvs.phantom.cohort import make
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.deform import Deformation, deform
from napari_pvs.scans.grid import resample, to_ras
from napari_pvs.scans.masks import bounding_box
from napari_pvs.scans.nifti import read_labels
from napari_pvs.scans.regions import carry, of_deformation
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.scans.template import REGIONS, VENTRICLES, load_template

ROOT = Path(__file__).parents[1]
FILE = ROOT / "src" / "napari_pvs" / "scans" / "icbm152_regions.nii.gz"
MAKERS = ("02", "03", "05", "09", "11", "12")
CODES = {
    "basal ganglia": (11, 12, 13, 26, 50, 51, 52, 58),
    "thalamus": (9, 10, 48, 49),
    "hippocampus": (17, 53),
    "brainstem": (16,),
    "ventral diencephalon": (28, 60),
    "cerebellum": (7, 8, 46, 47),
    "ventricles": (4, 5, 14, 15, 31, 43, 44, 63, 72, 213),
}
LEFT = (2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 17, 18, 26, 28)
RIGHT = (41, 42, 43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 58, 60)
PAINT = {
    Tissue.WHITE_MATTER: 1.0,
    Tissue.CEREBELLAR_WHITE_MATTER: 1.0,
    Tissue.BRAINSTEM: 0.95,
    Tissue.PALLIDUM: 0.9,
    Tissue.THALAMUS: 0.8,
    Tissue.STRIATUM: 0.68,
    Tissue.HIPPOCAMPUS: 0.65,
    Tissue.CORTEX: 0.62,
    Tissue.CEREBELLAR_CORTEX: 0.62,
}
"""T1 of a painted label map; the rest is dark."""


def painted(path: Path) -> tuple[Scan, NDArray[np.int32]]:
    """Return a label map as a noisy T1 without its head, and its codes on the same voxels."""
    volume = read_labels(path)
    data, affine = to_ras(volume.data, volume.affine)
    codes = np.ascontiguousarray(data, np.int32)
    anatomy = from_codes(codes, path.name, path)
    t1 = np.array([PAINT.get(tissue, 0.2) for tissue in Tissue], np.float32)[anatomy.tissue]
    noise = np.random.default_rng(0).normal(0, 0.04, t1.shape)
    t1 = np.where(anatomy.brain, 500 * (ndimage.gaussian_filter(t1, 0.6) + noise), 0)
    box = bounding_box(anatomy.brain, margin=6)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    scan = Scan.from_arrays(t1[box], None, moved, anatomy.brain[box])
    return scan, codes[box]


# ---- making --------------------------------------------------------------------------------


def make_map(anatomy: Path) -> None:
    """Vote over heads and both sides, split the brainstem, and write the file."""
    template = load_template()
    shape = template.t1.shape
    votes = np.zeros((len(CODES) + 1, *shape), np.float32)
    for number in MAKERS:
        scan, codes = painted(anatomy / f"synthseg_labels_{number}.nii.gz")
        found = deform(scan.t1, None, scan.brain, scan.grid)
        print(f"{number}: tissues {found.likeness:.3f}, brain {found.overlap:.3f}", flush=True)
        votes += _votes(found, codes, scan.brain, shape)
    votes += votes[:, ::-1]  # the template is symmetric
    # most of a head's voxels fall between the template's
    for vote in votes:
        vote[:] = ndimage.gaussian_filter(vote, 1.2)
    winner = votes.argmax(0)
    winner[votes.sum(0) < 1e-3] = 0
    where = {name: winner == at for at, name in enumerate(CODES, start=1)}
    index = assemble(where)
    box = bounding_box(template.t1 > 0, margin=3)
    affine = template.affine.copy()
    affine[:3, 3] += [side.start for side in box]
    image = nib.Nifti1Image(index[box], affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"Regions on ICBM152 2009a, from SynthSeg label maps"
    nib.save(image, FILE)
    counts = np.bincount(index.ravel(), minlength=VENTRICLES + 1)
    for at, name in enumerate((*REGIONS, "ventricles"), start=1):
        print(f"{name:20} {counts[at] / 1000:8.1f} mL")


def _votes(
    found: Deformation, codes: NDArray[np.int32], brain: NDArray[np.bool_], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    lookup = np.zeros(codes.max() + 1, np.intp)
    for at, numbers in enumerate(CODES.values(), start=1):
        lookup[[number for number in numbers if number < len(lookup)]] = at
    voxels = np.argwhere(brain)
    kinds = lookup[codes[brain]]
    at = np.rint(found.points(voxels) - load_template().affine[:3, 3]).astype(np.intp)
    within = ((at >= 0) & (at < shape)).all(1)
    flat = np.ravel_multi_index(tuple(at[within].T), shape)
    size = int(np.prod(shape))
    counted = np.bincount(kinds[within] * size + flat, minlength=(len(CODES) + 1) * size)
    return counted.reshape(-1, *shape).astype(np.float32)


def assemble(where: dict[str, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Turn structures into `REGIONS`, by the definitions of docs/concepts/regions.md."""
    template = load_template()
    axes = (
        np.arange(n) + o for n, o in zip(template.t1.shape, template.affine[:3, 3], strict=True)
    )
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    number = {name: at for at, name in enumerate(REGIONS, start=1)}
    ventricles = _largest_parts(where["ventricles"])
    roof = np.nonzero(ventricles.any((0, 1)))[0].max() + template.affine[2, 3]
    print(f"the ventricles' roof is at z = {roof:.0f} mm")
    out = np.where(z > roof, number["centrum semiovale"], number["other white matter"])
    out = np.broadcast_to(out, template.t1.shape).astype(np.uint8)
    nuclei, thalamus = where["basal ganglia"], where["thalamus"]
    # raters count the capsules and the anterior perforated substance to the basal ganglia
    for side in (x < 0, x > 0):
        deep = (nuclei | thalamus) & side
        closed = _grown(~_grown(~_grown(deep, 6), 6), 0) & side
        out[(closed | (_grown(nuclei & side, 2) & side)) & ~where["hippocampus"]] = number[
            "basal ganglia"
        ]
    out[thalamus] = number["thalamus"]
    out[where["hippocampus"]] = number["hippocampus"]
    below = template.infratentorial
    stem = where["brainstem"] | (where["ventral diencephalon"] & (z < -14 - 0.67 * (y + 8)))
    upper, lower = -21 - 0.5 * (y + 22), -46 - 0.4 * (y + 33)
    parts = np.zeros_like(out)
    parts[stem & (z >= upper)] = number["midbrain"]
    parts[stem & (z < upper) & (z >= lower)] = number["pons"]
    parts[stem & (z < lower)] = number["medulla"]
    parts[where["cerebellum"]] = number["cerebellum"]
    nearest = ndimage.distance_transform_edt(
        parts == 0, return_distances=False, return_indices=True
    )
    filled = parts[tuple(nearest)]
    out = np.where((parts > 0) | below, filled, out)
    out[ventricles] = VENTRICLES
    return np.asarray(out, np.uint8)


def _grown(mask: NDArray[np.bool_], mm: float) -> NDArray[np.bool_]:
    import edt

    return np.asarray(edt.edt(~mask) <= mm) if mm else mask


def _largest_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= 100)[labels])


# ---- measuring -----------------------------------------------------------------------------


def dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(one & two) / max(one.sum() + two.sum(), 1))


def measure(name: str, scan: Scan, truth: dict[str, NDArray[np.bool_]]) -> dict[str, object]:
    """Fit, and compare with what is known: ``ventricles``, `REGIONS`, ``left`` and ``right``."""
    row: dict[str, object] = {"scan": name, "modalities": "+".join(scan.modalities)}
    before = time.process_time()
    fitted = deform(scan.t1, scan.t2, scan.brain, scan.grid)
    regions = of_deformation(fitted, scan.brain, name)
    row["cpu_s"] = round(time.process_time() - before, 1)
    if truth:
        found = carry(fitted, scan.brain)
        for structure, mask in truth.items():
            if structure == "ventricles":
                mine = found.ventricles
            elif structure in REGIONS:
                number = REGIONS.index(structure) + 1
                mine = (regions.index == number) & ~found.ventricles
            else:
                continue
            row[structure] = round(dice(mine, mask), 3)
        if "left" in truth and regions.sides is not None:
            wrong = (regions.sides == 2) & truth["left"] | (regions.sides == 1) & truth["right"]
            sided = np.count_nonzero((truth["left"] | truth["right"]) & scan.brain)
            row["right side"] = round(1 - float((wrong & scan.brain).sum() / sided), 4)
    assert regions.quality is not None
    row |= {f"quality {key}": value for key, value in vars(regions.quality).items()}
    row["least seen"] = round(min(regions.seen), 2)
    row["doubts"] = len(regions.doubts)
    return row


def of_codes(codes: NDArray[np.int32]) -> dict[str, NDArray[np.bool_]]:
    """Return the truth of FreeSurfer's numbers."""
    names = ("ventricles", "thalamus", "hippocampus", "cerebellum")
    truth = {name: np.isin(codes, CODES[name]) for name in names}
    return truth | {"left": np.isin(codes, LEFT), "right": np.isin(codes, RIGHT)}


def phantom(path: Path, index: int, site: str, modalities: str) -> tuple[Scan, dict]:
    config = PhantomConfig(subjects=1, seed=20, anatomy=(path,), sites=(site,))
    subject = make(config.model_copy(update={"seed": 20 + index}), 0)
    scan = Scan.from_arrays(
        subject.t1 if "T1" in modalities else None,
        subject.t2 if "T2" in modalities else None,
        subject.affine,
        subject.brain,
    )
    return scan, {"ventricles": subject.ventricles}


def cases(data: Path, which: list[str]):
    """Yield a name, a scan and the truth."""
    heads = data / "anatomy"
    for index, (number, site, modalities) in enumerate(
        (("14", "A", "T1T2"), ("17", "B", "T1"), ("15", "A", "T2"), ("18", "B", "T1T2"))
    ):
        name = f"phantom of {number}, site {site}"
        if not which or name in which:
            path = heads / f"synthseg_labels_{number}.nii.gz"
            yield name, *phantom(path, index, site, modalities)
    for number in ("04", "07", "14", "15", "17", "18", "20"):
        if not which or f"head {number}" in which:
            scan, codes = painted(heads / f"synthseg_labels_{number}.nii.gz")
            yield f"head {number}", scan, of_codes(codes)
    real = data / "real"
    for name, t1, t2, brain in (
        ("openneuro_ds004230_PS11_norm.mgz", True, None, None),
        ("ljubljana_p07_T1.nii.gz", True, "ljubljana_p07_T2.nii.gz", None),
        ("m2307_T2.nii.gz", False, None, None),
        ("clinical_T2.nii.gz", False, None, None),
        ("elderly_T1.nii.gz", True, None, "elderly_brainmask.nii.gz"),
        ("studyforrest_T1.nii.gz", True, None, None),
    ):
        if which and name not in which:
            continue
        first = real / name
        scan = load_scan(
            first if t1 else None,
            real / t2 if t2 else (None if t1 else first),
            real / brain if brain else None,
        )
        truth = {}
        if "PS11" in name:
            labels = read_labels(real / "openneuro_ds004230_PS11_aparc.a2009s+aseg.mgz")
            truth = of_codes(resample(labels.data, labels.affine, scan.grid, order=0))
        yield name, scan, truth


def spoilt(data: Path):
    """Yield what should be doubted: half a brain, a mask of half, noise, a turned head."""
    scan, _ = painted(data / "anatomy" / "synthseg_labels_20.nii.gz")
    assert scan.t1 is not None
    low = scan.grid.shape[2] // 3
    cut = scan.grid.affine.copy()
    cut[2, 3] += low
    yield (
        "without its lower third",
        Scan.from_arrays(scan.t1[:, :, low:], None, cut, scan.brain[:, :, low:]),
        {},
    )
    noise = np.random.default_rng(1).gamma(2.0, 50, scan.t1.shape) * scan.brain
    yield "noise in a brain's mask", Scan.from_arrays(noise, None, scan.grid.affine, scan.brain), {}
    upside = scan.t1[:, :, ::-1], scan.brain[:, :, ::-1]
    yield "upside down", Scan.from_arrays(upside[0], None, scan.grid.affine, upside[1]), {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Folder of anatomy and real.")
    parser.add_argument("--make", action="store_true", help="Write the map of regions.")
    parser.add_argument("--poor", action="store_true", help="What should be doubted.")
    parser.add_argument("--case", action="append", default=[], help="Only this one.")
    parser.add_argument("--json", type=Path, help="Add the rows to this file.")
    given = parser.parse_args()
    if given.make:
        make_map(given.data / "anatomy")
        return
    for name, scan, truth in spoilt(given.data) if given.poor else cases(given.data, given.case):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = measure(name, scan, truth)
        print(json.dumps(row), flush=True)
        if given.json:
            rows = json.loads(given.json.read_text()) if given.json.exists() else []
            rows = [one for one in rows if one["scan"] != name] + [row]
            given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
