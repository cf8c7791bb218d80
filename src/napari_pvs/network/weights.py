"""Weights on disk: safetensors with a model card, checked tensor by tensor when read."""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import napari_pvs
from napari_pvs import json_files
from napari_pvs.errors import InputError, words_of
from napari_pvs.files import atomic, write_text
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.layout import COUNTER, layout

if TYPE_CHECKING:
    import torch

    from napari_pvs.network.m2ss import M2SS

FORMAT = "napari-pvs/1"
Slope = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

_REMEDY = "give weights made by napari-pvs train"
_MOST_BYTES = 2**31  # more than any network here has; a larger file would fill the memory

Edge = Annotated[float, Field(ge=0.05, le=20, allow_inf_nan=False)]
"""Edge of a voxel in mm, in the range that scans have."""


class ModelCard(BaseModel):
    """What one must know to use weights; it is part of the weights file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = FORMAT
    name: str = "unnamed"
    architecture: str = "M2SS-PVS"
    network: NetworkConfig = NetworkConfig()
    normalisation: str = "brain median 0, interquartile range 1.349, clipped to [-5, 10]"
    voxel_size_mm: tuple[Edge, Edge] = (0.65, 1.1)
    """Smallest and largest voxel edge in the training scans; others are resampled to these."""
    threshold: float = Field(0.5, gt=0, lt=1, allow_inf_nan=False)
    """The probability at which masks were best on the validation subjects."""
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = {}
    """The same for scans with certain modalities: ``T1``, ``T2`` or ``T1+T2``."""
    calibration: dict[str, tuple[Slope, Finite]] = {}
    """Slope and offset that are applied to the network's logit, so that one threshold is right for
    all, by modalities as above. Without an entry, the network's output is taken as it is."""
    training: dict[str, Any] = {}
    """Data, command, seed, time and machine of the training."""
    accuracy: dict[str, Any] = {}
    """Measured on subjects that were not used for training."""
    licence: str = "BSD-3-Clause"
    version: str = napari_pvs.__version__

    @model_validator(mode="after")
    def _check(self) -> "ModelCard":
        if self.voxel_size_mm[0] > self.voxel_size_mm[1]:
            raise ValueError("the smallest voxel is larger than the largest")
        return self

    def threshold_for(self, modalities: tuple[str, ...]) -> float:
        """Return the threshold for a scan with these modalities."""
        return self.thresholds.get("+".join(modalities), self.threshold)

    def answer_at_threshold(self, modalities: tuple[str, ...]) -> float:
        """Return what the network answers where its calibrated probability is the threshold."""
        slope, offset = self.calibration.get("+".join(modalities), (1.0, 0.0))
        wanted = self.threshold_for(modalities)
        logit = (np.log(wanted / (1 - wanted)) - offset) / slope
        return float(1 / (1 + np.exp(-logit)))

    def calibrate(self, probability: NDArray[np.float32], modalities: tuple[str, ...]) -> None:
        """Turn the network's output for a scan with these modalities into a probability, in place.

        Values below .001 stay as they are: nearly all voxels, none near a threshold.
        """
        slope, offset = self.calibration.get("+".join(modalities), (1.0, 0.0))
        if (slope, offset) == (1.0, 0.0):
            return
        where = probability > 1e-3
        answer = np.clip(probability[where], 1e-3, 1 - 1e-6)
        logit = slope * np.log(answer / (1 - answer)) + offset
        probability[where] = np.maximum(1 / (1 + np.exp(-logit)), 1e-3)


def save(path: Path, model: "M2SS", card: ModelCard) -> None:
    """Write weights as float16 safetensors, and their card again as JSON for people to read.

    Both are written atomically. Only the card inside the weights is ever read.
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


def load(path: Path, content: bytes | None = None) -> tuple["M2SS", ModelCard]:
    """Read weights into a network; see `read`.

    Returns
    -------
    The network in evaluation mode, float32, and its card.
    """
    import torch

    from napari_pvs.network.m2ss import M2SS

    tensors, card = read(path, content)
    model = M2SS(card.network)
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return model.eval(), card


def content_of(path: Path) -> bytes:
    """Read the bytes of a weights file.

    Raises
    ------
    InputError
        It does not exist or cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(
            f"{path} is a folder; name the weights file in it, such as best.safetensors."
        )
    if not path.is_file():
        raise InputError(
            f"weights {path} do not exist; check the path, or use the starter weights."
        )
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise InputError(f"{path} has {size / 2**30:.0f} GB, too much for weights; {_REMEDY}.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"weights {path} cannot be read ({error.strerror}); check the path or choose others."
        ) from error


def read(path: Path, content: bytes | None = None) -> tuple[dict[str, NDArray[Any]], ModelCard]:
    """Read weights and check the name, shape and type of every tensor, without PyTorch.

    Parameters
    ----------
    path
        A safetensors file.
    content
        What `content_of` returned for it, if it has been read already.

    Returns
    -------
    The tensors by name, float32 except int64 counters, and their card.

    Raises
    ------
    InputError
        The file is missing, damaged, for another network, or from a newer version.
    """
    from safetensors import SafetensorError, deserialize
    from safetensors.numpy import load as tensors_of

    path = Path(path)
    content = content_of(path) if content is None else content
    try:
        parts = deserialize(content)  # checks that header and tensors fit
        card = _card(path, _metadata(content))
        _check(path, card, {name: (tuple(one["shape"]), one["dtype"]) for name, one in parts})
        tensors = dict(tensors_of(content))
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file; {_REMEDY}.") from error
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise InputError(f"weights {path}: {name} has values that are not finite; {_REMEDY}.")
        if name.endswith("running_var") and (tensor < 0).any():
            raise InputError(f"weights {path}: {name} has negative variances; {_REMEDY}.")
        # torch takes writable arrays only
        tensors[name] = tensor.astype(np.float32 if tensor.dtype.kind == "f" else tensor.dtype)
    return tensors, card


def _metadata(content: bytes) -> dict[str, str]:
    """Return the strings in a safetensors header, which begins with its length in 8 bytes."""
    length = int.from_bytes(content[:8], "little")
    found = json.loads(content[8 : 8 + length]).get("__metadata__")
    return found if isinstance(found, dict) else {}


def _card(path: Path, metadata: dict[str, str]) -> ModelCard:
    missing = f"{path} has no napari-pvs model card"
    try:
        values = json_files.parse(metadata["card"], dict[str, Any])
        made_for = str(values["format"])
    except (KeyError, json_files.Damaged) as error:
        raise InputError(f"{missing}; {_REMEDY}.") from error
    # before the rest: a newer card may have fields that this version does not know
    if made_for != FORMAT:
        raise InputError(f"{path} has format {made_for}, not {FORMAT}; update napari-pvs.")
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        reason = words_of(first, ".".join(map(str, first["loc"])))
        raise InputError(f"{missing} that fits ({reason}); {_REMEDY}.") from error


def _check(path: Path, card: ModelCard, found: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Refuse tensors whose names, shapes or types are not those of the card's network."""
    wanted = layout(card.network)
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or extra:
        which = f"lack {missing[0]}" if missing else f"have an unknown {extra[0]}"
        raise InputError(f"weights {path} {which}: they are of another network; {_REMEDY}.")
    for name, shape in wanted.items():
        kinds = ("I64",) if name.endswith(COUNTER) else ("F16", "F32")
        if found[name][0] != shape or found[name][1] not in kinds:
            raise InputError(
                f"weights {path}: {name} is {found[name][0]} {_dtype(found[name][1])}, not {shape} "
                f"{_dtype(kinds[0])}: they are of another network; {_REMEDY}."
            )


def _dtype(name: str) -> str:
    """Spell a type of safetensors as numpy does: ``float16`` for ``F16``."""
    words = {"F": "float", "BF": "bfloat", "I": "int", "U": "uint"}
    letters = name.rstrip("0123456789")
    return words.get(letters, letters.lower()) + name[len(letters) :]


def _stored(tensor: "torch.Tensor") -> "torch.dtype":
    """Return the type on disk: half precision for floats that fit into it."""
    import torch

    fits = tensor.is_floating_point() and bool(tensor.abs().amax() < 6e4)
    return torch.float16 if fits else tensor.dtype


def starter_path() -> Path:
    """Path of the starter weights that come with the package."""
    return Path(str(resources.files("napari_pvs.network") / "starter.safetensors"))


def fingerprint(path: Path, content: bytes | None = None) -> str:
    """First 12 hex digits of the SHA-256 of the file: the id that predictions carry.

    Parameters
    ----------
    path
        A weights file.
    content
        What `content_of` returned for it, if it has been read already.

    Raises
    ------
    InputError
        As `content_of`.
    """
    content = content_of(path) if content is None else content
    return hashlib.sha256(content).hexdigest()[:12]
