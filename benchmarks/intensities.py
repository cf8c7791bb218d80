"""Print how far the intensities of a study spread, as weights trained on it have seen them.

``python benchmarks/intensities.py STUDY`` prints the least and the greatest of each of
`scans.intensity.PERCENTILES` over the subjects of a study, by modality: what
`report.trust.TRAINING` has for the starter weights, of the study that ``benchmarks/starter.py``
makes. ``--every N`` looks at one subject of N.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from napari_pvs.scans.intensity import normalise, percentiles
from napari_pvs.scans.nifti import read_labels, read_volume
from napari_pvs.study.bids import survey


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"T1": [], "T2": []}
    for subject in survey(given.study).found[:: given.every]:
        if subject.brain is None:
            raise SystemExit(f"{subject.name} has no brain mask")
        brain = np.asarray(read_labels(subject.brain).data) > 0
        for name, path in (("T1", subject.t1), ("T2", subject.t2)):
            if path is not None:
                found[name].append(percentiles(normalise(read_volume(path).data, brain)[brain]))
        print(subject.name, flush=True)
    for name, rows in found.items():
        if rows:
            ranges = {
                key: [round(f(row[key] for row in rows), 2) for f in (min, max)] for key in rows[0]
            }
            print(name, len(rows), json.dumps(ranges))


if __name__ == "__main__":
    main()
