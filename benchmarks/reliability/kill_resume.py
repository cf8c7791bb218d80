"""Kill a training run with SIGKILL at random moments, resume it, and compare with one never killed.

    python benchmarks/reliability/kill_resume.py --kills 20

Prints, for both methods of labels alone and with unlabelled scans, the moment of every kill and
whether all tensors of the last checkpoint (weights, running mean, optimiser) have equal bits.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from safetensors.torch import load_file

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.folder import CHECKPOINT, CONFIG, EVENTS

AFFINE = np.diag([0.8, 0.8, 0.8, 1])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        study(root / "study", rng)
        for method in ("supervised-multi", "m2ss"):
            compare(root, method, given.kills // 2, rng)


def compare(root: Path, method: str, kills: int, rng: np.random.Generator) -> None:
    """Train twice, once with kills."""
    config = TrainingConfig(
        study=root / "study",
        method=method,
        epochs=3 * kills,
        steps=4,
        batch=2,
        patch=(16,),
        warmup=2,
        refresh=2,
        unlabelled_batch=2,
        validate_every=3,
        device="cpu",
    )
    whole, killed = (root / f"{method}-{name}" for name in ("whole", "killed"))
    for run in (whole, killed):
        run.mkdir()
        (run / CONFIG).write_text(config.model_dump_json())
    start(whole).wait()
    process, done = start(killed), 0
    while done < kills:
        seen = lines(killed)
        wanted = seen + int(rng.integers(3, 14))
        while lines(killed) < wanted and process.poll() is None:
            time.sleep(0.002)
        if process.poll() is not None:
            break
        time.sleep(float(rng.random()) * 0.1)
        process.kill()
        process.wait()
        done += 1
        last = json.loads((killed / EVENTS).read_text().rstrip("\n").split("\n")[-2])
        print(
            f"{method}: kill {done} after event {last['type']} {last.get('step', '')}", flush=True
        )
        process = start(killed, resume=(killed / CHECKPOINT).exists() or lines(killed) > 0)
    process.wait()
    one, two = load_file(whole / CHECKPOINT), load_file(killed / CHECKPOINT)
    same = one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    print(f"{method}: {done} kills, {len(one)} tensors, bit-identical: {same}", flush=True)


def start(run: Path, resume: bool = False) -> "subprocess.Popen[bytes]":
    """Start or resume a run in its own process."""
    command = [sys.executable, "-m", "napari_pvs", "train", str(run)]
    return subprocess.Popen(command + ["--resume"] * resume, stderr=subprocess.DEVNULL)


def lines(run: Path) -> int:
    """Count the events of a run."""
    path = run / EVENTS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def study(root: Path, rng: np.random.Generator) -> None:
    """Write five small heads, three of them labelled."""
    shape = (28, 30, 32)
    for number in range(1, 6):
        name = f"sub-{number:02d}"
        label = np.zeros(shape, np.uint8)
        for _ in range(8):
            x, y, z = rng.integers(7, 20, 3)
            label[x : x + 2, y : y + 2, z : z + 6] = 1
        brain = np.zeros(shape, np.uint8)
        brain[2:-2, 2:-2, 2:-2] = 1
        t1 = (100 - 60 * label + rng.normal(0, 5, shape)) * brain
        t2 = (100 + 150 * label + rng.normal(0, 5, shape)) * brain
        files = {
            f"{name}/anat/{name}_T1w": t1.astype(np.float32),
            f"{name}/anat/{name}_T2w": t2.astype(np.float32),
            f"derivatives/masks/{name}/anat/{name}_desc-brain_mask": brain,
        }
        if number <= 3:
            files[f"derivatives/labels/{name}/anat/{name}_desc-pvs_mask"] = label
        for path, data in files.items():
            file = root / f"{path}.nii.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(data, AFFINE), file)


if __name__ == "__main__":
    main()
