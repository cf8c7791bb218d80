"""What a rater's decisions are worth to training: the queue's order, others, and all of them.

    python benchmarks/review_loop.py --work WORK [--site thick] [--shares 0.1 0.2] [--seeds 3]
        [--untrained] [--scans 3]

The starter weights segment a few scans of a site. A simulated rater goes through the PVS of the
review queue (`candidates`: those marked and those possibly missed) in some order, and stops after a
share of them: what touches no PVS of the truth is rejected, what is missed and touches one is
accepted, with the voxels that a click grows. Outlines are left as they are. Then the starter
weights are trained on those labels (``--recipe adapt``, one validates) and tested on 8 other scans;
``--untrained`` leaves that out, and says what the decisions make of the labels alone.

Orders: ``queue``, the product's own (doubt times share of volume and count); ``entropy``, the
queue's uncertainty alone; ``random`` among the same PVS, which is the foreground-aware random order
that is the strongest simple baseline in nnActive (Lueth et al., 2025). ``none`` trains on what the
starter weights marked, ``all`` on what the rater makes of the whole queue, ``truth`` on the truth.

Prints decisions and clicks (decisions that change the mask) a scan, the DSC of these labels, and
DSC and AVD of what is trained on them; keeps them in ``results/review-loop.json``. Everything is
resumable.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import records
from headroom import PLACES, SEEDS, SITES
from numpy.typing import NDArray
from small import cohort, go_on, mean, measure, part

from napari_pvs.correction.candidates import Scale, candidates
from napari_pvs.correction.click import grow
from napari_pvs.correction.evidence import from_map
from napari_pvs.correction.items import Item
from napari_pvs.errors import InputError
from napari_pvs.evaluation.overlap import overlap
from napari_pvs.files import write_text
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import Predictor
from napari_pvs.inference.segment import components
from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import StudySubject, subjects
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.crossval.report import interval
from napari_pvs.training.runs.folder import BEST
from napari_pvs.workers import Workers, each

TESTED = 8
ORDERS = ("queue", "entropy", "random")
EFFORT = ("decisions", "clicks", "labels")
STARTER, NONE, ALL, TRUTH = "starter", "none", "all", "truth"


@dataclass(frozen=True)
class Row:
    """One way to make labels: an order and the share of the queue that is decided."""

    order: str
    share: float
    seed: int
    work: Path
    site: str
    scans: int
    epochs: int
    """Of training; 0 for none."""

    @property
    def name(self) -> str:
        """The row of the table."""
        return f"{self.order} {self.share:g}" if self.order in ORDERS else self.order

    @property
    def folder(self) -> Path:
        """Where its study, run and scores are."""
        name = f"{self.name.replace(' ', '-')}-{self.seed}-{self.epochs}"
        return self.work / self.site / f"{self.scans}-scans" / name


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--site", choices=list(PLACES), default="thick")
    arguments.add_argument("--shares", nargs="+", type=float, default=[0.1, 0.2])
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--scans", type=int, default=3, help="that are corrected")
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--untrained", action="store_true", help="judge the labels alone")
    arguments.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    given = arguments.parse_args()
    work, epochs = given.work.absolute(), 0 if given.untrained else given.epochs
    cohorts(work, given.site, given.scans)
    ends = (NONE, ALL) if given.untrained else (STARTER, NONE, ALL, TRUTH)
    asked = [(order, float(order in (ALL, TRUTH))) for order in ends]
    asked += [(order, share) for share in given.shares for order in ORDERS]
    rows = [
        Row(order, share, seed, work, given.site, given.scans, epochs)
        for seed in range(given.seeds)
        for order, share in asked
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    for row, made in zip(rows, each(of_row, rows, Workers(given.jobs)), strict=True):
        found.setdefault(row.name, []).append(made.required())
        print(f"seed {row.seed}, {row.name}", flush=True)
    for line in of_labels(found):
        print(line)
    for line in () if given.untrained else of_training(found):
        print(line)
    about = {"site": given.site, "scans": given.scans, "epochs": epochs}
    name = "review-loop" + "-untrained" * given.untrained
    print(records.keep(name, about | {"rows": found}))


def cohorts(work: Path, site: str, scans: int) -> tuple[Path, Path]:
    """Write the scans that are corrected and those that are tested, unless they are there."""
    seed, name = SEEDS[site] + 50, SITES[PLACES[site]].name
    folder = work / site
    return (
        cohort(folder / f"whole-{scans}", scans, scans, seed, (name,)),
        cohort(folder / "test", TESTED, TESTED, seed + 1, (name,)),
    )


def of_row(row: Row) -> dict[str, Any]:
    """Label, train and test; kept beside the run."""
    kept = row.folder / "scores.json"
    if not kept.exists():
        whole, test = cohorts(row.work, row.site, row.scans)
        row.folder.mkdir(parents=True, exist_ok=True)
        measured: dict[str, Any] = {} if row.order == STARTER else labelled(row, whole)
        if row.epochs:
            scores = measure(None if row.order == STARTER else trained(row), test)
            measured |= {"dsc": [s.dsc for s in scores], "avd": mean(scores, "avd_percent")}
        write_text(kept, json.dumps(measured) + "\n")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def labelled(row: Row, whole: Path) -> dict[str, list[float]]:
    """Make the study of a row, with the labels that the rater has left.

    Returns
    -------
    Of each scan, by `EFFORT`: decisions, clicks, and DSC of the labels themselves.
    """
    true = subjects(whole)
    study = part(whole, row.folder / "study", {subject.name for subject in true})
    found: dict[str, list[float]] = {name: [] for name in EFFORT}
    for number, subject in enumerate(true if row.order != TRUTH else ()):
        assert subject.label is not None
        image = nib.load(subject.label)
        truth = np.asanyarray(image.dataobj) > 0
        marked, scale = segmented(subject)
        mask = marked.copy()
        rng = np.random.default_rng([row.seed, number])
        items = ordered(candidates(mask, scale), row.order, rng)
        decided = items[: round(row.share * len(items))]
        found["decisions"].append(len(decided))
        found["clicks"].append(sum(decide(item, mask, truth, scale) for item in decided))
        found["labels"].append(overlap(mask, truth, scale.voxel_volume).dsc)
        label = study / subject.label.relative_to(whole)
        label.unlink()  # a link to the truth
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), image.affine), label)
    return found


@cache  # the rows begin with the same
def segmented(subject: StudySubject) -> tuple[NDArray[np.bool_], Scale]:
    """Return what the starter weights mark in a scan, and what its PVS are measured by."""
    predictor = Predictor()
    scan = load_scan(subject.t1, subject.t2, subject.brain)
    score = predictor.predict(scan)
    threshold = predictor.card.threshold_for(scan.modalities)
    mask = components(score, threshold, scan.grid, SegmentConfig()) > 0
    return mask, Scale(score, threshold, scan.grid.voxel_volume, scan.grid.voxel_size)


def ordered(items: list[Item], order: str, rng: np.random.Generator) -> list[Item]:
    """Sort a queue, which comes in the product's order."""
    if order == "entropy":
        return sorted(items, key=lambda item: -item.uncertainty)
    return [items[i] for i in rng.permutation(len(items))] if order == "random" else items


def decide(item: Item, mask: NDArray[np.bool_], truth: NDArray[np.bool_], scale: Scale) -> bool:
    """Accept or reject a PVS as the truth has it; tell whether the mask has changed."""
    is_pvs = bool(truth[item.index].any())
    if item.kind == "found" and not is_pvs:
        mask[item.index] = False
    elif item.kind != "found" and is_pvs and not mask[item.index].any():
        mask[voxels(item, mask, scale)] = True
    else:
        return False
    return True


def voxels(item: Item, mask: NDArray[np.bool_], scale: Scale) -> Any:
    """Voxels that accepting a missed PVS adds: those of a click, as in the Correct dock."""
    probability, size = scale.probability, scale.voxel_size
    assert probability is not None
    assert size is not None
    evidence = from_map(probability.astype(np.float32, copy=False), item.point, size)
    try:
        return grow(item.point, evidence, mask, size).indices
    except InputError:
        return item.index  # too wide for a click


def trained(row: Row) -> Path:
    """Train the starter weights on the labels of a row."""
    out, study = row.folder / "run", row.folder / "study"
    last = sorted(subject.name for subject in subjects(study))[-1]
    config = TrainingConfig(
        study=study, recipe="adapt", seed=row.seed, epochs=row.epochs, validation=(last,)
    )
    go_on(config, out)
    return out / BEST


Found = dict[str, list[dict[str, Any]]]
"""By row, what was measured with each seed."""


def of_labels(found: Found) -> Iterator[str]:
    """Return the lines that say what the decisions make of the labels; intervals over scans."""

    def mean_of(name: str, key: str) -> NDArray[np.float64]:
        return np.mean([one[key] for one in found[name]], axis=0)

    before, after = mean_of(NONE, "labels"), mean_of(ALL, "labels")
    yield "labels: decisions and clicks a scan, DSC; share of what all decisions gain"
    for name in (name for name, seeds in found.items() if seeds[0].get("labels")):
        dsc = mean_of(name, "labels")
        gained = (dsc - before).mean() / (after - before).mean()
        low, high = interval(dsc - before)
        sure = "" if low is None or high is None else f", {low:.3f} to {high:.3f}"
        decisions, clicks = (mean_of(name, key).mean() for key in EFFORT[:2])
        yield (
            f"{name}: {decisions:.0f}, {clicks:.1f}, {dsc.mean():.3f} "
            f"({(dsc - before).mean():+.3f}{sure}); {gained:.0%}"
        )


def of_training(found: Found) -> Iterator[str]:
    """Return the lines that say what training makes of it; differences paired over subjects."""
    subjects_of = {name: np.mean([one["dsc"] for one in seeds], 0) for name, seeds in found.items()}
    yield "trained: DSC (by seed), AVD %; minus all"
    for name, seeds in found.items():
        gap = subjects_of[name] - subjects_of[ALL]
        low, high = interval(gap)
        by_seed = ", ".join(f"{np.mean(one['dsc']):.3f}" for one in seeds)
        avd = float(np.mean([one["avd"] for one in seeds]))
        yield (
            f"{name}: {subjects_of[name].mean():.3f} ({by_seed}), {avd:.0f}; "
            f"{gap.mean():+.3f} ({low} to {high})"
        )


if __name__ == "__main__":
    main()
