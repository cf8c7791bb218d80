"""Single PVS to look at, why they are worth it, and what a rater decided about them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict

from napari_pvs.correction.neighbourhood import Point
from napari_pvs.scans.masks import Box, Voxels, box_of

Kind = Literal["found", "missed", "excluded", "disputed"]
Verdict = Literal["accept", "reject", "skip"]
Cue = Literal["uncertain", "threshold-sensitive", "possibly missed", "excluded by shape",
              "disputed", "touches a lesion", "wide and round", "large", "likely",
              "no prediction"]  # fmt: skip
DOUBTFUL: tuple[Cue, ...] = (
    "uncertain", "threshold-sensitive", "touches a lesion", "wide and round"
)  # fmt: skip
"""Cues of PVS of the mask that may be none."""

MARGIN = 0.1
"""How far the threshold is moved to see whether a PVS is stable."""
LARGE_SHARE = 0.05
"""A PVS is large from this share of the volume of all PVS on."""


class Decision(BaseModel):
    """What a rater decided about one PVS, or noted of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    point: Point
    """The voxel of the PVS with the highest probability, on the scan's grid."""
    kind: Kind
    verdict: Verdict | None
    """None where there is a note alone."""
    rater: str = ""
    time: AwareDatetime
    note: str = ""


class Review(BaseModel):
    """All decisions about one scan; saved as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["napari-pvs-review/1"] = "napari-pvs-review/1"
    decisions: tuple[Decision, ...] = ()


@dataclass(eq=False)
class Item:
    """A PVS to look at; it is the same object for as long as it is edited.

    Attributes
    ----------
    kind
        ``found`` is in the mask or was; ``missed`` perhaps should be; ``excluded`` is above the
        threshold, but was left out for its shape; ``disputed`` is in the labels of one of two
        raters.
    point
        Its voxel of highest probability.
    index
        Its voxels, as indexes of the mask, in the array's order: those in the mask now, or the
        last that were, or those that may belong to it.
    mean_probability
        Of its voxels; NaN without a prediction.
    uncertainty
        0 (sure) to 1: mean entropy of its voxels, bits, with the threshold counted as one half.
    instability
        Change of its volume between thresholds 0.1 lower and higher, over its volume.
    voxel_volume
        In mm³.
    volume_share, count_share
        Of the volume and of the number of all PVS, 0 to 1.
    number
        Of the component in the mask; None where it is in none.
    lesion
        It lies in a lesion of the scan's map, or beside one.
    round
        The scan has no map of lesions, and its shape is that of one; see `is_round`.
    grown
        The voxels of a missed one are those that a click would add.
    drawn
        It came into the mask while it was reviewed.
    rater
        Who has a disputed one.
    decision
        What was decided about it last, if the mask has not taken it back since.
    """

    kind: Kind
    point: Point
    index: Voxels
    mean_probability: float
    uncertainty: float
    instability: float
    voxel_volume: float
    volume_share: float
    count_share: float
    number: int | None = None
    lesion: bool = False
    round: bool = False
    grown: bool = False
    drawn: bool = False
    rater: str = ""
    decision: Decision | None = None

    @property
    def present(self) -> bool:
        """Whether it is in the mask."""
        return self.number is not None

    @property
    def voxels(self) -> int:
        """Their number."""
        return len(self.index[0])

    @property
    def volume_mm3(self) -> float:
        """Of all its voxels."""
        return self.voxels * self.voxel_volume

    @property
    def verdict(self) -> Verdict | None:
        """What holds now: the mask has the last word."""
        given = None if self.decision is None else self.decision.verdict
        if self.present:
            return None if given == "reject" else given
        if self.kind == "found":
            return "reject"
        return None if given == "accept" else given

    @property
    def note(self) -> str:
        """What the rater wrote about it."""
        return "" if self.decision is None else self.decision.note

    @property
    def doubt(self) -> float:
        """Uncertainty or instability, whichever is larger, 0 to 1.

        1 where shape excludes it, raters disagree, or it may be a lesion.
        """
        if self.kind in ("excluded", "disputed"):
            return 1.0
        if self.kind == "found" and (self.lesion or self.round):
            return 1.0
        return max(self.uncertainty, min(1.0, self.instability / 2))

    @property
    def priority(self) -> float:
        """Its doubt times its mean share of the reported volume and count."""
        return self.doubt * (self.volume_share + self.count_share) / 2

    @property
    def cue(self) -> Cue:
        """Why it is worth a look, in a word or two."""
        if self.kind == "missed":
            return "possibly missed"
        if self.kind == "excluded":
            return "excluded by shape"
        if self.kind == "disputed":
            return "disputed"
        if self.lesion:
            return "touches a lesion"
        if self.round:
            return "wide and round"
        if np.isnan(self.mean_probability):
            return "no prediction"
        if self.instability / 2 > self.uncertainty:
            return "threshold-sensitive"
        if self.uncertainty > 0.5:
            return "uncertain"
        return "large" if self.volume_share >= LARGE_SHARE else "likely"

    @property
    def reason(self) -> str:
        """The cue with its numbers."""
        words = {
            "threshold-sensitive": f"Threshold-sensitive (±{MARGIN:g})",
            "no prediction": "Drawn, no prediction",
            "large": "Large",
            "likely": "Likely a PVS",
            "disputed": f"Only {self.rater} has it",
            "wide and round": "Wide and round, as lesions are",
        }
        said = words.get(self.cue, self.cue.capitalize())
        if self.lesion and self.cue != "touches a lesion":
            said += ", touches a lesion"
        if not np.isnan(self.mean_probability) and self.cue != "threshold-sensitive":
            said += f" (probability {self.mean_probability:.2f})"
        return f"{said}; {self.volume_mm3:.1f} mm³"


@dataclass(frozen=True, eq=False)
class Focus:
    """The voxels that the rater is asked about: what is outlined, and what a decision touches.

    Attributes
    ----------
    kind
        ``item`` is in the labels; ``missed`` perhaps should be.
    box
        Where ``mask`` lies, on the scan's grid (X, Y, Z).
    mask
        bool, the box's shape; read-only.
    """

    kind: Literal["item", "missed"]
    box: Box
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, kind: Literal["item", "missed"], voxels: Voxels) -> "Focus":
        """Return the focus on some voxels, at least one, of the scan's grid."""
        low = [int(axis.min()) for axis in voxels]
        box = box_of(low, [int(axis.max()) + 1 for axis in voxels])
        mask = np.zeros([side.stop - side.start for side in box], bool)
        mask[tuple(axis - start for axis, start in zip(voxels, low, strict=True))] = True
        mask.flags.writeable = False
        return cls(kind, box, mask)

    def same_as(self, other: "Focus") -> bool:
        """Whether the rater is asked the same about the same voxels."""
        same = (self.kind, self.box) == (other.kind, other.box)
        return same and np.array_equal(self.mask, other.mask)

    @property
    def centre(self) -> tuple[float, float, float]:
        """The middle of its voxels, in voxels of the scan's grid."""
        x, y, z = (float(axis.mean()) for axis in self.voxels)
        return x, y, z

    @property
    def voxels(self) -> Voxels:
        """Its voxels, as indexes of an array on the scan's grid."""
        x, y, z = (
            axis + side.start for axis, side in zip(np.nonzero(self.mask), self.box, strict=True)
        )
        return x, y, z
