"""Make the starter weights: phantoms on many anatomies, training, calibration, test, model card.

    python benchmarks/starter.py --anatomy DIR --work WORK [--real FILE]

Anatomies are FreeSurfer-coded label maps named ``*_NN.nii.gz``. Maps 18 and 20 are kept for the
test, map 17 for the calibration, the others are trained on. A step whose result is in WORK already
is not done again, so that an interrupted command goes on at the next step.

The network's answer to T1 and T2, T1 alone and T2 alone is calibrated on the phantoms of map 17, so
that .5 is the threshold of all three, where `napari-pvs segment` looks for PVS: the offset makes
the marked volume the true one on average, the slope makes probabilities come true (least expected
calibration error). ``--real`` puts what ``benchmarks/real.py --json FILE`` has measured into the
card. ``--unlabelled DIR`` trains on the
real scans of ``DIR/real`` too, without labels: PVS are drawn into them. ``--still`` leaves the
statistics of batch normalisation as they are in the start while training. ``--statistics DIR``
measures them on the real scans of ``DIR/real`` at the end, since phantoms have others (Li et al.,
"Revisiting batch normalization for practical domain adaptation", 2016). The persons that the
verdict of ``real.py`` rests on (`adapt_real.JUDGED`) stay out of both. ``--scan`` trains and
segments with the statistics of each scan instead.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from adapt_real import JUDGED
from adapt_real import study as add_scans
from numpy.typing import NDArray
from real import SUBJECTS, Person
from records import command
from scipy.special import expit, logit
from torch import nn

from napari_pvs.evaluation.ceiling import ceiling
from napari_pvs.evaluation.compare import SubjectScore, score
from napari_pvs.evaluation.overlap import overlap
from napari_pvs.evaluation.summary import summarise
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import Predictor
from napari_pvs.inference.search_region import search_region
from napari_pvs.inference.segment import baseline, components, segment_scan
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import ModelCard, load, save, starter_path
from napari_pvs.phantom.cohort import TRUTH, subject_name, write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.derivative import MASK, PROBABILITY, image
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.run import resume, train
from napari_pvs.training.runs.folder import BEST, CHECKPOINT
from napari_pvs.training.runs.status import status

SEED, CALIBRATION_SEED, TEST_SEED = 1000, 8000, 9000
TEST, VALIDATION = ("18", "20"), ("17",)
SITES = ("random", "A", "random", "B", "random", "C", "random", "D")
TEST_SITES = ("A", "A", "B", "B", "C", "C", "D", "D", "random", "random")
MODALITIES = {"T1+T2": ("t1", "t2"), "T2": ("t2",), "T1": ("t1",)}
THRESHOLDS = np.arange(0.1, 0.91, 0.05).round(2)
SLOPES = np.arange(0.2, 1.55, 0.05).round(2)
LEAST = 0.01
"""Voxels with a smaller probability are not asked whether it comes true: nearly all of a brain."""
MEASURES = ("dsc", "avd_percent", "recall", "precision", "lenient_f1", "strict_f1", "ceiling_dsc")


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--anatomy", type=Path, required=True, help="folder of label maps")
    arguments.add_argument("--work", type=Path, required=True, help="folder for cohorts and run")
    arguments.add_argument("--subjects", type=int, default=48)
    arguments.add_argument("--epochs", type=int, default=36)
    arguments.add_argument("--start", default="starter", help="weights to start from; 'none'")
    arguments.add_argument(
        "--blend", type=float, default=1, help="share of the new weights in the mean with the start"
    )
    arguments.add_argument(
        "--unlabelled", type=Path, help="folder of real scans; PVS are drawn into those not judged"
    )
    arguments.add_argument(
        "--still", action="store_true", help="keep the start's batch statistics while training"
    )
    arguments.add_argument(
        "--statistics", type=Path, help="folder of real scans; batch statistics are of those"
    )
    arguments.add_argument(
        "--scan", action="store_true", help="batch norm takes the statistics of each scan"
    )
    arguments.add_argument("--batch", type=int, default=8, help="labelled patches of 32 voxels")
    arguments.add_argument("--rate", type=float, default=1.5e-3, help="peak of the learning rate")
    arguments.add_argument("--diagram", type=Path, help="PNG of the reliability diagram")
    arguments.add_argument("--real", type=Path, help="JSON of benchmarks/real.py, for the card")
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--no-baselines", action="store_true", help="skip the slower half")
    arguments.add_argument("--out", type=Path, default=starter_path())
    given = arguments.parse_args()
    maps = {path.name.split("_")[-1].split(".")[0]: path for path in given.anatomy.glob("*.nii.gz")}
    seen = [maps[key] for key in sorted(maps) if key not in TEST + VALIDATION]
    held_out = [subject_name(given.subjects - 1 - i) for i in range(4)]  # to watch the run
    study, run, known, test = (
        given.work / name for name in ("study", "run", "calibration", "test")
    )
    cohort(study, given.subjects, tuple(seen), SITES, SEED, given.jobs)
    for folder, keys, seed in ((known, VALIDATION, CALIBRATION_SEED), (test, TEST, TEST_SEED)):
        anatomies = tuple(maps[key] for key in keys)
        cohort(folder, len(TEST_SITES), anatomies, TEST_SITES, seed, given.jobs)
    if given.unlabelled:
        add_scans(given.unlabelled, study, {one.name for one in SUBJECTS} - set(JUDGED))
    weights = run / BEST
    if given.still:
        nn.BatchNorm3d.train = lambda norm, mode=True: nn.Module.train(norm, False)
    if (run / CHECKPOINT).exists():
        if status(run).state != "done":
            resume(run)
    else:
        config = TrainingConfig(
            study=study,
            method="m2ss" if given.unlabelled else "supervised-multi",
            teacher="inserted",
            epochs=given.epochs,
            weights=None if given.start == "none" else Path(given.start),
            warmup=0,
            learning_rate=given.rate,
            modality_dropout=0.5,
            validation=tuple(held_out),
            validate_every=8,
            average=0.995,
            statistics="scan" if given.scan else "auto",
            batch=given.batch,
        )
        train(config, run)
    model, card = load(weights)
    if given.blend < 1:
        blend(model, starter_path() if given.start == "starter" else Path(given.start), given.blend)
    if given.statistics:
        measure_statistics(model, given.statistics)
    weights = given.work / "calibrated.safetensors"
    save(weights, model, card.model_copy(update={"calibration": {}}))
    raw = Predictor(weights)
    found = {
        name: calibrate(scans(known, subjects_of(known), used), raw)
        for name, used in MODALITIES.items()
    }
    save(weights, model, with_calibration(model, card, found))
    predictor = Predictor(weights)
    print(json.dumps(found))
    compared = ("network",) if given.no_baselines else ("network", "frangi", "threshold")
    accuracy = {
        name: evaluate(test, used, predictor, compared) for name, used in MODALITIES.items()
    }
    print(json.dumps(accuracy, indent=2))
    if given.diagram:
        draw_reliability(accuracy, given.diagram)
    model, card = load(weights)
    about = {
        "data": f"{given.subjects} phantoms, seed {SEED}, sites {', '.join(SITES)}, on SynthSeg's "
        f"training label maps {', '.join(p.name.split('_')[-1][:2] for p in seen)} (Billot et al., "
        f"Apache-2.0). Labels by the rater's rule. Calibration: {len(TEST_SITES)} phantoms on map "
        f"{', '.join(VALIDATION)}, seed {CALIBRATION_SEED}, sites {', '.join(TEST_SITES)}",
        "command": command(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, no GPU",
        **(
            {"blend": f"{given.blend:g} of these weights, the rest the start's"}
            if given.blend < 1
            else {}
        ),
        **({"statistics": "of batch norm: of real scans"} if given.statistics else {}),
        **notes(run),
        **card.training,
    }
    about["config"] = about["config"] | {"study": "WORK/study"}
    measured = card.accuracy | {
        "test": f"{len(TEST_SITES)} phantoms, seed {TEST_SEED}, on maps {' and '.join(TEST)}, "
        f"sites {', '.join(TEST_SITES)}; mean over subjects",
        **accuracy,
    }
    changes = {"name": "starter", "training": about, "accuracy": measured}
    if given.real:
        measured["real"] = on_real_scans(given.real)
    save(given.out, model, card.model_copy(update=changes))


def cohort(
    out: Path,
    subjects: int,
    anatomy: tuple[Path, ...],
    sites: tuple[str, ...],
    seed: int,
    jobs: int,
) -> None:
    """Write a cohort unless it is there; every subject carries a label."""
    if not out.exists():
        config = PhantomConfig(
            subjects=subjects,
            labelled=subjects,
            anatomy=anatomy,
            sites=sites,
            seed=seed,
            jobs=jobs,
        )
        write_cohort(config, out)


def on_real_scans(path: Path) -> dict[str, Any]:
    """What ``benchmarks/real.py`` has measured of its first weights, in short."""
    of_first = next(iter(json.loads(path.read_text(encoding="utf-8"))["measured"].values()))
    out: dict[str, Any] = {"command": "python benchmarks/real.py --data DIR --json FILE"}
    for name, row in of_first["scans"].items():
        out[name] = {
            "visible_pvs_found": "{} of {}".format(*row["visible"]),
            "marks": row["marks"],
            "marks_with_visible_contrast": row["contrast"]["share"],
        }
    return out | {"agreement": of_first["agreement"]}


def notes(run: Path) -> dict[str, Any]:
    """Return what stands in ``notes.json`` of the run, if anything does."""
    path = run / "notes.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


Case = tuple[str, Scan, NDArray[np.bool_], NDArray[np.float32]]


def scans(study: Path, names: list[str], used: tuple[str, ...]) -> Iterator[Case]:
    """Load subjects with some modalities: name, scan, reference mask, share of PVS per voxel."""
    for name in names:
        files = {key: study / name / "anat" / f"{name}_{key.upper()}w.nii.gz" for key in used}
        truth = study / "derivatives" / TRUTH / name / "anat"
        reference = np.asanyarray(nib.load(truth / image(name, MASK)).dataobj) > 0
        fraction = nib.load(truth / image(name, PROBABILITY)).get_fdata(dtype=np.float32)
        yield name, load_scan(files.get("t1"), files.get("t2")), reference, fraction


def subjects_of(study: Path) -> list[str]:
    """Names of the subjects of a cohort."""
    return sorted(folder.name for folder in study.glob("sub-*"))


def calibrate(answers: Iterator[Case], predictor: Predictor) -> tuple[float, float]:
    """Find the slope and the offset of the logit on phantoms of the validation anatomy.

    Of the thresholds within .01 of the best mean DSC, the one that gives the true volume on average
    (geometric mean over subjects) becomes .5.
    """
    config = SegmentConfig()
    dsc, ratio, said, true = [], [], [], []
    for _, scan, reference, _ in answers:
        found, volume = segment_scan(scan, config, predictor).probability, scan.grid.voxel_volume
        masks = [components(found, t, scan.grid, config) > 0 for t in THRESHOLDS]
        dsc.append([overlap(mask, reference, volume).dsc for mask in masks])
        ratio.append([(mask.sum() + 1) / (reference.sum() + 1) for mask in masks])
        likely = found > 0.001
        said.append(found[likely])
        true.append(reference[likely])
    mean, away = np.mean(dsc, axis=0), np.abs(np.log(ratio).mean(axis=0))
    away[mean < mean.max() - 0.01] = np.inf
    middle = logit(float(THRESHOLDS[away.argmin()]))
    answer, label = logit(np.concatenate(said)), np.concatenate(true)
    errors = [calibration_error(expit(slope * (answer - middle)), label) for slope in SLOPES]
    slope = float(SLOPES[int(np.argmin(errors))])
    return slope, -slope * middle


def reliability(
    probability: NDArray[np.floating], label: NDArray[np.bool_]
) -> list[tuple[float, float, int]]:
    """Mean probability, share of PVS and number of voxels from `LEAST` on, in ten bins."""
    use = probability >= LEAST
    probability, label = probability[use], label[use]
    bins = np.minimum((10 * probability).astype(int), 9)
    rows = []
    for k in range(10):
        inside = bins == k
        if inside.any():
            mean, share = float(probability[inside].mean()), float(label[inside].mean())
            rows.append((round(mean, 4), round(share, 4), int(inside.sum())))
    return rows


def calibration_error(probability: NDArray[np.floating], label: NDArray[np.bool_]) -> float:
    """Expected calibration error (Guo et al., ICML 2017) over the bins of `reliability`."""
    rows = reliability(probability, label)
    return sum(n * abs(mean - share) for mean, share, n in rows) / max(sum(n for *_, n in rows), 1)


def draw_reliability(accuracy: dict[str, dict[str, Any]], out: Path) -> None:
    """Draw the share of PVS over the probability, for each set of modalities."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
    axis.plot([0, 1], [0, 1], color="grey", lw=1)
    for name, measured in accuracy.items():
        mean, share, _ = zip(*measured["network"]["reliability"], strict=True)
        axis.plot(mean, share, "o-", label=name)
    axis.set(xlabel="probability", ylabel="share of voxels that are PVS")
    axis.legend()
    figure.savefig(out, dpi=80)


def blend(model: M2SS, other: Path, share: float) -> None:
    """Make weights the mean of theirs, by ``share``, and others' (Wortsman et al., CVPR 2022).

    What was learnt from new phantoms is kept, and less is lost of what the others knew.
    """
    others = load(other)[0].state_dict()
    mean = {
        name: share * value + (1 - share) * others[name] if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(mean)


def measure_statistics(model: M2SS, data: Path, seed: int = 1) -> None:
    """Give batch norm the mean and variance that real scans have, T1 and T2 in equal shares.

    From 72 patches with the middle in the brain for each contrast, shared by its scans; layer by
    layer in one pass, as while training.
    """
    rng = np.random.default_rng(seed)
    people = [one for one in SUBJECTS if one.name not in JUDGED]
    batches = []
    for one in people:
        of_contrast = [other for other in people if bool(other.t1) == bool(one.t1)]
        person = Person(one, data / "real", [])
        person.read_scan()
        images = torch.from_numpy(np.stack([*person.scan.normalised()]))
        places = np.argwhere(person.scan.brain)
        for _ in range(18 // len(of_contrast)):
            drawn = []
            for place in places[rng.integers(len(places), size=4)]:
                low = np.clip(place - 24, 0, np.array(images.shape[1:]) - 48)
                drawn.append(images[(slice(None), *(slice(a, a + 48) for a in low))])
            batches.append(torch.stack(drawn).float())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
        nn.Module.train(norm)
    with torch.no_grad():
        for batch in batches:
            model(batch)
    model.eval()


def with_calibration(
    model: M2SS, card: ModelCard, found: dict[str, tuple[float, float]]
) -> ModelCard:
    """Fold the calibration for T1+T2 into the network's last layer; the card has the others."""
    slope, offset = found["T1+T2"]
    with torch.no_grad():
        model.head.weight *= slope
        model.head.bias.mul_(slope).add_(offset)
    others = {
        name: (a / slope, b - a / slope * offset)
        for name, (a, b) in found.items()
        if "+" not in name
    }
    return card.model_copy(update={"calibration": others, "threshold": 0.5, "thresholds": {}})


def evaluate(
    test: Path,
    used: tuple[str, ...],
    predictor: Predictor,
    compared: tuple[str, ...],
) -> dict[str, dict[str, Any]]:
    """Measure the network and the baselines on the test cohort with some modalities."""
    methods: dict[str, list[SubjectScore]] = {name: [] for name in compared}
    config = SegmentConfig()
    said, true = [], []
    for name, scan, reference, fraction in scans(test, subjects_of(test), used):
        best = ceiling(fraction, PhantomConfig().label_fraction).dsc
        for method, scores in methods.items():
            if method == "network":
                found = segment_scan(scan, config, predictor).probability
                limit = predictor.card.threshold
                said.append(found[scan.brain])
                true.append(reference[scan.brain])
            else:
                found, limit = baseline(scan, method, region(test, name))
            mask = components(found, limit, scan.grid, config) > 0
            one = score(mask, reference, scan.grid.voxel_size, subject=name, region=scan.brain)
            scores.append(replace(one, ceiling_dsc=best))
            print(f"{'+'.join(used)} {name} {method}: DSC {one.dsc:.3f}", flush=True)
    out: dict[str, dict[str, Any]] = {name: summary(scores) for name, scores in methods.items()}
    error = calibration_error(np.concatenate(said), np.concatenate(true))
    out["network"]["calibration_error"] = round(error, 4)
    out["network"]["reliability"] = reliability(np.concatenate(said), np.concatenate(true))
    return out


@cache
def region(test: Path, name: str) -> NDArray[np.bool_]:
    """Estimate where the baselines look, from T1 and T2, whatever they are then shown."""
    files = [test / name / "anat" / f"{name}_{kind}.nii.gz" for kind in ("T1w", "T2w")]
    scan = load_scan(*files)
    return search_region(scan.t1, scan.t2, scan.brain, scan.grid)


def summary(scores: list[SubjectScore]) -> dict[str, float]:
    """Mean and standard deviation of the main measures over subjects."""
    moments = summarise(scores).moments
    out = {}
    for key in MEASURES:
        if key in moments and moments[key].mean is not None:
            out[key] = round(float(moments[key].mean), 3)
            out[f"{key}_sd"] = round(float(moments[key].sd or 0), 3)
    return out


if __name__ == "__main__":
    main()
