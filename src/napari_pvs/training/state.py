"""The state of a run between two steps, and its checkpoint."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, FiniteFloat
from torch import Tensor

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import atomic
from napari_pvs.network.device import bfloat16_runs, place
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.distributed.world import ALONE, World
from napari_pvs.training.place import Place

FORMAT = "napari-pvs-checkpoint/1"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """The state of a run apart from its tensors.

    Attributes
    ----------
    step
        Steps done.
    best
        Best mean DSC on the validation subjects; None before the first validation.
    threshold
        The threshold chosen by the last validation.
    labels
        Digest of the label of each training subject.
    due
        Epoch whose validation was broken off; 0 where none was.
    """

    step: Annotated[int, Field(ge=0, le=2**53)] = 0
    best: FiniteFloat | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    labels: dict[str, str] = field(default_factory=dict)
    due: Annotated[int, Field(ge=0)] = 0


class State:
    """Network, optimiser, and exponential moving average (EMA) of the weights.

    Parameters
    ----------
    config
        Seed, learning rate, network, where PVS may lie in unlabelled scans.
    device
        Where to train.
    start
        Network to start from; random weights if None.
    world
        The processes that train it.
    """

    def __init__(
        self,
        config: TrainingConfig,
        device: torch.device,
        start: M2SS | None = None,
        world: World = ALONE,
    ):
        torch.manual_seed(config.seed)
        self.config, self.device, self.world = config, device, world
        self.place = Place(config.within)
        self.model = place(world.synchronised(start or M2SS(config.network)), device).train()
        self.ema = place(M2SS(self.model.config), device).eval()
        self.ema.load_state_dict(self.model.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            config.learning_rate,
            weight_decay=config.weight_decay,
            fused=device.type == "cuda" or None,  # one kernel; None leaves it to PyTorch
        )
        self.progress = Progress()
        # on a CPU, gradients are garbage if a level has only two voxels (torch 2.13)
        sound = device.type != "cpu" or min(config.patch) > 2 * self.model.factor
        self._half = sound and bfloat16_runs(device, config.precision)

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs; its output may be bfloat16."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._half)

    def update(self, loss: Tensor) -> bool:
        """Take an optimiser step, and update the running mean of the weights.

        Returns
        -------
        False if the gradient is not finite; then nothing has changed.
        """
        config, step = self.config, self.progress.step
        rate = learning_rate(step, config.epochs * config.steps, config.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.world.average(self.model.parameters())
        if not torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0).isfinite():
            return False
        self.optimiser.step()
        # a shorter mean at first, so that the initial random weights fade quickly
        decay = min(config.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, new in zip(
                self.ema.state_dict().values(), self.model.state_dict().values(), strict=True
            ):
                if kept.is_floating_point():
                    kept.lerp_(new, 1 - decay)
                else:
                    kept.copy_(new)
        self.progress.step += 1
        return True

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on, atomically."""
        from safetensors.torch import save_file

        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        tensors |= {f"mean.{name}": t for name, t in self.ema.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": t for name, t in moments.items()}
        # copies, since safetensors refuses tensors that share memory
        whole = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        about = {"format": FORMAT, "progress": json.dumps(vars(self.progress))}
        with atomic(path) as temporary:
            save_file(whole, temporary, metadata=about)

    def digest(self) -> str:
        """Return a digest of progress and weights, for processes to compare their states."""
        whole = hashlib.sha256(json.dumps(vars(self.progress)).encode())
        for tensor in self.model.state_dict().values():
            whole.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return whole.hexdigest()

    def load(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            Missing, damaged, or for another network or version.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise InputError(f"{path} does not exist, so nothing can be resumed; start a new run.")
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); start a new run.") from error
        if about.get("format") != FORMAT:
            raise InputError(
                f"{path} has format {about.get('format')}, not {FORMAT}; resume it with the "
                "version of napari-pvs that wrote it, or start a new run from its weights."
            )
        try:
            progress = json_files.parse(about.get("progress", ""), Progress)
        except json_files.Damaged as error:
            raise InputError(f"{path} is damaged ({error}); start a new run.") from error
        try:
            self.model.load_state_dict(_part(tensors, "model."))
            self.ema.load_state_dict(_part(tensors, "mean."))
        except RuntimeError as error:
            raise InputError(
                f"{path} is for another network than this run's config; start a new run."
            ) from error
        moments = _moments(path, _part(tensors, "optimiser."), list(self.model.parameters()))
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        # fused AdamW needs moments in the memory layout of the weights, which files do not store
        for weight, state in self.optimiser.state.items():
            for key in ("exp_avg", "exp_avg_sq"):
                state[key] = torch.empty_like(weight).copy_(state[key])
        self.progress = progress


def _moments(
    path: Path, tensors: dict[str, Tensor], weights: Sequence[Tensor]
) -> dict[int, dict[str, Tensor]]:
    """Sort the optimiser's moments by the index of their weight.

    Raises
    ------
    InputError
        They are not those of AdamW for these weights.
    """
    known = {str(index): weight.shape for index, weight in enumerate(weights)}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        shape = known.get(index) if key in _MOMENTS else None
        if shape is None or tensor.shape != (() if key == "step" else shape):
            raise InputError(f"{path} is damaged (optimiser.{name}); start a new run.")
        moments.setdefault(int(index), {})[key] = tensor
    if any(len(one) != len(_MOMENTS) for one in moments.values()):
        raise InputError(f"{path} is damaged (moments are missing); start a new run.")
    return moments


def learning_rate(step: int, total: int, peak: float) -> float:
    """Return the learning rate of a step.

    It rises from 1/25 of the peak during the first tenth of the run, then falls to 0, both along a
    cosine. Source: Smith and Topin, "Super-convergence", 2019. It depends on the step alone, so
    that a run can be resumed and extended.
    """
    from math import cos, pi

    rise = max(1.0, total / 10)
    if step < rise:
        return peak * (0.04 + 0.96 * (1 - cos(pi * step / rise)) / 2)
    return peak * (1 + cos(pi * (step - rise) / max(1.0, total - rise))) / 2


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
