"""The network for clicks: a process without Qt that stays ready for one scan.

``python -m napari_pvs.jobs.clicks FOLDER`` reads ``FOLDER/request.json`` (``scan``,
``weights``, ``device``), warms the network up and says ``{"type": "ready"}``. Each line on stdin,
``{"id": 1, "point": [x, y, z]}``, a voxel of the scan's grid, is answered by one line of JSON,
``{"type": "evidence", "bytes": 256000, "id": 1, "box": [[0, 40], [8, 48], [0, 40]]}``, and the
probability of that box as raw float32. It ends when its stdin closes, so it never outlives napari.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import Say, answer


def main(folder: Path) -> int:
    """Answer until stdin closes; return the exit code."""
    return answer(folder, partial(serve, questions=sys.stdin.buffer))


def serve(request: dict[str, Any], say: Say, questions: BinaryIO) -> None:
    """Load the scan and the network, then answer each line."""
    import torch

    from napari_pvs.correction.evidence import network_edges, network_pass, window
    from napari_pvs.inference.predictor import Predictor

    weights = request.get("weights")
    predictor = Predictor(None if weights is None else Path(weights), request["device"])
    # a small window gains little from more; beside a training that uses every core, threads that
    # wait for each other took four times as long
    torch.set_num_threads(1)
    scan = exchange.load_scan(Path(request["scan"]))
    images, brain, size = scan.normalised(), scan.brain, scan.grid.voxel_size
    edges = network_edges(size, predictor.card.voxel_size_mm)

    def look(point: tuple[int, int, int]) -> tuple[Any, Any]:
        box = window(point, scan.grid.shape, edges)
        return box, network_pass(predictor, images[(slice(None), *box)], brain[box], size)

    middle = [n // 2 for n in scan.grid.shape]
    look((middle[0], middle[1], middle[2]))  # kernels are chosen at the first pass
    say("ready", weights_id=predictor.weights_id)
    for line in questions:
        question = json.loads(line)
        x, y, z = question["point"]
        box, found = look((x, y, z))
        sides = [[side.start, side.stop] for side in box]
        values = np.ascontiguousarray(found, "<f4").tobytes()
        say("evidence", values, id=question["id"], box=sides)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
