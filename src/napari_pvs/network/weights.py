"""Weights on disk: safetensors with a model card, checked tensor by tensor when read."""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import napari_pvs
from napari_pvs.errors import InputError
from napari_pvs.files import atomic, write_text
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.m2ss import M2SS

if TYPE_CHECKING:
    import torch

FORMAT = "napari-pvs/1"


class ModelCard(BaseModel):
    """What a reader must know about weights; it travels inside the weights' file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = FORMAT
    name: str = "unnamed"
    architecture: str = "M2SS-PVS"
    network: NetworkConfig = NetworkConfig()
    normalisation: str = "brain median 0, interquartile range 1.349, clipped to [-5, 10]"
    voxel_size_mm: tuple[float, float] = (0.65, 1.1)
    """Smallest and largest voxel edge it was trained on; other scans are resampled to these."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """The probability at which its mask was best on the validation subjects."""
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = {}
    """The same for scans with some modalities only, by ``T1``, ``T2`` or ``T1+T2``."""
    training: dict[str, Any] = {}
    """Data, command, seed, time and machine that made it."""
    accuracy: dict[str, Any] = {}
    """Measured on subjects that it never saw."""
    licence: str = "BSD-3-Clause"
    version: str = napari_pvs.__version__

    def threshold_for(self, modalities: tuple[str, ...]) -> float:
        """Return the threshold for a scan with these modalities."""
        return self.thresholds.get("+".join(modalities), self.threshold)


def save(path: Path, model: M2SS, card: ModelCard) -> None:
    """Write weights as float16 safetensors, and the card beside them as JSON for people to read.

    Both are written atomically. The card inside the weights is the one that counts.
    """
    from safetensors.torch import save_file

    state = {
        name: tensor.detach().cpu().to(_stored(tensor)).contiguous()
        for name, tensor in model.state_dict().items()
    }
    card = card.model_copy(update={"network": model.config})
    with atomic(path) as temporary:
        save_file(state, temporary, metadata={"card": card.model_dump_json()})
    write_text(Path(path).with_suffix(".json"), card.model_dump_json(indent=2) + "\n")


def load(path: Path) -> tuple[M2SS, ModelCard]:
    """Read weights and check the name, shape and type of every tensor.

    Returns
    -------
    The network in evaluation mode, float32, and its card.

    Raises
    ------
    InputError
        Missing, damaged, of another network or of a newer version.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights {path} do not exist; check the path or leave --weights out.")
    remedy = "give weights made by napari-pvs train"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file; {remedy}.") from error
    try:
        values = json.loads(metadata["card"])
        made_for = str(values["format"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} carries no napari-pvs model card; {remedy}.") from error
    # before the rest: a newer card may have fields that this version does not know
    if made_for != FORMAT:
        raise InputError(f"{path} has format {made_for}, not {FORMAT}; update napari-pvs.")
    try:
        card = ModelCard.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path} carries no napari-pvs model card; {remedy}.") from error
    model = M2SS(card.network)
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        which = f"lack {missing[0]}" if missing else f"have an unknown {extra[0]}"
        raise InputError(f"weights {path} {which}: they are of another network; {remedy}.")
    for name, tensor in wanted.items():
        found = state[name]
        dtype = _stored(tensor)
        if found.shape != tensor.shape or found.dtype not in (dtype, tensor.dtype):
            raise InputError(
                f"weights {path}: {name} is {tuple(found.shape)} {found.dtype}, not "
                f"{tuple(tensor.shape)} {dtype}: they are of another network; {remedy}."
            )
        if found.is_floating_point() and not bool(torch.isfinite(found).all()):
            raise InputError(f"weights {path}: {name} holds values that are not finite; {remedy}.")
    model.load_state_dict({name: t.to(wanted[name].dtype) for name, t in state.items()})
    return model.eval(), card


def _stored(tensor: "torch.Tensor") -> "torch.dtype":
    """Return the type on disk: half precision for what is no integer and fits into it."""
    import torch

    fits = tensor.is_floating_point() and bool(tensor.abs().amax() < 6e4)
    return torch.float16 if fits else tensor.dtype


def starter_path() -> Path:
    """Path of the starter weights that come with the package."""
    return Path(str(resources.files("napari_pvs.network") / "starter.safetensors"))


def fingerprint(path: Path) -> str:
    """First 12 hex digits of the SHA-256 of the file: the id that is stamped on predictions."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
