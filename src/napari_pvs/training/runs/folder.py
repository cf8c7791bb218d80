"""The folder of a run: its files, and the lock that keeps a second process out.

- ``config.json``: the complete `TrainingConfig`
- ``split.json``: the subjects of training, validation and test
- ``start.safetensors``: a copy of the weights that it started from, if any
- ``events.jsonl``: what happened, one JSON object a line
- ``control.json``: a command to the run, until it is obeyed
- ``train.log``: the log
- ``checkpoint.safetensors``: everything that the next step depends on
- ``last.safetensors``, ``best.safetensors``: weights of the last validation, and of the best
- ``pseudo/``: pseudo-labels of unlabelled scans
- ``unlabelled.json``: PVS found in unlabelled scans, before and after
- ``twin/``: the supervised twin of a semi-supervised run that was compared, a run folder itself;
  ``own.safetensors``: the run's own best weights, where the twin's became ``best.safetensors``
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_pvs import json_files
from napari_pvs.errors import InputError, words_of
from napari_pvs.files import held, unwritable
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
PSEUDO, UNLABELLED = "pseudo", "unlabelled.json"
TWIN, OWN = "twin", "own.safetensors"
RUNS = Path("derivatives") / "runs"
"""Where the runs of a study are."""


def require(run: Path) -> Path:
    """Return the path of a run's configuration.

    Raises
    ------
    InputError
        Not a run folder.
    """
    path = Path(run) / CONFIG
    if not path.is_file():
        raise InputError(f"{run} holds no {CONFIG}; name the folder of a run.")
    return path


def read_config(run: Path) -> TrainingConfig:
    """Read the configuration of a run.

    Raises
    ------
    InputError
        Not a run folder, or one of a newer version.
    """
    path = require(run)
    values = json_files.read(path, dict[str, Any], "mend it or remove it", "is not readable JSON")
    if "study" not in values:
        raise InputError(f"{path} is no configuration of a run; write it with napari-pvs train.")
    try:
        return _where_it_is(TrainingConfig.model_validate(migrated(values)), Path(run))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: {words_of(first, where)}; mend it, or start a new run."
        ) from error


def _where_it_is(config: TrainingConfig, run: Path) -> TrainingConfig:
    """Find a study that was moved or renamed together with the run that lies in it."""
    run = run.absolute()
    around = run.parents[len(RUNS.parts)] if len(run.parents) > len(RUNS.parts) else run
    if config.study.is_dir() or run.parent != around / RUNS:
        return config
    return config.model_copy(update={"study": around})


def require_study(config: TrainingConfig, run: Path) -> None:
    """Refuse to go on with a run whose study is nowhere to be found.

    Raises
    ------
    InputError
        The folder is not there.
    """
    if not config.study.is_dir():
        raise InputError(
            f"{config.study}, the study of the run {run}, is not there; put it back, or write "
            f"where it is now into {Path(run) / CONFIG} (study)."
        )


def migrated(values: Mapping[str, object]) -> dict[str, object]:
    """Convert the configuration of an older version."""
    if isinstance(values.get("patch"), int):  # there used to be one edge only
        return {**values, "patch": [values["patch"]]}
    return dict(values)


def read_split(run: Path) -> Split:
    """Read the roles of the subjects of a run.

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
    """Keep other processes out of a run; the lock of a dead process is freed by the system.

    Raises
    ------
    InputError
        Another process holds the lock.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(held(Path(run) / LOCK))
        except TimeoutError as error:
            raise busy(run) from error
        except OSError as error:
            raise unwritable(run, error, "choose another folder") from error
        yield


def busy(run: Path) -> InputError:
    """Return the error for starting a run, or another one of its study, while it is running."""
    return InputError(
        f"{run} is being trained by another process; follow it (napari-pvs runs follow, or the "
        "Train dock), and wait for its end or stop it first."
    )


def is_running(run: Path) -> bool:
    """Return whether a process is training in this folder."""
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
