"""Immutable revisions in a folder: each has a number that nobody else gets, and is whole or absent.

A revision is an image ``r0001_<first 8 digits of its SHA-256>.nii.gz`` and a sidecar
``r0001.json``. The sidecar is created empty, which takes the number from all other writers, and is
filled last: a revision is there when its sidecar is filled. A writer that dies in between leaves a
number that is never used again.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import atomic, write_text
from napari_pvs.scans.nifti import Volume, read_labels

Origin = Literal["drawn", "corrected", "predicted", "imported"]
State = Literal["draft", "final"]


class Revision(BaseModel):
    """What stands in a sidecar; fields that a newer version may write are left out."""

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    subject: str
    """``sub-01`` or ``sub-01_ses-02``."""
    author: str
    origin: Origin
    weights_id: str | None = None
    """Of the weights that predicted it, or what it was corrected from."""
    time: AwareDatetime
    parent: int | None = None
    """Number of the revision that it was made from."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the image file."""
    voxels: int = Field(ge=0)
    """Voxels that are not background; 0 is a subject without PVS."""
    volume_mm3: float = Field(ge=0)
    state: State
    """Only final ones count for training; autosaves are drafts."""
    comment: str = ""


class Revisions:
    """The revisions in a folder, which need not exist yet."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def newest_first(self) -> Iterator[Revision]:
        """Read the sidecars from the newest on.

        Raises
        ------
        InputError
            One is damaged.
        """
        for number in sorted(self._numbers(r"\.json"), reverse=True):
            if (revision := self._read(number)) is not None:
                yield revision

    def published(self, sha256: str) -> bool:
        """Tell whether a file with this content is a final revision; a draft is nobody's label.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        found = (self._read(n) for n in self._numbers(rf"_{sha256[:8]}\.nii\.gz"))
        return any(r is not None and (r.state, r.sha256) == ("final", sha256) for r in found)

    def path(self, revision: Revision) -> Path:
        """Path of the image of a revision."""
        return self.folder / f"r{revision.number:04d}_{revision.sha256[:8]}.nii.gz"

    def load(self, revision: Revision) -> Volume:
        """Read the image of a revision.

        Raises
        ------
        InputError
            The file is missing, or is not what was saved.
        """
        path = self.path(revision)
        remedy = "restore it from a backup, or save the label anew"
        if not path.is_file():
            raise InputError(f"{path} is missing; {remedy}.")
        if digest(path) != revision.sha256:
            raise InputError(f"{path} was altered after it was saved; {remedy}.")
        return read_labels(path)

    def commit(self, content: bytes, **values: Any) -> Revision:
        """Write a revision under the next free number.

        Parameters
        ----------
        content
            Of the image file.
        **values
            Fields of `Revision`, but for number, time and SHA-256.

        Raises
        ------
        InputError
            It could not be written; nothing of it is left.
        """
        sha256, now = hashlib.sha256(content).hexdigest(), datetime.now(UTC)
        revision = Revision(number=1, time=now, sha256=sha256, **values)
        with explained(self.folder):
            revision = revision.model_copy(update={"number": self._claim()})
            sidecar = self._sidecar(revision.number)
            try:
                with atomic(self.path(revision)) as temporary:
                    temporary.write_bytes(content)
                write_text(sidecar, revision.model_dump_json(indent=2) + "\n")
            except BaseException:
                if not sidecar.stat().st_size:  # else it is saved, whatever came after
                    self.path(revision).unlink(missing_ok=True)
                    sidecar.unlink()
                raise
        return revision

    def _claim(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        number = max(self._numbers(r"[._].*"), default=0) + 1
        while True:
            try:
                # exclusive everywhere; hard links are unknown to exFAT
                self._sidecar(number).touch(exist_ok=False)
                return number
            except FileExistsError:
                number += 1

    def _numbers(self, ending: str) -> set[int]:
        pattern = re.compile(rf"r(\d{{4,}}){ending}")
        found = (pattern.fullmatch(path.name) for path in self.folder.glob("r*"))
        return {int(match[1]) for match in found if match}

    def delete(self, revision: Revision) -> None:
        """Delete a revision for good.

        Raises
        ------
        OSError
            It cannot be deleted; then it is still whole.
        """
        # it is there when its sidecar is filled: so that goes first
        self._sidecar(revision.number).unlink()
        self.path(revision).unlink(missing_ok=True)

    def _sidecar(self, number: int) -> Path:
        return self.folder / f"r{number:04d}.json"

    def _read(self, number: int) -> Revision | None:
        path = self._sidecar(number)
        remedy = "restore it from a backup, or move it away with its image"
        try:
            if not path.stat().st_size:
                return None
            return json_files.read(path, Revision, remedy, "is no readable revision")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"{path} is no readable revision ({error.strerror}); {remedy}."
            ) from error


def digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check that it is there and its permissions."
        ) from error


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn a full disk and the like into one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); make room or allow writing there, "
            "and save again."
        ) from error


def stamp(path: Path, study: Path) -> str:
    """Path of a label in its study and the start of the SHA-256 of its content.

    Examples
    --------
    ``derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz@0123456789ab``
    """
    return f"{path.relative_to(study).as_posix()}@{digest(path)[:12]}"
