"""Time and memory of finding the files of a large BIDS dataset: ours, bids2table, ancpbids.

    pip install bids2table ancpbids
    python benchmarks/indexing.py

The scans are empty, so that only the tree is measured: T1, T2 and brain mask of each subject, and a
label for one in ten. Ours also finds masks, labels and their revisions, and refuses what does not
fit; theirs only list T1 and T2. Each runs in a process of its own, three times on a tree that the
system has in memory; the median is kept.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import processes
import records


def ours(root: Path) -> int:
    from napari_pvs.study.bids import survey

    return sum((one.t1 is not None) + (one.t2 is not None) for one in survey(root).found)


def one_subject(root: Path) -> int:
    """Find what a job of `napari-pvs run --participant-label` needs."""
    from napari_pvs.study.bids import Selection, survey

    (one,) = survey(root, Selection((next(root.glob("sub-*")).name,))).found
    return (one.t1 is not None) + (one.t2 is not None)


def bids2table(root: Path) -> int:
    from bids2table import index_dataset

    table = index_dataset(root)
    return sum(suffix in ("T1w", "T2w") for suffix in table["suffix"].to_pylist())


def ancpbids(root: Path) -> int:
    from ancpbids import BIDSLayout

    layout = BIDSLayout(str(root))
    return len(layout.get(scope="raw", suffix=["T1w", "T2w"], return_type="filename"))


WAYS = {
    "survey": ours,
    "survey of one": one_subject,
    "bids2table": bids2table,
    "ancpbids": ancpbids,
}


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--subjects", type=int, default=5000)
    arguments.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.way:
        print(json.dumps(measured(given.way, given.root)))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = make(Path(folder), given.subjects)
        for way in WAYS:
            rows.append({"way": way, **three(way, root)})
            print(rows[-1])
    print(records.keep("indexing", {"subjects": given.subjects, "rows": rows}))


def three(way: str, root: Path) -> dict[str, Any]:
    if not way.startswith("survey") and importlib.util.find_spec(way) is None:
        return {"failed": "not installed"}
    command = [sys.executable, __file__, "--way", way, "--root", str(root)]
    runs = []
    for _ in range(3):
        found = processes.ask(command)
        if "failed" in found:
            return found
        runs.append(found | {"peak_mb": processes.timed(command)["peak_mb"]})
    return {key: round(median(run[key] for run in runs), 2) for key in runs[0]}


def measured(way: str, root: Path) -> dict[str, Any]:
    """Seconds to import, seconds to index, number of scans found."""
    begun = time.perf_counter()
    if way.startswith("survey"):
        import napari_pvs.study.bids  # noqa: F401
    else:
        __import__(way)
    imported = time.perf_counter()
    scans = WAYS[way](root)
    seconds = time.perf_counter() - imported
    return {"import_s": imported - begun, "index_s": seconds, "scans": scans}


def make(root: Path, subjects: int) -> Path:
    """Write the tree."""
    (root / "dataset_description.json").write_text(
        '{"Name": "tree", "BIDSVersion": "1.11.0", "DatasetType": "raw"}'
    )
    for at in range(subjects):
        name = f"sub-{at:05d}"
        files = [f"{name}/anat/{name}_{kind}.nii.gz" for kind in ("T1w", "T2w")]
        files.append(f"derivatives/masks/{name}/anat/{name}_desc-brain_mask.nii.gz")
        if at % 10 == 0:
            files.append(f"derivatives/labels/{name}/anat/{name}_label-PVS_mask.nii.gz")
        for file in files:
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


if __name__ == "__main__":
    main()
