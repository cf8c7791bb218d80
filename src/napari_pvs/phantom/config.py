"""The configuration of a synthetic cohort."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_pvs.phantom.sites import SITES


class PhantomConfig(BaseModel):
    """What `napari-pvs phantom` makes; every default of the verb stands here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subjects: int = Field(33, ge=1, description="Number of subjects.")
    labelled: int = Field(12, ge=0, description="How many of them carry a label for training.")
    seed: int = Field(0, ge=0, description="Same seed, same bytes.")
    anatomy: tuple[Path, ...] = Field(
        (), description="FreeSurfer or SynthSeg label maps; the ICBM152 template where none."
    )
    sites: tuple[str, ...] = Field(("A",), description=f"Sites, taken in turn: {', '.join(SITES)}.")
    field_of_view: tuple[float, float, float] = Field(
        (140.8, 192.0, 153.6),
        description="In mm, left-right, posterior-anterior, inferior-superior.",
    )
    pvs: tuple[int, int] = Field((60, 500), description="Fewest and most PVS in a subject.")
    fluid: tuple[float, float] = Field(
        (0.2, 0.6), description="Fluid in a PVS, as a share of the white-matter-to-CSF step."
    )
    label_fraction: float = Field(
        0.4,  # the rule under which the labels' volume is the tubes' volume, within 5 %
        gt=0,
        lt=1,
        description="A voxel is labelled where a PVS fills at least this share of it.",
    )
    deformation: float = Field(
        2.5, ge=0, le=6, description="Amplitude in mm of each subject's own smooth deformation."
    )
    head: bool = Field(False, description="Keep skull and scalp where the anatomy has them.")
    jobs: int = Field(1, ge=1, description="Subjects made side by side.")

    @model_validator(mode="after")
    def _check(self) -> "PhantomConfig":
        if self.labelled > self.subjects:
            raise ValueError(f"labelled ({self.labelled}) exceeds subjects ({self.subjects})")
        unknown = [name for name in self.sites if name not in SITES]
        if unknown or not self.sites:
            raise ValueError(f"unknown site {unknown}; choose from {', '.join(SITES)}")
        if not 0 <= self.pvs[0] <= self.pvs[1]:
            raise ValueError(f"pvs: the fewest ({self.pvs[0]}) exceeds the most ({self.pvs[1]})")
        if not 0 < self.fluid[0] <= self.fluid[1] <= 1:
            raise ValueError("fluid: give two shares between 0 and 1, the smaller first")
        return self
