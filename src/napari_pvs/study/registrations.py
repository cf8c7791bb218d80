"""How each subject's T2 lies on its T1, kept in a derivative so that it is found only once."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.scans.registration import Registration
from napari_pvs.study.paths import DERIVATIVE

_CACHE = "cache"
CACHE = DERIVATIVE / _CACHE
"""In a study: what can be made again from its scans."""
FOLDER = Path(_CACHE) / "registration"
"""In a derivative."""
_VERSION = 1  # raise it when `registration.find` finds something else
_Row = Annotated[tuple[FiniteFloat, ...], Field(min_length=4, max_length=4)]


class _Kept(BaseModel):
    """The JSON file of a subject."""

    model_config = ConfigDict(frozen=True)

    to_t1: Annotated[tuple[_Row, ...], Field(min_length=4, max_length=4)]
    shift_mm: FiniteFloat
    before: FiniteFloat
    after: FiniteFloat
    corrected: bool
    sharpness: FiniteFloat


def key(files: tuple[Path | None, ...], version: int) -> str:
    """Return a digest of what is made from files, without reading them.

    Parameters
    ----------
    files
        By path, size and time of change; None where there is none.
    version
        Of the code that makes it.
    """
    parts: list[Any] = [version]
    for path in files:
        if path is not None and path.exists():
            status = path.stat()
            parts.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
        else:
            parts.append(None)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def file_of(derivative: Path, name: str, files: tuple[Path | None, ...]) -> Path:
    """Return where the registration of a subject is kept; ``files`` are T1, T2 and brain mask."""
    return Path(derivative) / FOLDER / f"{name}-{key(files, _VERSION)}.json"


def known(path: Path) -> Registration | None:
    """Read what `keep` wrote; None where nothing was, or it is damaged."""
    with suppress(InputError):
        if path.is_file():
            kept = json_files.read(path, _Kept, "it is made again")
            return Registration.from_json(dict(kept))
    return None


def keep(path: Path, found: Registration) -> None:
    """Write a registration; where the study cannot be written, it is found again next time."""
    with suppress(OSError, InputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(found.as_json(), indent=1) + "\n")
