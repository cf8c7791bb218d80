"""One small file of every kind that this version writes, for tests of later versions.

    python benchmarks/formats.py --out tests/formats/0.1

Run it once for each release, and never again: the files stay as that version wrote them.
"""

import argparse
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import nibabel as nib
import numpy as np

from napari_pvs.burden import tables as burden
from napari_pvs.burden.files import count_mask
from napari_pvs.correction.items import Decision, Review
from napari_pvs.evaluation import tables as scores
from napari_pvs.evaluation.compare import compare
from napari_pvs.files import write_text
from napari_pvs.inference import outputs
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import segment
from napari_pvs.network.config import NetworkConfig
from napari_pvs.scans.derivative import MASK, REVIEW, image
from napari_pvs.scans.nifti import Geometry
from napari_pvs.study import derivatives
from napari_pvs.study.bids import subject
from napari_pvs.study.drafts import keep_decisions
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.paths import label_folder
from napari_pvs.training import run
from napari_pvs.training.config import TrainingConfig

SHAPE = (16, 18, 17)
AFFINE = np.array([[0.8, 0, 0, -6], [0, 0.8, 0, -7], [0, 0, 0.8, -7], [0, 0, 0, 1.0]])
NETWORK = NetworkConfig(widths=(4, 8), scale_width=2)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--out", type=Path, required=True)
    out = arguments.parse_args().out
    if out.exists():
        raise SystemExit(f"{out} exists; the files of a release are made once.")
    sys.argv = ["napari-pvs"]  # it is written into summary.json
    TrainingConfig.network = property(lambda self: NETWORK)  # type: ignore[method-assign]
    work = Path(tempfile.gettempdir()) / "napari-pvs-formats"  # paths are written, too
    shutil.rmtree(work, ignore_errors=True)
    study = make_study(work / "study")
    best = train(study)
    write_results(study, best, work)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(work, out, ignore=shutil.ignore_patterns("*.lock", "*.png", "cache", ".tmp-*"))
    shutil.rmtree(work)


def make_study(study: Path) -> Path:
    """Three subjects, two of them with a draft, a final label and a decision."""
    labels = {}
    for number in (1, 2, 3):
        name = f"sub-{number:02d}"
        rng = np.random.default_rng(number)
        brain = np.zeros(SHAPE, bool)
        brain[2:-2, 2:-2, 2:-2] = True
        label = np.zeros(SHAPE, np.uint8)
        label[5:7, 5:7, 4:9] = label[10:12, 10:12, 6 + number : 10 + number] = 1
        for kind, fluid in (("T1w", -60), ("T2w", 150)):
            image = 100 + fluid * label.astype(float) + rng.normal(0, 4, SHAPE)
            save(study / name / "anat" / f"{name}_{kind}.nii.gz", (image * brain).astype(np.int16))
        inner = study / "derivatives" / "masks" / name / "anat"
        save(inner / f"{name}_desc-brain_mask.nii.gz", brain.astype(np.uint8))
        labels[name] = label
    for name in sorted(labels)[:2]:  # the third is for what learns from unlabelled scans
        store, label = LabelStore(study, name), labels[name]
        like = Geometry.from_affine(SHAPE, AFFINE)
        draft = store.save(label, like, author="A", origin="drawn", state="draft")
        store.save(label, like, author="A", origin="corrected", parent=draft.number)
        path = label_folder(study, name) / f"{name}_{REVIEW}"
        decision = Decision(
            point=(5, 5, 6), kind="found", verdict="accept", rater="A", time=datetime.now(UTC)
        )
        keep_decisions(path, Review(decisions=(decision,)), ())
    return study


def train(study: Path) -> Path:
    """A run of one epoch."""
    config = TrainingConfig(
        study=study, method="m2ss", epochs=1, steps=1, batch=2, unlabelled_batch=2, patch=(8,),
        device="cpu", warmup=0,
    )  # fmt: skip
    return run.train(config, study / "derivatives" / "runs" / "run-1")


def write_results(study: Path, best: Path, out: Path) -> None:
    """Results of a scan, counts and scores."""
    first = study / "sub-01" / "anat"
    config = SegmentConfig(
        t1=first / "sub-01_T1w.nii.gz",
        t2=first / "sub-01_T2w.nii.gz",
        brain_mask=study / "derivatives/masks/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        weights=best,
        device="cpu",
        backend="torch",
        min_volume=0,
    )
    score = segment(config).probability
    threshold = round(float(np.quantile(score[score > 0], 0.8)), 3)  # so that some are found
    config = config.model_copy(update={"threshold": threshold})
    found = segment(config)
    outputs.write(found, out / "results", config)
    derivatives.write(found, derivatives.folder_of(study), study, subject(study, "sub-01"), config)
    label = label_folder(study, "sub-01") / image("sub-01", MASK)
    burden.write([count_mask(label)], out / "counted")
    compared = compare(label, label)
    write_text(out / "scores" / "scores.json", scores.to_json(compared))
    write_text(out / "scores" / "scores.tsv", scores.to_tsv(compared))


def save(path: Path, data: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, AFFINE), path)


if __name__ == "__main__":
    main()
