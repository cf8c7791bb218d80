"""The folder of a run: its files, and the lock that keeps a second process out.

- ``config.json``: the complete `TrainingConfig`
- ``split.json``: the subjects of training, validation and test
- ``start.safetensors``: a copy of the weights it started from, if any
- ``events.jsonl``: what happened, one JSON object per line
- ``control.json``: a command to the run, until it is obeyed
- ``train.log``: the log
- ``checkpoint.safetensors``: everything that the next step depends on
- ``last.safetensors``, ``best.safetensors``: weights at the last and at the best validation
- ``pseudo/``: pseudo-labels for unlabelled scans
- ``synthetic/``: subjects made to look like these
- ``unlabelled.json``: PVS found in unlabelled scans, before and after
- ``twin/``: the supervised twin of a run with ``compare``, a run folder itself;
  ``own.safetensors``: the run's own best weights, if the twin's became ``best.safetensors``
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_pvs import json_files
from napari_pvs.errors import InputError, words_of
from napari_pvs.files import abandoned, held, unwritable
from napari_pvs.study.roles import Split
from napari_pvs.training.config import TrainingConfig

CONFIG, SPLIT, EVENTS, LOG, LOCK = (
    "config.json",
    "split.json",
    "events.jsonl",
    "train.log",
    "run.lock",
)
CHECKPOINT, LAST, BEST = "checkpoint.safetensors", "last.safetensors", "best.safetensors"
START = "start.safetensors"
PSEUDO, SYNTHETIC, UNLABELLED = "pseudo", "synthetic", "unlabelled.json"
TWIN, OWN = "twin", "own.safetensors"
RUNS = Path("derivatives") / "runs"
"""Where a study keeps its runs."""


def require(run: Path) -> Path:
    """Return the path of a run's configuration.

    Raises
    ------
    InputError
        Not a run folder.
    """
    path = Path(run) / CONFIG
    if not path.is_file():
        raise InputError(f"{run} contains no {CONFIG}; name the folder of a run.")
    return path


def read_config(run: Path) -> TrainingConfig:
    """Read the configuration of a run.

    Raises
    ------
    InputError
        Not a run folder, or one from a newer version.
    """
    path = require(run)
    values = json_files.read(path, dict[str, Any], "fix or remove it", "is not readable JSON")
    if "study" not in values:
        raise InputError(
            f"{path} is not the configuration of a run; create one with napari-pvs train."
        )
    try:
        return _where_it_is(TrainingConfig.model_validate(migrated(values)), Path(run))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: {words_of(first, where)}; correct it, or start a new run."
        ) from error


def _where_it_is(config: TrainingConfig, run: Path) -> TrainingConfig:
    """Find a study that was moved or renamed together with the run inside it."""
    run = run.absolute()
    around = run.parents[len(RUNS.parts)] if len(run.parents) > len(RUNS.parts) else run
    if config.study.is_dir() or run.parent != around / RUNS:
        return config
    return config.model_copy(update={"study": around})


def require_study(config: TrainingConfig, run: Path) -> None:
    """Refuse to continue a run whose study cannot be found.

    Raises
    ------
    InputError
        The study's folder does not exist.
    """
    if not config.study.is_dir():
        raise InputError(
            f"{config.study}, the study of the run {run}, is not there; put it back, or change "
            f"study in {Path(run) / CONFIG} to where it is now."
        )


def migrated(values: Mapping[str, object]) -> dict[str, object]:
    """Convert the configuration of an older version."""
    if isinstance(values.get("patch"), int):  # once there was only one patch edge
        return {**values, "patch": [values["patch"]]}
    return dict(values)


def read_split(run: Path) -> Split:
    """Read the roles of a run's subjects.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    path = Path(run) / SPLIT
    try:
        return json_files.read(path, Split, "start a new run", "is missing or damaged")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing or damaged; start a new run.") from error


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes out of a run; the system frees the lock of a dead process.

    Raises
    ------
    InputError
        Another process has the lock.
    """
    with ExitStack() as stack:
        try:
            # whoever only looks whether it is running has it for a moment
            stack.enter_context(held(Path(run) / LOCK, timeout=1.0))
        except TimeoutError as error:
            raise busy(run, abandoned(error)) from error
        except OSError as error:
            raise unwritable(run, error, "choose another folder") from error
        yield


def busy(run: Path, more: str = "") -> InputError:
    """Return the error for starting a run, or another one of its study, while it is running.

    ``more`` ends its sentence.
    """
    return InputError(
        f"{run} is being trained by another process; follow it (napari-pvs runs follow, or the "
        f"Train dock), and wait for it to end or stop it first{more}."
    )


def is_running(run: Path) -> bool:
    """Tell whether a process is training in this folder."""
    path = Path(run) / LOCK
    if not path.exists():
        return False
    try:
        with held(path):
            return False
    except TimeoutError:
        return True
    except OSError:  # read-only, so nobody is training there
        return False
