"""Segment the real scans, measure what can be measured on them, and draw the docs' pictures.

    python benchmarks/real_scans.py --data DIR [--out docs/images] [--weights FILE]

DIR holds ``ljubljana_p07_{T1,T2,wmlgt}.nii.gz`` (Lesjak et al. 2017, CC-BY) and
``openneuro_ds004230_PS11_norm.mgz`` with its aseg (CC0). There is no PVS reference for them:
printed are time and memory of the whole command, counts, the share of PVS voxels inside the
lesion mask, and where the PVS lie.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_pvs.inference import outputs
from napari_pvs.scans.atlas import fit_atlas
from napari_pvs.scans.scan import load_scan


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, help="folder for the pictures")
    arguments.add_argument("--weights", type=Path)
    given = arguments.parse_args()
    p07 = {kind: given.data / f"ljubljana_p07_{kind}.nii.gz" for kind in ("T1", "T2", "wmlgt")}
    ps11 = given.data / "openneuro_ds004230_PS11_norm.mgz"
    report("ljubljana_p07", p07["T1"], p07["T2"], p07["wmlgt"], given)
    report("openneuro_PS11", ps11, None, None, given)


def report(
    name: str, t1: Path, t2: Path | None, lesions: Path | None, given: argparse.Namespace
) -> None:
    """Segment one subject in a process of its own and print what was found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "napari_pvs", "segment", "--t1", str(t1)]
        command += ["--t2", str(t2)] if t2 else []
        command += ["--weights", str(given.weights)] if given.weights else []
        start = time.perf_counter()
        subprocess.run([*command, "--out", folder], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        found = json.loads((Path(folder) / outputs.SUMMARY).read_text(encoding="utf-8"))
        mask = ras(Path(folder) / outputs.MASK) > 0
        print(f"{name}: {seconds:.1f} s, {peak:.2f} GB at most, {found['count']} PVS, ", end="")
        print(f"{found['volume_mm3']:.0f} mm³, threshold {found['threshold']}")
        if lesions:
            share = mask[ras(lesions) > 0].sum() / max(1, mask.sum())
            print(f"  in lesions: {share:.1%} of the voxels")
        scan = load_scan(t1, t2)
        atlas = fit_atlas(scan.t1, scan.t2, scan.brain, scan.grid)
        where = {"basal ganglia and thalamus": atlas.deep_grey, "cerebrum": atlas.cerebrum}
        where["cerebellum and brainstem"] = atlas.infratentorial
        for region, voxels in where.items():
            print(f"  in {region}: {mask[voxels].sum() / max(1, mask.sum()):.1%} of the voxels")
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(folder) / outputs.OVERLAY, given.out / f"{name}.png")


def ras(path: Path) -> NDArray[np.floating]:
    """Read an image in RAS+ order."""
    return np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj)


if __name__ == "__main__":
    main()
