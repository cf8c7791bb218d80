"""What adapting without labels does to real scans: visible PVS found, and T1 against T2.

    python benchmarks/adapt_real.py --data DIR --work WORK [--sites p07 m2307 all] [--teachers ...]
        [--within tissue|brain] [--synthetic N] [--seeds 1] [--json FILE]

The starter weights are adapted (``napari-pvs train STUDY --recipe adapt --method m2ss``, no label
at all) to the scans of ``DIR/real``: to one person's alone, or to all persons' together. Then
`real.py` judges the weights before and after on the person's scans by what can be seen, and prints
its tables, with a row for each teacher and seed below the starter weights'. Resumable: runs stay in
WORK.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nibabel as nib
from real import SUBJECTS
from records import command, machine
from small import go_on

from napari_pvs.errors import InputError
from napari_pvs.network.weights import fingerprint, starter_path
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.folder import BEST

ALL = "all"
JUDGED = ("m2307", "p07")
"""Persons with PVS that were picked by eye."""


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--sites", nargs="+", default=["p07", "m2307", ALL])
    arguments.add_argument("--teachers", nargs="+", default=["mean", "inserted", "privileged",
                           "inserted-privileged"])  # fmt: skip
    arguments.add_argument("--within", default="tissue", choices=["tissue", "brain"])
    arguments.add_argument("--synthetic", type=int, help="subjects; the product's own number")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    work = given.work.absolute()
    found: dict[str, Any] = {}
    for site in given.sites:
        names = [one.name for one in SUBJECTS] if site == ALL else [site]
        folder = study(given.data, work / f"study-{site}", names)
        weights, seconds = {}, {}
        for teacher in given.teachers:
            for seed in range(given.seeds):
                name, begun = name_of(site, teacher, seed, given), time.monotonic()
                weights[name] = adapted(folder, work, name, teacher, seed, given)
                seconds[name] = time.monotonic() - begun
        judged = JUDGED if site == ALL else (site,)
        found[site] = {"seconds": seconds, **judge(given.data, work, site, weights, judged)}
    if given.json:
        about = {"command": command(), "machine": machine()}
        given.json.write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")


def name_of(site: str, teacher: str, seed: int, given: argparse.Namespace) -> str:
    """Name a run."""
    synthetic = "" if given.synthetic is None else f"-{given.synthetic}-synthetic"
    return f"{site}-{teacher}-{given.within}{synthetic}-{seed}"


def study(data: Path, folder: Path, names: Collection[str]) -> Path:
    """Put persons' scans into a BIDS dataset."""
    for one in SUBJECTS:
        if one.name not in names:
            continue
        anat = folder / f"sub-{one.name}" / "anat"
        anat.mkdir(parents=True, exist_ok=True)
        for name, kind in ((one.t1, "T1w"), (one.t2, "T2w")):
            if name:
                image = nib.load(data / "real" / name)
                path = anat / f"sub-{one.name}_{kind}.nii.gz"
                nib.save(nib.Nifti1Image(image.get_fdata("unchanged"), image.affine), path)
    return folder


def adapted(
    folder: Path, work: Path, name: str, teacher: str, seed: int, given: argparse.Namespace
) -> Path | None:
    """Return weights adapted to a study; None where the run kept those it began with."""
    out = work / name
    kept = work / f"{name}.safetensors"
    if not kept.exists():
        config = TrainingConfig(
            study=folder,
            recipe="adapt",
            method="m2ss",
            teacher=teacher,
            seed=seed,
            epochs=given.epochs,
            within=given.within,
            **({} if given.synthetic is None else {"synthetic": given.synthetic}),
        )
        try:
            go_on(config, out)
        except InputError as error:
            print(f"{name}: {error}", flush=True)
        if not (out / BEST).exists():
            return None
        shutil.copy(out / BEST, kept)
    return kept


def judge(
    data: Path, work: Path, site: str, weights: dict[str, Path | None], judged: tuple[str, ...]
) -> dict[str, Any]:
    """Let `real.py` judge the starter weights and those of the runs."""
    answer = work / f"real-{site}.json"
    given = [f"--weights={path}" for path in weights.values() if path]
    here = Path(__file__).parent
    call = [sys.executable, here / "real.py", "--data", data, f"--weights={starter_path()}",
               *given, "--alone", "--scans", *judged, "--cache", work / "cache",
               "--json", answer]  # fmt: skip
    (work / "cache").mkdir(exist_ok=True)
    subprocess.run(list(map(str, call)), check=True)
    ids = {name: fingerprint(path) for name, path in weights.items() if path}
    return {"weights": ids, "measured": json.loads(answer.read_text(encoding="utf-8"))["measured"]}


if __name__ == "__main__":
    main()
