"""The configuration of a synthetic cohort."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_pvs.phantom.sites import SITES

LabelRule = Literal["rater", "physical"]


class PhantomConfig(BaseModel):
    """What `napari-pvs phantom` makes, with all its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subjects: int = Field(33, ge=1, description="Number of subjects.")
    labelled: int = Field(
        12,
        ge=0,
        description="How many of them have a label for training; at most all.",
    )
    seed: int = Field(0, ge=0, description="Same seed, same bytes.")
    anatomy: tuple[Path, ...] = Field(
        (), description="FreeSurfer or SynthSeg label maps; without any, the ICBM152 template."
    )
    sites: tuple[str, ...] = Field(("A",), description=f"Sites, taken in turn: {', '.join(SITES)}.")
    field_of_view: tuple[float, float, float] = Field(
        (140.8, 192.0, 153.6),
        description="In mm: left-right, posterior-anterior, inferior-superior.",
    )
    pvs: tuple[int, int] = Field((60, 500), description="Fewest and most PVS in a subject.")
    fluid: tuple[float, float] = Field(
        (0.6, 1.0),
        description="Least and most fluid in a PVS, as a share of the step from the tissue around "
        "it to CSF.",
    )
    width: float = Field(
        0.35,
        ge=0,
        le=0.5,
        description="How much the width of PVS differs between subjects (SD of its logarithm).",
    )
    dilated: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Share of subjects with many and wide PVS in the basal ganglia.",
    )
    label_rule: LabelRule = Field(
        "rater",
        description="rater: label what a rater sees, which is where visible PVS reach half of "
        "their local maximum in the image without noise; physical: label what PVS fill.",
    )
    label_fraction: float = Field(
        0.4,  # physical: the labels' volume is then the tubes', within 5 %
        gt=0,
        lt=1,
        description="Share of a voxel that a PVS must fill to be labelled there: this much by the "
        "physical rule, half as much by the rater's.",
    )
    visible: float = Field(
        2.5,
        ge=0,
        description="Least contrast of a PVS that a rater sees, in SD of noise and grain.",
    )
    rater_variation: float = Field(
        0.0,
        ge=0,
        le=0.3,
        description="How much raters differ in what they see and where a PVS ends (SD).",
    )
    deformation: float = Field(
        2.5,
        ge=0,
        le=6,
        description="Amplitude of the smooth deformation of each subject's anatomy, in mm.",
    )
    head: bool = Field(False, description="Keep skull and scalp if the anatomy has them.")
    jobs: int = Field(1, ge=1, description="Number of subjects made in parallel.")

    @model_validator(mode="before")
    @classmethod
    def _label_all_of_few(cls, values: Any) -> Any:
        """Label all subjects of a cohort that is smaller than the default number of labels."""
        if isinstance(values, dict) and "labelled" not in values:
            few = values.get("subjects")
            if isinstance(few, int) and few < cls.model_fields["labelled"].default:
                return {**values, "labelled": few}
        return values

    @model_validator(mode="after")
    def _check(self) -> "PhantomConfig":
        if self.labelled > self.subjects:
            raise ValueError(f"labelled ({self.labelled}) exceeds subjects ({self.subjects})")
        if not self.sites:
            raise ValueError(f"no site was given; choose from {', '.join(SITES)}")
        for name in self.sites:
            if name not in SITES:
                raise ValueError(f"{name!r} is not a site; choose from {', '.join(SITES)}")
        if not all(20 <= edge <= 400 for edge in self.field_of_view):
            edges = " ".join(f"{edge:g}" for edge in self.field_of_view)
            raise ValueError(f"field of view ({edges}) is not three edges of 20 to 400 mm")
        if not 0 <= self.pvs[0] <= self.pvs[1]:
            raise ValueError(
                f"pvs ({self.pvs[0]} {self.pvs[1]}) is not two numbers from 0 up, the smaller first"
            )
        if not 0 < self.fluid[0] <= self.fluid[1] <= 1:
            raise ValueError(
                f"fluid ({self.fluid[0]} {self.fluid[1]}) is not two shares above 0 and up to 1, "
                "the smaller first"
            )
        return self
