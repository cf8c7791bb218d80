"""A run's folder: what lies in it, and who may write there.

- ``config.json``: the `TrainingConfig`, complete
- ``split.json``: who trains, validates, and is not to be touched
- ``start.safetensors``: a copy of the weights that it starts from, where it starts from any
- ``events.jsonl``: what happened, one JSON object a line
- ``control.json``: a command for the run, for as long as it is not taken
- ``train.log``: the log, for people
- ``checkpoint.safetensors``: all that the next step depends on
- ``last.safetensors``, ``best.safetensors``: weights of the last validation, and of the best
- ``pseudo/``: pseudo-labels of unlabelled scans
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_pvs import json_files
from napari_pvs.errors import InputError, words_of
from napari_pvs.files import held
from napari_pvs.study.split import Split
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
PSEUDO = "pseudo"
RUNS = Path("derivatives") / "runs"
"""Where a study keeps its runs."""


def require(run: Path) -> Path:
    """Return the path of a run's configuration.

    Raises
    ------
    InputError
        No run folder.
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
        No run folder, or one that this version does not understand.
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


def migrated(values: dict[str, object]) -> dict[str, object]:
    """Bring the configuration of an older version to this one's fields."""
    if isinstance(values.get("patch"), int):  # one edge before there could be several
        values = values | {"patch": [values["patch"]]}
    return values


def read_split(run: Path) -> Split:
    """Read who has which role in a run.

    Raises
    ------
    InputError
        Missing or damaged.
    """
    path = Path(run) / SPLIT
    try:
        return json_files.read(path, Split, "start a new run", "is missing or damaged")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing or damaged; start a new run.") from error


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes from writing into a run; the system frees the lock of a dead one.

    Raises
    ------
    InputError
        A living process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(held(Path(run) / LOCK))
        except TimeoutError as error:
            raise busy(run) from error
        except OSError as error:
            raise InputError(
                f"{run} cannot be written ({error.strerror}); choose another folder."
            ) from error
        yield


def busy(run: Path) -> InputError:
    """Say that a run cannot be begun, or another one of its study, since it goes on."""
    return InputError(
        f"{run} is being trained by another process; follow it (napari-pvs runs follow, or the "
        "Train dock), and wait for its end or stop it first."
    )


def is_running(run: Path) -> bool:
    """Tell whether a living process trains in this folder."""
    path = Path(run) / LOCK
    if not path.exists():
        return False
    try:
        with held(path):
            return False
    except TimeoutError:
        return True
    except OSError:  # read-only: nobody can write there
        return False
