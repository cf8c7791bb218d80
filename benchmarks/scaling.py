"""How the cost grows with the work: 1 to 64 subjects, 10 to 10,000 PVS, 128³ to 512³ voxels.

    python benchmarks/scaling.py --work WORK [--curves subjects pvs voxels]

Prints, for each line, seconds or MB by size and the exponent of the power of the size that fits
them: over all sizes, where what costs the same every time flattens it, and over the last step. Up
to 1.1 there counts as linear. Draws ``docs/images/scaling.png`` and keeps the numbers in
``results/``. Curves that are in WORK are not measured again, so that one can be measured at a time;
``--again`` measures those that are named anew. 512³ takes 8 GB of memory and 1 GB in WORK.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import records
from scaling_curves import pvs, subjects, voxels

CURVES: dict[str, Any] = {"subjects": subjects, "pvs": pvs, "voxels": voxels}
SIZES = {
    "subjects": [1, 2, 4, 8, 16, 32, 64],
    "pvs": [10, 30, 100, 300, 1000, 3000, 10_000],
    "voxels": [128, 192, 256, 384, 512],
}
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "scaling.png"
LINEAR = 1.1


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    arguments.add_argument("--most", type=int, help="leave out larger sizes (subjects, PVS, edge)")
    arguments.add_argument("--again", action="store_true", help="measure anew")
    given = arguments.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name, sizes in SIZES.items():
        path = given.work / f"{name}.json"
        if name in given.curves and (given.again or not path.exists()):
            wanted = [n for n in sizes if n <= (given.most or max(sizes))]
            path.write_text(json.dumps(CURVES[name](given.work, wanted)))
        if path.exists():
            found[name] = json.loads(path.read_text())
            show(name, found[name])
    if len(found) == len(CURVES) and not given.most:
        draw(found)
        print(PICTURE)
        print(records.keep("scaling", found))


def show(name: str, curve: dict[str, Any]) -> None:
    """Print the lines of a curve."""
    print("\n" + "\t".join([name, *map(str, curve["x"]), "exponent", "last step"]))
    for unit in ("seconds", "mb"):
        for line, values in curve.get(unit, {}).items():
            whole, last = exponents(curve["x"], values)
            worse = "\tmore than linear" if last > LINEAR else ""
            numbers = "\t".join(f"{value:.4g}" for value in values)
            print(f"{line}, {unit}\t{numbers}\t{whole:.2f}\t{last:.2f}{worse}", flush=True)


def exponents(x: list[int], y: list[float]) -> tuple[float, float]:
    """Slope of log y by log x: of a line through all points, and from the last but one on."""
    if len(x) < 2:
        return float("nan"), float("nan")
    a, b = np.log(x), np.log(np.maximum(y, 1e-6))
    return float(np.polyfit(a, b, 1)[0]), float((b[-1] - b[-2]) / (a[-1] - a[-2]))


def draw(found: dict[str, Any]) -> None:
    """Draw all lines, one picture a kind, with a line of exponent 1 beside them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = (
        ("subjects", "seconds", "Subjects of about 90³ voxels", "Seconds"),
        ("pvs", "seconds", "PVS in 176x192x240 voxels", "Seconds"),
        ("voxels", "seconds", "Voxels of the volume", "Seconds"),
        ("voxels", "mb", "Voxels of the volume", "Memory, MB"),
    )
    figure, places = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    for place, (name, unit, across, up) in zip(places.flat, panels, strict=True):
        x = np.array(found[name]["x"])
        lines = {k: v for k, v in found[name][unit].items() if k != "idle"}
        for line, values in lines.items():
            last = exponents(found[name]["x"], values)[1]
            place.loglog(x, values, "o-", markersize=4, label=f"{line} (exponent {last:.2f})")
        top = max(values[-1] for values in lines.values())
        place.loglog(x, top * 1.5 * x / x[-1], "k:", linewidth=1, label="linear")
        low = min(min(values) for values in lines.values())
        place.set_ylim(low / 2, top * 3)
        place.set(xlabel=across, ylabel=up)
        place.grid(alpha=0.3)
        place.legend(fontsize=8)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
