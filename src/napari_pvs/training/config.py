"""The configuration of a training run: every default of `napari-pvs train` stands here."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.device import Device

PatchEdge = Annotated[int, Field(ge=8, le=128)]
Method = Literal["supervised-mono", "supervised-multi"]


class TrainingConfig(BaseModel):
    """What a run does; saved as ``config.json`` in its folder, and enough to repeat it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: Path = Field(description="BIDS dataset with labels under derivatives/labels.")
    method: Method = Field(
        "supervised-multi", description="Multi-scale network or its mono-scale twin."
    )
    seed: int = Field(0, ge=0, description="Of the weights, the split and the sampling.")
    epochs: int = Field(100, ge=1, description="Epochs.")
    steps: int = Field(50, ge=1, description="Optimiser steps in an epoch.")
    batch: int = Field(8, ge=1, description="Patches of the smallest edge in a step.")
    patch: tuple[PatchEdge, ...] = Field(
        (32, 48),
        min_length=1,
        description="Edges of patches in voxels, taken in turn; of the larger, a step has fewer.",
    )
    learning_rate: float = Field(2e-3, gt=0, description="Peak of the one-cycle schedule (AdamW).")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's weight decay.")
    warmup: int = Field(20, ge=0, description="First epochs, on patches that hold PVS only.")
    foreground: float = Field(
        0.6, ge=0, le=1, description="Share of patches centred on a PVS after the warm-up."
    )
    focal_gamma: float = Field(2.0, ge=0, description="Focal loss: weight of hard voxels.")
    focal_alpha: float = Field(0.75, gt=0, lt=1, description="Focal loss: weight of PVS voxels.")
    focal_weight: float = Field(20.0, ge=0, description="Weight of the focal loss.")
    dice_weight: float = Field(
        1.0, ge=0, description="Weight of the soft Dice loss; the paper has 0."
    )
    augment: bool = Field(True, description="Flips, contrast, noise and blur.")
    modality_dropout: float = Field(
        0.35, ge=0, lt=1, description="Share of patches of which only T1 or only T2 is shown."
    )
    average: float = Field(
        0.998, ge=0, lt=1, description="Decay of the running mean of the weights that is kept."
    )
    validation: tuple[str, ...] = Field(
        (), description="Subjects to validate on; 1 in 10 labelled persons where none is named."
    )
    test: tuple[str, ...] = Field(
        (),
        description="Subjects never to be touched; 1 in 10 persons where no validation is named.",
    )
    validate_every: int = Field(10, ge=1, description="Epochs between validations.")
    weights: Path | None = Field(None, description="Weights to start from.")
    device: Device = Field("auto", description="auto, cpu, cuda or mps.")

    @property
    def network(self) -> NetworkConfig:
        """The network of the method."""
        return NetworkConfig(multiscale=self.method.endswith("multi"))

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        if self.focal_weight == 0 and self.dice_weight == 0:
            raise ValueError("focal_weight and dice_weight are both 0; nothing would be learnt")
        shared = set(self.validation) & set(self.test)
        if shared:
            raise ValueError(f"{sorted(shared)[0]} is in validation and in test")
        return self
