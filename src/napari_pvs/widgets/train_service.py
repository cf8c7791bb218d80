"""The Train dock's other half: the helper process of `service`, with verbs of its own."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_pvs.errors import InputError
from napari_pvs.widgets import exchange, service
from napari_pvs.widgets.service import Say


def plan(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Tell what a run with ``config`` would use and cost."""
    from napari_pvs.training.config import TrainingConfig
    from napari_pvs.widgets.train_plan import plan as make

    return asdict(make(TrainingConfig(**request["config"])))


def improve(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Segment anew, as `service.segment`, and tell what is other than in the mask ``before``."""
    from napari_pvs.network.weights import fingerprint, read
    from napari_pvs.scans.grid import Grid
    from napari_pvs.widgets.scoring import agreement

    path = Path(request["config"]["weights"])
    answer = service.segment(request, folder, say)
    card = read(path)[1]
    if fingerprint(path) == answer["weights_id"]:  # else even better ones came meanwhile
        answer["dsc"] = card.accuracy.get("validation", {}).get("dsc")
    if (folder / "before.npy").is_file():
        scan = exchange.load_scan(Path(request["scan"]))
        before, now = (exchange.load_array(folder, name) for name in ("before", "mask"))
        grid: Grid = scan.grid
        found = agreement(now, before, grid.voxel_volume)
        answer["changes"] = {
            "added": len(found.false),
            "removed": len(found.missed),
            "before_mm3": found.voxels.volume_reference_mm3,
            "now_mm3": found.voxels.volume_predicted_mm3,
        }
    return answer


def histories(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Read the runs of ``study``: a row for each, with its curves."""
    from napari_pvs.training import curves, runs

    for path in runs.runs(Path(request["study"])):
        try:
            watch = runs.seen(path)
        except InputError:  # it is told where that run is chosen
            continue
        past = watch.history
        say(
            "row",
            name=path.name,
            cells=curves.row(watch),
            loss=list(past.loss.items()),
            validation=[
                [epoch, *(one[key] for key in ("dsc", "avd_percent", "recall"))]
                for epoch, one in past.validation.items()
            ],
        )
    return {"header": curves.HEADER}


service.VERBS.update({f.__name__: f for f in (plan, improve, histories)})

if __name__ == "__main__":
    sys.exit(service.main(Path(sys.argv[1])))
