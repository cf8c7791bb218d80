"""The shape of the network."""

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

CHANNELS = 2
"""T1 and T2; a missing modality is all zeros."""


class NetworkConfig(BaseModel):
    """What makes one M2SS-PVS network differ from another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    multiscale: bool = Field(
        True, description="Feed every encoder level from the images themselves."
    )
    widths: tuple[PositiveInt, ...] = Field(
        (16, 32, 64, 128), min_length=1, description="Channels per encoder level, finest first."
    )
    scale_width: int = Field(8, ge=1, description="Channels of each of the two paths per scale.")

    @property
    def factor(self) -> int:
        """Sizes are padded to a multiple of this."""
        return int(2 ** (len(self.widths) - 1))
