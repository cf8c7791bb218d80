"""The network behind clicks: a process without Qt that stays ready for one scan.

``python -m napari_pvs.jobs.clicks FOLDER`` reads a `protocol.ServeClicks` from the folder, warms
up the network and sends `Ready`. Each line on stdin is a `Question`; the answer is an `Evidence`,
followed by the probabilities of its box as raw float32. The process ends when its stdin closes, so
it never outlives napari.
"""

import sys
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import (
    Evidence,
    Ready,
    Request,
    Say,
    ServeClicks,
    answer,
    decode_question,
)
from napari_pvs.scans.masks import Box


def main(folder: Path) -> int:
    """Answer questions until stdin closes; return the exit code."""
    return answer(folder, partial(serve, questions=sys.stdin.buffer))


def serve(request: Request, say: Say, questions: BinaryIO) -> None:
    """Load the scan and the network, then answer each line."""
    import torch

    from napari_pvs.correction.evidence import network_edges, window
    from napari_pvs.inference.predictor import Predictor

    if not isinstance(request, ServeClicks):
        raise TypeError(f"this process does not serve {type(request).__name__}")
    predictor = Predictor(request.weights, request.device)
    # a small window gains little from more threads; next to a training run that keeps every core
    # busy, threads waiting for each other made it four times slower
    torch.set_num_threads(1)
    scan = exchange.load_scan(request.scan)
    predictor = predictor.for_scan(scan)
    images = scan.normalised()
    edges = network_edges(scan.grid.voxel_size, predictor.card.voxel_size_mm)

    def look(point: tuple[int, int, int]) -> tuple[Box, NDArray[np.float32]]:
        box = window(point, scan.grid.shape, edges)
        crop = images[(slice(None), *box)]
        return box, predictor.predict_on(scan.grid.cropped(box), crop, scan.brain[box])

    i, j, k = (n // 2 for n in scan.grid.shape)
    look((i, j, k))  # the first pass is slow, as it chooses kernels
    say(Ready(predictor.weights_id))
    for line in questions:
        question = decode_question(line)
        box, found = look(question.point)
        x, y, z = ((side.start, side.stop) for side in box)
        values = np.ascontiguousarray(found, "<f4").tobytes()
        say(Evidence(question.id, (x, y, z), len(values)), values)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
