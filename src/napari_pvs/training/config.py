"""The configuration of a training run, with every default of `napari-pvs train`."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_pvs.errors import InputError
from napari_pvs.inference.config import Within
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
    "within": "brain",
}
"""Defaults for ``recipe="paper"``; the paper leaves the others open."""
ADAPT: dict[str, Any] = {
    "weights": Path("starter"),
    "epochs": 20,
    "warmup": 0,
    "learning_rate": 1e-3,
    "average": 0.99,
    "validate_every": 5,
    "ramp_up": 5,
    "refresh": 5,
    "teacher": "inserted-privileged",
}
"""Defaults for ``recipe="adapt"``: a few minutes of training from existing weights."""
_MOST = 1_000_000
"""Largest count allowed, so that a damaged file cannot ask for an endless run."""
_RECIPES: dict[Any, dict[str, Any]] = {"paper": PAPER, "adapt": ADAPT}
_CONFIDENCES = ("confidence", "confidence_pvs")


class TrainingConfig(BaseModel):
    """What a run does; ``config.json`` in its folder, which is enough to repeat it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "Validation and test": (
            *("validation", "test", "threshold_scans", "validate_every", "follow_labels"),
        ),
        "Patches": ("batch", "patch", "foreground", "augment", "modality_dropout", "statistics"),
        "Optimisation": (
            *("steps", "learning_rate", "weight_decay", "warmup", "average"),
            *("focal_gamma", "focal_alpha", "focal_weight", "dice_weight"),
        ),
        "Unlabelled scans": (
            *("unlabelled_batch", "teacher", "refresh", "refresh_scans", "view", "consistency"),
            *("confidence", "confidence_pvs", "indicator", "consistency_weight", "ramp_up"),
            *("align", "within", "inserted", "privileged", "members", "sure", "synthetic"),
            "compare",
        ),
        "Advanced": ("device", "precision"),
    }

    study: Path = Field(description="Study (a BIDS dataset) with labels under derivatives/labels.")
    method: Annotated[str, OneOf(METHODS)] = Field(
        "supervised-multi",
        description="Mono- or multi-scale network, trained on labelled scans only or on unlabelled "
        "ones as well (semi-mono, m2ss).",
    )
    recipe: Recipe = Field(
        "default",
        description="default: what worked best for us, based on the paper; paper: its method to "
        "the letter; adapt: a few minutes on a few corrected scans, starting from existing weights "
        "(with m2ss, also without any label).",
    )
    seed: int = Field(0, ge=0, description="Random seed for the weights, split and sampling.")
    epochs: int = Field(100, ge=1, description="Number of epochs.")
    steps: int = Field(50, ge=1, description="Optimiser steps per epoch.")
    batch: int = Field(8, ge=1, description="Labelled patches of the smallest size per step.")
    patch: tuple[PatchEdge, ...] = Field(
        (32, 48),
        min_length=1,
        description="Patch edges in voxels, used in turn; a step has fewer of the larger patches.",
    )
    learning_rate: float = Field(
        2e-3, gt=0, description="Peak learning rate of the one-cycle schedule (AdamW)."
    )
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's weight decay.")
    warmup: int = Field(
        20,
        ge=0,
        description="Initial epochs with only labelled patches that contain PVS.",
    )
    foreground: float = Field(
        0.6, ge=0, le=1, description="Share of patches centred on a PVS after the warm-up."
    )
    focal_gamma: float = Field(2.0, ge=0, description="Focal loss: weight of hard voxels.")
    focal_alpha: float = Field(0.75, gt=0, lt=1, description="Focal loss: weight of PVS voxels.")
    focal_weight: float = Field(20.0, ge=0, description="Weight of the focal loss.")
    dice_weight: float = Field(
        1.0, ge=0, description="Weight of the soft Dice loss; 0 in the paper."
    )
    augment: bool = Field(True, description="Augment with flips, contrast, noise and blur.")
    modality_dropout: float = Field(
        0.35, ge=0, lt=1, description="Share of patches that are shown with only T1 or only T2."
    )
    statistics: Literal["auto", "fixed", "scan"] = Field(
        "auto",
        description="Which mean and variance batch norm uses. fixed: those of the training "
        "patches; scan: those of each scan, in training (all patches of a step are then from one "
        "scan) and in segmentation; auto: as in the start weights, or fixed if they are random.",
    )
    average: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="Decay of the running mean of the weights, which is what a run saves.",
    )
    unlabelled_batch: int = Field(
        8, ge=1, description="Unlabelled patches of the smallest size per step."
    )
    teacher: Annotated[str, OneOf(TEACHERS)] = Field(
        "inserted",
        description="What makes pseudo-labels. network: the network itself, at every step; mean: "
        "the running mean of its weights, on whole scans every few epochs; inserted: the mean, "
        "with PVS drawn into the scans; privileged: the mean, with mostly T1 or T2 alone shown to "
        "the network; inserted-privileged: both; ensemble: the average of several weights.",
    )
    members: tuple[Path, ...] = Field(
        (),
        description="Weights for the teacher ensemble, such as those of runs with different seeds.",
    )
    inserted: float = Field(
        3.0,
        ge=0,
        le=30,
        description="Mean number of PVS that the teacher inserted draws into an unlabelled patch "
        "of the smallest size.",
    )
    privileged: float = Field(
        0.75,
        ge=0,
        le=1,
        description="Share of unlabelled patches of which the teacher privileged shows the network "
        "T1 or T2 alone.",
    )
    refresh: int = Field(
        10, ge=1, description="Epochs between new pseudo-labels by the running mean."
    )
    refresh_scans: int = Field(
        24, ge=1, description="Maximum number of unlabelled scans pseudo-labelled at a time."
    )
    view: Literal["noise", "augment"] = Field(
        "augment",
        description="How an unlabelled patch is altered before the network has to reproduce its "
        "pseudo-label: by standard Gaussian noise, or by the augmentation of labelled patches.",
    )
    consistency: Literal["cross-entropy", "supervised"] = Field(
        "supervised",
        description="Loss on confident voxels: cross-entropy, or that of labelled patches.",
    )
    confidence: float = Field(
        0.5,
        ge=0.5,
        lt=1,
        description="Minimum probability for background voxels to be trained on; 0.8 in the "
        "paper. Pseudo-labels are aligned first, so that 0.5 is the boundary.",
    )
    confidence_pvs: float = Field(
        0.5, ge=0.5, lt=1, description="Minimum probability for PVS voxels to be trained on."
    )
    sure: float = Field(
        0.8,
        ge=0.5,
        lt=1,
        description="Without any label, and around inserted PVS: minimum probability of voxels to "
        "be trained on; doubtful ones are left out.",
    )
    synthetic: int = Field(
        16,
        ge=0,
        le=200,
        description="Without any label: number of synthetic subjects, made to look like the scans, "
        "whose labels are trained on.",
    )
    indicator: Literal["pseudo-label", "prediction"] = Field(
        "pseudo-label",
        description="Whose confidence counts: that of the pseudo-label, or of the prediction on "
        "the altered patch.",
    )
    consistency_weight: float = Field(
        0.5, ge=0, description="Weight of the loss on unlabelled patches."
    )
    ramp_up: int = Field(
        40, ge=0, description="Epochs over which that weight rises from 0 after the warm-up."
    )
    align: bool = Field(
        True,
        description="Make PVS about the same share of the brain in pseudo-labels as in labels, and "
        "choose the threshold accordingly; otherwise the network finds too few or too many PVS on "
        "scans from another scanner.",
    )
    within: Within = Field(
        "tissue",
        description="Where pseudo-labels may lie in whole unlabelled scans. tissue: not in cortex, "
        "sulci, cisterns, ventricles and cerebellum; brain: anywhere.",
    )
    compare: bool = Field(
        False,
        description="After a semi-supervised run, train a supervised twin for as many labelled "
        "steps, and keep its weights if they are better on the validation subjects.",
    )
    validation: tuple[str, ...] = Field(
        (), description="Subjects to validate on; if none is named, 1 in 10 labelled persons."
    )
    test: tuple[str, ...] = Field(
        (),
        description="Subjects to keep for a test; if no validation is named, 1 in 10 persons.",
    )
    threshold_scans: int = Field(
        6,
        ge=0,
        description="Number of labelled scans on which the threshold is chosen: those of the "
        "validation, topped up with training scans.",
    )
    follow_labels: bool = Field(
        True,
        description="Train on labels that are added or changed during the run, from the next "
        "epoch on.",
    )
    validate_every: int = Field(10, ge=1, description="Epochs between validations.")
    weights: Path | None = Field(
        None,
        description="Weights to start from, or 'starter'.",
        json_schema_extra={"options": ["--weights", "--from"]},
    )
    device: Device = Field(
        "auto", description="Where the network runs. auto: CUDA, else Apple's MPS, else the CPU."
    )
    precision: Precision = Field(
        "auto",
        description="auto: bfloat16 convolutions if the processor supports them; full: float32.",
    )

    @property
    def network(self) -> NetworkConfig:
        """The network of the method."""
        multiscale = METHODS[self.method].multiscale
        own = "scan" if self.one_scan else "fixed"
        return NetworkConfig(multiscale=multiscale, statistics=own)

    @property
    def one_scan(self) -> bool:
        """Whether all patches of a step are of one scan, whose statistics batch norm takes."""
        return self.statistics == "scan"

    @property
    def semi_supervised(self) -> bool:
        """Whether the method also trains on unlabelled scans."""
        return METHODS[self.method].semi_supervised

    @property
    def taught_by(self) -> str | None:
        """Name of the teacher: the method's own, or the one chosen; None if supervised."""
        method = METHODS[self.method]
        return (method.teacher or self.teacher) if method.semi_supervised else None

    def require_epochs(self) -> None:
        """Refuse a semi-supervised run on labels that ends within its warm-up.

        Raises
        ------
        InputError
            It would use no unlabelled scan.
        """
        if self.semi_supervised and self.epochs <= self.warmup:
            raise InputError(
                f"method {self.method} uses unlabelled scans after a warm-up of {self.warmup} "
                f"epochs, and the run has {self.epochs}; give more --epochs, or a smaller --warmup."
            )

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
        """Return a copy with absolute paths, so that the run can be resumed from any folder."""
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
        if isinstance(values, dict) and isinstance(recipe := values.get("recipe"), str):
            return _RECIPES.get(recipe, {}) | values
        return values

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        for name, value in self:
            most = _MOST if name != "seed" else 2**53
            if isinstance(value, int) and value > most:
                raise ValueError(f"{name} is more than {most:,}")
        if self.focal_weight == 0 and self.dice_weight == 0:
            raise ValueError("focal_weight and dice_weight are both 0; nothing would be learned")
        if self.taught_by == "ensemble" and not self.members:
            raise ValueError("the teacher ensemble has no members; give the weights of a few runs")
        if self.members and self.teacher != "ensemble":
            raise ValueError("members are those of the teacher ensemble; choose it, too")
        if self.batch == 1 and min(self.patch) <= 8:
            raise ValueError("batch norm needs more than one patch of 8 voxels per step; add more")
        shared = set(self.validation) & set(self.test)
        if shared:
            raise ValueError(f"{sorted(shared)[0]} is in both validation and test")
        return self
