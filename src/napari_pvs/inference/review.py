"""Which PVS to look at first, why, and what was decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict

from napari_pvs.inference.nearby import Point

Kind = Literal["found", "missed"]
Verdict = Literal["accept", "reject", "skip"]

MARGIN = 0.1
"""How far the threshold is moved to see whether a PVS is stable."""


class Decision(BaseModel):
    """What a rater decided about one PVS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    point: Point
    """The voxel of the PVS that the network was surest of, on the scan's grid."""
    kind: Kind
    verdict: Verdict
    rater: str = ""
    time: AwareDatetime


class Review(BaseModel):
    """All decisions about one scan; kept as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["napari-pvs-review/1"] = "napari-pvs-review/1"
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True)
class Item:
    """A PVS to look at.

    Attributes
    ----------
    kind
        ``found`` is in the mask, ``missed`` perhaps should be.
    point
        Its voxel of highest probability.
    voxels, volume_mm3, mean_probability
        Of the PVS; of a missed one, of the voxels that may belong to it.
    uncertainty
        0 (sure) to 1: mean entropy of its voxels, bits, where the threshold counts as one half.
    instability
        Change of its volume between thresholds 0.1 lower and higher, over its volume.
    volume_share, count_share
        Of the volume and of the number of all PVS, 0 to 1.
    """

    kind: Kind
    point: Point
    voxels: int
    volume_mm3: float
    mean_probability: float
    uncertainty: float
    instability: float
    volume_share: float
    count_share: float

    @property
    def doubt(self) -> float:
        """Uncertainty or instability, whichever is larger, 0 to 1."""
        return max(self.uncertainty, min(1.0, self.instability / 2))

    @property
    def priority(self) -> float:
        """Share of the reported volume and count, averaged, that hangs on it and is in doubt."""
        return self.doubt * (self.volume_share + self.count_share) / 2

    @property
    def reason(self) -> str:
        """Why this one, in a sentence."""
        size = f"{self.volume_mm3:.1f} mm³, {100 * self.volume_share:.1f} % of the volume"
        if self.kind == "missed":
            return f"Perhaps missed: mean probability {self.mean_probability:.2f}, {size}."
        if np.isnan(self.mean_probability):
            return f"No prediction to compare with: {size}."
        if self.instability / 2 > self.uncertainty:
            return (
                f"Its volume changes by {100 * self.instability:.0f} % when the threshold moves "
                f"by {MARGIN:g} to either side; {size}."
            )
        sure = "The network is unsure" if self.uncertainty > 0.5 else "The network is fairly sure"
        return f"{sure} (mean probability {self.mean_probability:.2f}); {size}."


class Queue:
    """The items still to be looked at, in order, and what was decided about the others.

    The mask has the last word: what it holds no longer was rejected, also by eraser, and a
    rejection that is undone is open again.

    Parameters
    ----------
    items
        From `candidates`.
    review
        Earlier decisions.
    mask
        As for `candidates`.
    """

    def __init__(self, items: Sequence[Item], review: Review, mask: NDArray[Any]) -> None:
        self.items = list(items)
        self._first = self._found()
        self._decisions = {decision.point: decision for decision in review.decisions}
        self.look(mask)

    @property
    def review(self) -> Review:
        """All decisions, to be kept."""
        return Review(decisions=tuple(self._decisions.values()))

    @property
    def outgrown(self) -> bool:
        """Whether there are more than twice the PVS that the items of the start are shares of."""
        return self._found() > 2 * self._first

    @property
    def pending(self) -> list[Item]:
        """What is left; what was skipped comes last."""
        verdicts = [self.verdict(item) for item in self.items]
        left = [item for item, one in zip(self.items, verdicts, strict=True) if one is None]
        skipped = [item for item, one in zip(self.items, verdicts, strict=True) if one == "skip"]
        turn = {point: n for n, point in enumerate(self._decisions)}
        return left + sorted(skipped, key=lambda item: turn[item.point])

    def _found(self) -> int:
        return sum(item.kind == "found" for item in self.items)

    def add(self, items: Sequence[Item], mask: NDArray[Any]) -> None:
        """Put what came into the mask among the items, by its priority; they keep their order."""
        self.items = sorted([*self.items, *items], key=lambda item: -item.priority)
        self.look(mask)

    def look(self, mask: NDArray[Any]) -> None:
        """See what the mask holds after an edit."""
        self._present = {item.point for item in self.items if mask[item.point] > 0}

    def verdict(self, item: Item) -> Verdict | None:
        """What was decided about an item."""
        decision = self._decisions.get(item.point)
        verdict = None if decision is None else decision.verdict
        present = item.point in self._present
        if present != (item.kind == "found"):
            return "accept" if present else "reject"
        undone = "reject" if present else "accept"
        return None if verdict == undone else verdict

    def decide(self, item: Item, verdict: Verdict, rater: str, time: datetime) -> None:
        """Remember a decision; it replaces an earlier one."""
        self._decisions.pop(item.point, None)  # the last skipped has the last turn
        self._decisions[item.point] = Decision(
            point=item.point, kind=item.kind, verdict=verdict, rater=rater, time=time
        )

    def accept(self, point: Point, rater: str, time: datetime) -> None:
        """Remember that a PVS was put there by someone who looked; it need not be an item yet."""
        self._decisions[point] = Decision(
            point=point, kind="found", verdict="accept", rater=rater, time=time
        )
