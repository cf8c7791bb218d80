"""The learning curve: what 1 to 64 labelled subjects of one site teach.

    python benchmarks/learning_curve.py --work WORK [--counts 1 4 10 64] [--draws 1] [--most 60]

Cropped heads of site A (`small.py`), labelled by the rater's rule; from random weights, labels
alone (``supervised-multi``), each run made longer until the last third of it has gained less than
.005 on two validation subjects (`headroom.py`), or to ``--most`` epochs. Tested on 8 others with
T1, with T2 and with both. Beside the mean DSC stand published ones of labelled real scans, for as
many subjects; the phantoms are to be as hard as life, within `WITHIN`.

Everything is resumable: what has been trained or measured stays in WORK. Points that an earlier run
of the same setting has kept in ``results/learning-curve.json`` are kept there, and not made again
unless ``--again``.
"""

import argparse
import json
from typing import Any

import numpy as np
import records
from headroom import SEEN, Setting, test_cohort, tested, trained

SITE = "same"
WITHIN = 0.08
PUBLISHED = (
    (10, "T1+T2", 0.56, "Chai et al. 2023, HCP-Aging, supervised multi-scale"),
    (64, "T2", 0.88, "MedNet-PVS, HCP-Aging, many labelled"),
    (64, "T1", 0.58, "MedNet-PVS, HCP-Aging, many labelled"),
)
"""Labelled subjects, what is seen, DSC and source."""


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[Setting.options(subjects=66, most=60)],
    )
    arguments.add_argument("--counts", nargs="+", type=int, default=[1, 2, 4, 10, 32, 64])
    arguments.add_argument("--draws", type=int, default=1, help="of who is labelled")
    arguments.add_argument("--again", action="store_true", help="measure kept points anew")
    given = arguments.parse_args()
    setting = Setting.of(given, scratch=True)
    about = vars(setting) | {"work": "WORK"}
    points = {} if given.again else kept(about)
    for count in given.counts:
        for draw in range(given.draws):
            name = f"{count} labelled, draw {draw}"
            if name not in points:
                points[name] = point(setting, count, draw)
                records.keep("learning-curve", {"setting": about, "points": points})
            print(f"{name}: {said(points[name])}", flush=True)
    for line in table(points):
        print(line)


def kept(about: dict[str, Any]) -> dict[str, Any]:
    """Points that an earlier run of the same setting has kept."""
    path = records.RESULTS / "learning-curve.json"
    if not path.exists():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))["measured"]
    return dict(before["points"]) if before["setting"] == about else {}


def point(setting: Setting, count: int, draw: int) -> dict[str, Any]:
    """Train on so many labelled subjects until it levels off, and test."""
    weights, epochs = trained(setting, SITE, count, "labelled", draw, setting.epochs)
    scores = tested(weights, test_cohort(setting, SITE))
    return {"steps": epochs * setting.steps, "scores": scores}


def said(point: dict[str, Any]) -> str:
    """Return DSC and AVD of a point in words."""
    parts = []
    for seen in SEEN:
        dsc = np.array(point["scores"][seen]["dsc"])
        avd = np.mean([v for v in point["scores"][seen]["avd"] if v is not None])
        parts.append(f"{seen} DSC {dsc.mean():.3f} ± {dsc.std(ddof=1):.3f}, AVD {avd:.0f} %")
    return f"{point['steps']} steps; " + "; ".join(parts)


def table(points: dict[str, Any]) -> list[str]:
    """Return a line for each published figure, beside the mean of ours."""
    lines = []
    for count, seen, dsc, source in PUBLISHED:
        ours = [
            np.mean(found["scores"][seen]["dsc"])
            for name, found in points.items()
            if name.startswith(f"{count} labelled")
        ]
        if ours:
            gap = float(np.mean(ours)) - dsc
            lines.append(
                f"{count} labelled, {seen}: {np.mean(ours):.3f}, published {dsc:.2f} ({source}): "
                f"{gap:+.3f}, {'within' if abs(gap) <= WITHIN else 'not within'} {WITHIN}"
            )
    return lines


if __name__ == "__main__":
    main()
