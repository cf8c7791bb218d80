"""The configuration of a training run: every default of `napari-pvs train` stands here."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.device import Device, Precision
from napari_pvs.options import OneOf
from napari_pvs.training.methods import METHODS, TEACHERS

PatchEdge = Annotated[int, Field(ge=8, le=128)]
Recipe = Literal["default", "paper", "adapt"]

PAPER: dict[str, Any] = {
    "patch": (32,),
    "warmup": 20,
    "foreground": 0.0,
    "focal_weight": 1.0,
    "dice_weight": 0.0,
    "augment": False,
    "modality_dropout": 0.0,
    "average": 0.0,
    "unlabelled_batch": 8,
    "teacher": "network",
    "view": "noise",
    "consistency": "cross-entropy",
    "confidence": 0.8,
    "confidence_pvs": 0.8,
    "consistency_weight": 1.0,
    "ramp_up": 0,
    "align": False,
}
"""Defaults of ``recipe="paper"``; the paper leaves the rest open."""
ADAPT: dict[str, Any] = {
    "weights": Path("starter"),
    "epochs": 20,
    "warmup": 0,
    "learning_rate": 1e-3,
    "average": 0.99,
    "validate_every": 5,
    "ramp_up": 5,
    "refresh": 5,
}
"""Defaults of ``recipe="adapt"``: minutes of training from existing weights."""
_RECIPES: dict[Any, dict[str, Any]] = {"paper": PAPER, "adapt": ADAPT}
_CONFIDENCES = ("confidence", "confidence_pvs")


class TrainingConfig(BaseModel):
    """What a run does. It is saved as ``config.json`` in the run's folder, enough to repeat it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "Who learns": ("validation", "test", "threshold_scans", "validate_every", "follow_labels"),
        "Patches": ("batch", "patch", "foreground", "augment", "modality_dropout"),
        "Optimisation": (
            *("steps", "learning_rate", "weight_decay", "warmup", "average"),
            *("focal_gamma", "focal_alpha", "focal_weight", "dice_weight"),
        ),
        "Unlabelled scans": (
            *("unlabelled_batch", "teacher", "refresh", "refresh_scans", "view", "consistency"),
            *("confidence", "confidence_pvs", "indicator", "consistency_weight", "ramp_up"),
            *("align", "inserted", "privileged", "members", "sure", "compare"),
        ),
        "Advanced": ("device", "precision"),
    }

    study: Path = Field(description="BIDS dataset with labels under derivatives/labels.")
    method: Annotated[str, OneOf(METHODS)] = Field(
        "supervised-multi",
        description="Mono- or multi-scale network, from labelled scans alone or with unlabelled "
        "ones too (semi-mono, m2ss).",
    )
    recipe: Recipe = Field(
        "default",
        description="The best built on the paper's idea; its literal method; or (adapt) minutes "
        "from the starter weights, or others, on a few corrected scans (with m2ss, on scans of "
        "which none is labelled).",
    )
    seed: int = Field(0, ge=0, description="Of the weights, the split and the sampling.")
    epochs: int = Field(100, ge=1, description="Epochs.")
    steps: int = Field(50, ge=1, description="Optimiser steps in an epoch.")
    batch: int = Field(8, ge=1, description="Labelled patches of the smallest edge in a step.")
    patch: tuple[PatchEdge, ...] = Field(
        (32, 48),
        min_length=1,
        description="Edges of patches in voxels, taken in turn; of the larger, a step has fewer.",
    )
    learning_rate: float = Field(2e-3, gt=0, description="Peak of the one-cycle schedule (AdamW).")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's weight decay.")
    warmup: int = Field(
        20,
        ge=0,
        description="First epochs: patches that hold PVS only, and no unlabelled ones.",
    )
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
    unlabelled_batch: int = Field(
        8, ge=1, description="Unlabelled patches of the smallest edge in a step."
    )
    teacher: Annotated[str, OneOf(TEACHERS)] = Field(
        "mean",
        description="Who makes pseudo-labels: the network itself at every step, or the running "
        "mean of its weights on whole scans, every few epochs; that, and PVS drawn into the scans "
        "(inserted); that, while the network mostly sees T1 or T2 alone (privileged); several "
        "weights that are averaged (ensemble).",
    )
    members: tuple[Path, ...] = Field(
        (),
        description="Teacher ensemble: weights of several runs, such as those of a few seeds.",
    )
    inserted: float = Field(
        3.0,
        ge=0,
        le=30,
        description="Teacher inserted: mean number of PVS drawn into an unlabelled patch of the "
        "smallest edge.",
    )
    privileged: float = Field(
        0.75,
        ge=0,
        le=1,
        description="Teacher privileged: share of unlabelled patches of which the network sees T1 "
        "or T2 alone.",
    )
    refresh: int = Field(
        10, ge=1, description="Epochs between new pseudo-labels of the running mean."
    )
    refresh_scans: int = Field(
        24, ge=1, description="Most unlabelled scans that get pseudo-labels at a time."
    )
    view: Literal["noise", "augment"] = Field(
        "augment",
        description="How an unlabelled patch is changed for the network to agree with its "
        "pseudo-label: standard Gaussian noise, or the augmentation of labelled patches.",
    )
    consistency: Literal["cross-entropy", "supervised"] = Field(
        "supervised",
        description="Loss on confident voxels: cross-entropy, or the one of labelled patches.",
    )
    confidence: float = Field(
        0.5,
        ge=0.5,
        lt=1,
        description="Least probability of background to be learnt from; the paper has 0.8. "
        "Pseudo-labels are aligned first, so that 0.5 is the boundary.",
    )
    confidence_pvs: float = Field(
        0.5, ge=0.5, lt=1, description="Least probability of PVS to be learnt from."
    )
    sure: float = Field(
        0.8,
        ge=0.5,
        lt=1,
        description="Where no scan is labelled, and beside inserted PVS: least probability of what "
        "is learnt from; the doubtful rest is left out.",
    )
    indicator: Literal["pseudo-label", "prediction"] = Field(
        "pseudo-label",
        description="Whose confidence counts: the pseudo-label's, or the prediction's on the "
        "changed patch.",
    )
    consistency_weight: float = Field(
        0.5, ge=0, description="Weight of the loss on unlabelled patches."
    )
    ramp_up: int = Field(
        40, ge=0, description="Epochs over which that weight rises from 0, after the warm-up."
    )
    align: bool = Field(
        True,
        description="Pseudo-label as large a share of the unlabelled brains PVS as the labels do "
        "of the labelled ones, as far as so many labels tell it, and choose the threshold so: the "
        "network finds less, or too much, in scans of another scanner.",
    )
    compare: bool = Field(
        False,
        description="After a semi-supervised run, train a supervised twin with as many labelled "
        "steps, and keep its weights where they are better on the validation subjects.",
    )
    validation: tuple[str, ...] = Field(
        (), description="Subjects to validate on; 1 in 10 labelled persons where none is named."
    )
    test: tuple[str, ...] = Field(
        (),
        description="Subjects never to be touched; 1 in 10 persons where no validation is named.",
    )
    threshold_scans: int = Field(
        6,
        ge=0,
        description="The threshold is chosen on as many labelled scans: those of the validation, "
        "and training scans where these are fewer.",
    )
    follow_labels: bool = Field(
        True,
        description="Learn from labels that come or change during the run, from the next epoch on.",
    )
    validate_every: int = Field(10, ge=1, description="Epochs between validations.")
    weights: Path | None = Field(
        None,
        description="Weights to start from, or 'starter'.",
        json_schema_extra={"options": ["--weights", "--from"]},
    )
    device: Device = Field("auto", description="auto, cpu, cuda or mps.")
    precision: Precision = Field(
        "auto",
        description="auto: bfloat16 convolutions where the processor computes in them; "
        "full: float32.",
    )

    @property
    def network(self) -> NetworkConfig:
        """The network of the method."""
        return NetworkConfig(multiscale=METHODS[self.method].multiscale)

    @property
    def semi_supervised(self) -> bool:
        """Whether the method also learns from unlabelled scans."""
        return METHODS[self.method].semi_supervised

    @property
    def taught_by(self) -> str | None:
        """Name of the teacher: the method's own or the chosen one; None of a supervised method."""
        method = METHODS[self.method]
        return (method.teacher or self.teacher) if method.semi_supervised else None

    def without_labels(self) -> "TrainingConfig":
        """Return a copy for a study of which no scan is labelled.

        There is nothing to warm up on, to weigh the unlabelled patches against or to align with;
        doubtful voxels are left out, and labels that come wait for the next run.
        """
        alone = {"warmup": 0, "ramp_up": 0, "consistency_weight": 1.0, "align": False}
        least = {name: max(getattr(self, name), self.sure) for name in _CONFIDENCES}
        return self.model_copy(update={**alone, **least, "follow_labels": False, "compare": False})

    def twin(self) -> "TrainingConfig":
        """Return a copy that learns from the labelled patches alone, with the same network."""
        multiscale = METHODS[self.method].multiscale
        method = "supervised-multi" if multiscale else "supervised-mono"
        return self.model_copy(update={"method": method, "compare": False, "follow_labels": False})

    def absolute(self) -> "TrainingConfig":
        """Return a copy with absolute paths: a run may be resumed from any folder."""
        weights = self.weights
        if weights is not None and str(weights) != "starter":
            weights = weights.absolute()
        members = tuple(path.absolute() for path in self.members)
        return self.model_copy(
            update={"study": self.study.absolute(), "weights": weights, "members": members}
        )

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return _RECIPES.get(values.get("recipe"), {}) | values
        return values

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        if self.focal_weight == 0 and self.dice_weight == 0:
            raise ValueError("focal_weight and dice_weight are both 0; nothing would be learnt")
        if self.taught_by == "ensemble" and not self.members:
            raise ValueError("the teacher ensemble has no members; name weights of a few runs")
        if self.batch == 1 and min(self.patch) <= 8:
            raise ValueError("one patch of 8 voxels a step is too little for batch norm; add more")
        shared = set(self.validation) & set(self.test)
        if shared:
            raise ValueError(f"{sorted(shared)[0]} is in validation and in test")
        return self
