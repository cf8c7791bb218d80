"""The network for clicks: a process without Qt that stays ready for one scan.

``python -m napari_pvs.widgets.local_service FOLDER`` reads ``FOLDER/request.json`` (``scan``,
``weights``, ``device``), warms the network up and says ``{"type": "ready"}``. Each line on stdin,
``{"id": 1, "point": [x, y, z]}``, a voxel of the scan's grid, is answered by one line of JSON,
``{"type": "evidence", "id": 1, "box": [[0, 40], [8, 48], [0, 40]]}``, and the probability of that
box as raw float32. It ends when its stdin closes, so it never outlives napari.
"""

import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from napari_pvs.errors import InputError
from napari_pvs.widgets import exchange
from napari_pvs.widgets.service import REQUEST


def main(folder: Path) -> int:
    """Answer until stdin closes; return the exit code."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries that print must not disturb the answers
    warnings.simplefilter("ignore")
    try:
        request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
        serve(request, sys.stdin.buffer, out)
    except InputError as error:
        _say(out, type="error", text=str(error))
        return 2
    except OSError as error:
        traceback.print_exc()
        where = error.filename or folder
        text = f"{where} cannot be used ({error.strerror}); make room or allow access."
        _say(out, type="error", text=text)
        return 2
    return 0


def serve(request: dict[str, Any], questions: BinaryIO, out: BinaryIO) -> None:
    """Load the scan and the network, then answer each line."""
    import torch

    from napari_pvs.inference.evidence import network_edges, network_pass, window
    from napari_pvs.inference.predictor import Predictor

    weights = request.get("weights")
    predictor = Predictor(None if weights is None else Path(weights), request["device"])
    # a small window gains little from more; beside a training that uses every core, threads that
    # wait for each other took four times as long
    torch.set_num_threads(1)
    scan = exchange.load_scan(Path(request["scan"]))
    images, brain, size = scan.normalised(), scan.brain, scan.grid.voxel_size
    edges = network_edges(size, predictor.card.voxel_size_mm)

    def answer(point: tuple[int, int, int]) -> tuple[Any, Any]:
        box = window(point, scan.grid.shape, edges)
        return box, network_pass(predictor, images[(slice(None), *box)], brain[box], size)

    middle = [n // 2 for n in scan.grid.shape]
    answer((middle[0], middle[1], middle[2]))  # kernels are chosen at the first pass
    _say(out, type="ready", weights_id=predictor.weights_id)
    for line in questions:
        question = json.loads(line)
        x, y, z = question["point"]
        box, found = answer((x, y, z))
        sides = [[side.start, side.stop] for side in box]
        values = np.ascontiguousarray(found, "<f4").tobytes()
        _say(out, values, type="evidence", id=question["id"], box=sides)


def _say(out: BinaryIO, values: bytes = b"", **message: Any) -> None:
    out.write(json.dumps(message).encode() + b"\n" + values)
    out.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
