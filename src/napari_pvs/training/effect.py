"""What the unlabelled scans of a run changed: the PVS that is found in them, before and after."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.network.device import Precision
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.distributed.world import ALONE, World
from napari_pvs.training.whole_scan import reader

MOST = 12
"""Unlabelled scans that are looked at."""
_REMEDY = "remove it, and resume the run"
log = logging.getLogger(__name__)


class Effect(BaseModel):
    """PVS found in unlabelled scans, in mm³ by scan.

    Attributes
    ----------
    before
        By the weights just before the run was first trained on unlabelled scans.
    after
        By the weights that were kept; empty until the end.
    """

    before: dict[str, float] = {}
    after: dict[str, float] = {}

    @property
    def means(self) -> tuple[float, float, int] | None:
        """Mean before and after, and of how many scans; None where there are none in both."""
        both = self.before.keys() & self.after.keys()
        if not both:
            return None
        before, after = (
            float(np.mean([found[name] for name in sorted(both)]))
            for found in (self.before, self.after)
        )
        return before, after, len(both)


def looked_at(scans: Sequence[PreparedSubject]) -> list[PreparedSubject]:
    """Return at most `MOST` of the scans, spread over them: the same for the same scans."""
    picked = np.linspace(0, len(scans) - 1, min(MOST, len(scans))).round().astype(int)
    return [scans[n] for n in picked]


def volumes(
    network: M2SS,
    threshold: Callable[[PreparedSubject], float],
    scans: Sequence[PreparedSubject],
    device: torch.device,
    alive: Callable[[], None] = lambda: None,
    world: World = ALONE,
    precision: Precision = "auto",
) -> dict[str, float]:
    """Return the volume in mm³ that a network takes for PVS, by scan.

    Parameters
    ----------
    network
        In evaluation mode.
    threshold
        Of each scan.
    scans
        To predict.
    device, alive, world, precision
        As for `validation.validate`.
    """
    probability = reader(network, device, alive, precision)

    def volume(scan: PreparedSubject) -> float:
        count = np.count_nonzero(probability(scan) >= threshold(scan))
        return float(count * np.prod(scan.voxel_size))

    found = world.spread(volume, scans)
    return {scan.name: one for scan, one in zip(scans, found, strict=True)}


def load(path: Path) -> Effect:
    """Read what was measured so far; nothing where the file is missing or damaged."""
    try:
        return json_files.read(path, Effect, _REMEDY)
    except FileNotFoundError:
        return Effect()
    except (OSError, InputError) as error:
        log.warning("%s cannot be read (%s); what was found before is not known.", path, error)
        return Effect()


def save(path: Path, effect: Effect) -> None:
    """Write it atomically."""
    write_text(path, effect.model_dump_json(indent=2) + "\n")
