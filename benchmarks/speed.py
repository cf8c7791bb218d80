"""Seconds and memory to segment a volume, ours beside the field's, and beside the machine's limit.

    python benchmarks/speed.py --work WORK [--repeats 3] [--nnunet PYTHON] [--t1 T1 --t2 T2]

Volumes: a phantom of 176x192x240 voxels at 0.8 mm, the same head with half and with twice as many
voxels and, where given, a real scan. Contenders run one after the other, each in a process of its
own, on the same normalised images with the same network and weights (nnU-Net: its own planned
network), and with as many threads:

- ours: ``fast`` windows by each backend, and the ``paper``'s grid, in the precision that is chosen
  for this processor and in full precision;
- MONAI's sliding_window_inference (32³, overlap .5, Gaussian, the best of three batch sizes), on
  the whole volume as it is used, under bfloat16 autocast, compiled, and on the brain's box only;
- TorchIO's GridSampler and GridAggregator, with the same patches, the best of three batch sizes;
- nnU-Net v2's predictor without mirroring (``--nnunet``: the Python of an environment that has it);
- the whole command ``napari-pvs segment``, from files to files.

The limit is one pass over the brain's voxels at the measured peak of matrix products. Prints
median, range, ratio to ours, peak memory and DSC; keeps them in ``results/``. What was measured is
kept in WORK too, and not measured again: a run that was stopped goes on, and one can be done in
parts (``--volumes whole``, ``--contenders MONAI``). ``--again`` measures anew.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import processes
import records
from contenders import OURS, PEERS
from numpy.typing import NDArray

EDGES = {"half": 1.008, "whole": 0.8, "double": 0.635}
COMMAND = "whole command"
HERE = Path(__file__).parent


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--volumes", nargs="*", default=list(EDGES))
    arguments.add_argument("--contenders", nargs="+", default=[*OURS, *PEERS, COMMAND])
    arguments.add_argument("--nnunet", type=Path, help="Python of an environment with nnunetv2")
    arguments.add_argument("--t1", type=Path)
    arguments.add_argument("--t2", type=Path)
    arguments.add_argument("--again", action="store_true", help="measure anew")
    given = arguments.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rates = peaks(given)
    print(f"network {flop_per_voxel() / 1e3:.0f} kFLOP/voxel; peak of matrix products, GFLOP/s:")
    print(", ".join(f"{kind} {rate / 1e9:.0f}" for kind, rate in rates.items()), flush=True)
    volumes = {name: phantom(given.work, name) for name in given.volumes}
    if given.t1 or given.t2:
        name = (given.t1 or given.t2).name.split(".")[0]
        volumes[name] = real(given, name)
    kept: dict[str, Any] = {"matmul_peak": rates, "flop_per_voxel": flop_per_voxel()}
    for name, scans in volumes.items():
        kept[name] = compare(name, scans, given, rates)
    print(records.keep("speed", kept))


def compare(
    name: str, scans: dict[str, Path], given: argparse.Namespace, rates: dict[str, float]
) -> dict[str, Any]:
    """Let all contenders segment one volume, and print the table."""
    brain = np.load(given.work / f"{name}.npz")["brain"]
    inside = int(brain.sum())
    limits = {kind: inside * flop_per_voxel() / rate for kind, rate in rates.items()}
    shape = "x".join(map(str, brain.shape))
    said = ", ".join(f"{seconds:.2f} s ({kind})" for kind, seconds in limits.items())
    print(f"\n{name}: {shape}, {inside / 1e6:.2f} M voxels of brain, limit {said}")
    names = [*given.contenders, *(["nnU-Net"] if given.nnunet else [])]
    rows: dict[str, Any] = {}
    for contender in names:
        rows[contender] = kept_row(contender, name, scans, given)
        print(f"  {contender}: {words(rows[contender])}", file=sys.stderr, flush=True)
    medians = {k: statistics.median(row["seconds"]) for k, row in rows.items() if "seconds" in row}
    ours = min((medians[k] for k in OURS if k in medians), default=float("nan"))
    print("contender\tmedian s\trange\tratio to ours\tpeak MB\tDSC\tnote")
    for contender, row in rows.items():
        if contender not in medians:
            print(contender, row["failed"], sep="\t")
            continue
        print(
            contender,
            f"{medians[contender]:.2f}",
            f"{min(row['seconds']):.2f}-{max(row['seconds']):.2f}",
            f"{medians[contender] / ours:.2f}",
            f"{row['peak_mb']:.0f}",
            f"{row['dsc']:.4f}" if row.get("dsc") is not None else "-",
            row.get("note", ""),
            sep="\t",
            flush=True,
        )
    ratios = ", ".join(f"{ours / seconds:.2f} ({kind})" for kind, seconds in limits.items())
    print(f"ours / limit: {ratios}")
    return {"limit": limits, "brain_voxels": inside, "shape": shape, "rows": rows}


def words(row: dict[str, Any]) -> str:
    """A row in short, while the others run."""
    return row.get("failed") or ", ".join(f"{seconds:.2f}" for seconds in row["seconds"]) + " s"


def kept_row(
    contender: str, name: str, scans: dict[str, Path], given: argparse.Namespace
) -> dict[str, Any]:
    """What was measured before, or is now; a failure is tried again."""
    path = given.work / "rows" / f"{name}, {contender}.json"
    if path.exists() and not given.again:
        kept: dict[str, Any] = json.loads(path.read_text())
        if len(kept["seconds"]) >= given.repeats:
            return kept
    row = measure(contender, name, scans, given)
    if "failed" not in row:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(row))
    return row


def measure(
    contender: str, name: str, scans: dict[str, Path], given: argparse.Namespace
) -> dict[str, Any]:
    """Measure one contender in a process of its own."""
    volume, repeats = str(given.work / f"{name}.npz"), str(given.repeats)
    if contender == "nnU-Net":
        work = str(given.work / f"nnunet-{name}")
        helper = str(HERE / "nnunet_predictor.py")
        return processes.ask([str(given.nnunet), helper, volume, work, repeats])
    if contender != COMMAND:
        helper = str(HERE / "contenders.py")
        return processes.ask([sys.executable, helper, contender, volume, repeats])
    command = [sys.executable, "-m", "napari_pvs", "segment", "--overwrite"]
    command += [word for key, path in scans.items() for word in (f"--{key}", str(path))]
    command += ["--out", str(given.work / f"out-{name}")]
    runs = [processes.timed(command) for _ in range(given.repeats + 1)]  # the first warms the disk
    failed = next((run for run in runs if "failed" in run), None)
    seconds = [run.get("seconds") for run in runs[1:]]
    return failed or {"seconds": seconds, "peak_mb": max(run["peak_mb"] for run in runs)}


def phantom(work: Path, name: str) -> dict[str, Path]:
    """Make the head of seed 9300 in the voxel size of a name, unless it is there."""
    from napari_pvs.phantom.cohort import make
    from napari_pvs.phantom.config import PhantomConfig
    from napari_pvs.phantom.sites import SITES
    from napari_pvs.scans.nifti import Geometry, write_like
    from napari_pvs.scans.scan import Scan

    scans = {key: work / f"{name}_{key}.nii.gz" for key in ("t1", "t2")}
    if not all(path.exists() for path in (work / f"{name}.npz", *scans.values())):
        edge = EDGES[name]
        SITES["benchmark"] = SITES["A"].model_copy(update={"voxel_size": ((edge, edge),) * 3})
        config = PhantomConfig(subjects=1, labelled=0, seed=9300, sites=("benchmark",))
        subject = make(config, 0)
        like = Geometry.from_affine(subject.t1.shape, subject.affine)
        for key, image in (("t1", subject.t1), ("t2", subject.t2)):
            write_like(scans[key], np.rint(image).astype(np.int32), like)
        scan = Scan.from_arrays(subject.t1, subject.t2, subject.affine, brain=subject.brain)
        save(work / f"{name}.npz", scan, subject.instances > 0)
    return scans


def real(given: argparse.Namespace, name: str) -> dict[str, Path]:
    """Prepare a real scan; there is no truth."""
    from napari_pvs.scans.scan import load_scan

    scan = load_scan(given.t1, given.t2)
    save(given.work / f"{name}.npz", scan, np.zeros(scan.brain.shape, bool))
    return {key: path for key, path in (("t1", given.t1), ("t2", given.t2)) if path}


def save(path: Path, scan: Any, truth: NDArray[np.bool_]) -> None:
    """Keep what contenders read."""
    from napari_pvs.inference.predictor import interior

    size = np.array(scan.grid.voxel_size)
    brain = interior(scan.brain, scan.grid.voxel_size)
    np.savez(path, images=scan.normalised(), brain=brain, truth=truth, voxel_size=size)


def peaks(given: argparse.Namespace) -> dict[str, float]:
    """Operations a second of matrix products, the best of all runs in WORK, ten each."""
    import torch

    path = given.work / "peaks.json"
    best: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    size = 2048
    for kind in ("float32", "bfloat16"):
        one, two = (torch.randn(size, size).to(getattr(torch, kind)) for _ in range(2))
        for _ in range(10):
            begun = time.perf_counter()
            torch.mm(one, two)
            rate = 2 * size**3 / (time.perf_counter() - begun)
            best[kind] = max(best.get(kind, 0.0), rate)
    path.write_text(json.dumps(best))
    return best


def flop_per_voxel() -> float:
    """Operations of one pass, counted by torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from napari_pvs.network.weights import load, starter_path

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        load(starter_path())[0].eval()(torch.zeros(1, 2, 64, 64, 64))
    return counter.get_total_flops() / 64**3


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
