"""The shape of the network."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

CHANNELS = 2
"""T1 and T2; a missing modality is all zeros."""

Width = Annotated[int, Field(ge=1, le=1024)]


class NetworkConfig(BaseModel):
    """What makes one M2SS-PVS network differ from another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    multiscale: bool = Field(
        True, description="Feed the images themselves into every encoder level."
    )
    widths: tuple[Width, ...] = Field(
        (16, 32, 64, 128),
        min_length=1,
        max_length=8,  # 256 voxels become 2 at the coarsest level
        description="Channels per encoder level, finest first.",
    )
    scale_width: Width = Field(8, description="Channels of each of the two paths per scale.")
    statistics: Literal["fixed", "scan"] = Field(
        "fixed",
        description="Whose mean and variance batch norm takes: those of the training patches "
        "(fixed), or those of the scan that is segmented.",
    )

    @property
    def factor(self) -> int:
        """Sizes are padded to a multiple of this."""
        return int(2 ** (len(self.widths) - 1))
