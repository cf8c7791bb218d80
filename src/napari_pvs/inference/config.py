"""The configuration of a segmentation, with every default of `napari-pvs segment`."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_pvs.network.device import BackendName, Device, Precision
from napari_pvs.scans.choices import REGISTER, Register

Method = Literal["network", "frangi", "threshold"]
Within = Literal["tissue", "brain"]


class SegmentConfig(BaseModel):
    """What `napari-pvs segment` does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "Model": ("method", "weights", "threshold", "min_volume", "max_width", "within"),
        "Advanced": ("device", "backend", "precision", "windows"),
    }

    t1: Path | None = Field(
        None,
        description="T1-weighted scan (.nii, .nii.gz, .mgz, or a folder with one DICOM series).",
    )
    t2: Path | None = Field(None, description="T2-weighted scan; resampled onto the T1's grid.")
    register_t2: Register = Field(
        REGISTER,
        json_schema_extra={"options": ["--register"]},
        description="auto: register a T2 that lies more than half a voxel off the T1 (rigidly); "
        "off: leave it where its header places it.",
    )
    brain_mask: Path | None = Field(
        None,
        description="Brain mask; by default what is not background in a skull-stripped scan, and "
        "computed otherwise.",
    )
    method: Method = Field("network", description="The network, or a classical baseline.")
    weights: Path | None = Field(None, description="Weights file; by default the starter weights.")
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Lowest probability of a PVS voxel; by default the weights' own threshold.",
    )
    min_volume: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="Volume of the smallest PVS to keep, mm³."
    )
    max_width: float | None = Field(
        None,
        gt=0,
        description="Leave out components that are wider than this (mm) and less than twice as "
        "long as wide; by default nothing is left out because of its shape.",
    )
    within: Within = Field(
        "tissue",
        description="Where the network's PVS may lie. tissue: not in cortex, sulci, cisterns, "
        "ventricles and cerebellum; brain: anywhere. A scan of less than a whole brain is "
        "searched everywhere.",
    )
    regions: bool = Field(
        False,
        description="Register the ICBM152 template, so that each PVS in the table has a region and "
        "a side; about 20 s on one core.",
    )
    report: bool = Field(
        False,
        description="Also write a report: pictures, burden by region, and what limits the result.",
    )
    device: Device = Field(
        "auto", description="Where the network runs. auto: CUDA, else Apple's MPS, else the CPU."
    )
    backend: BackendName = Field(
        "auto", description="auto: OpenVINO on a CPU if it is installed, otherwise PyTorch."
    )
    precision: Precision = Field(
        "auto",
        description="auto: 16-bit convolutions if the processor supports them; full: 32-bit.",
    )
    windows: Literal["fast", "paper"] = Field(
        "fast",
        description="fast: a few large windows; paper: the paper's 32³ patches at stride 16.",
    )

    @model_validator(mode="after")
    def _check(self) -> "SegmentConfig":
        if self.weights is not None and self.method != "network":
            raise ValueError(f"method {self.method} uses no weights; leave out weights or method")
        return self
