"""A subject's PVS label as immutable revisions, beside the plain file that other tools see.

The revisions lie in ``derivatives/labels/sub-01/anat/revisions/``. The plain BIDS file beside that
folder, ``sub-01_desc-pvs_mask.nii.gz``, is a copy of the current final revision. When its content
is of no revision, someone edited it or put it there: then it is what counts, and it becomes a
revision before it would be overwritten.
"""

import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from napari_pvs import json_files
from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import atomic, unwritable, write_text
from napari_pvs.scans.nifti import Geometry, Volume, encoded, read_labels
from napari_pvs.study.paths import LABEL, label_folder, one, require

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
        remedy = "make room or allow writing there, and save again"
        raise unwritable(folder, error, remedy) from error


def stamp(path: Path, study: Path) -> str:
    """Path of a label in its study and the start of the SHA-256 of its content.

    Examples
    --------
    ``derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz@0123456789ab``
    """
    return f"{path.relative_to(study).as_posix()}@{digest(path)[:12]}"


class LabelStore:
    """The revisions of one subject's label.

    Parameters
    ----------
    root
        BIDS dataset.
    subject
        ``sub-01`` or ``sub-01_ses-02``.
    """

    def __init__(self, root: Path, subject: str):
        self.subject, self._root = subject, Path(root)
        self._anat = label_folder(root, subject)
        self._saved = Revisions(self._anat / "revisions")

    def revisions(self) -> list[Revision]:
        """Return all revisions, oldest first.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        return list(self._saved.newest_first())[::-1]

    def current(self, state: State = "final") -> Revision | None:
        """Return the newest revision in a state.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        return next((r for r in self._saved.newest_first() if r.state == state), None)

    def pending(self) -> Revision | None:
        """Return the newest draft that no final revision came after; a rater's before predictions.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        drafts = list(self.drafts())
        begun = (draft for draft in drafts if draft.origin != "predicted")
        return next(chain(begun, drafts), None)

    def predicted(self) -> Revision | None:
        """Return the newest prediction, whatever came after it.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        return next((r for r in self._saved.newest_first() if r.origin == "predicted"), None)

    def drafts(self) -> Iterator[Revision]:
        """Return the drafts that no final revision came after, newest first.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        return takewhile(lambda r: r.state == "draft", self._saved.newest_first())

    def path(self, revision: Revision) -> Path:
        """Path of the image of a revision."""
        return self._saved.path(revision)

    def delete(self, revision: Revision) -> None:
        """Delete a revision for good; others keep their numbers.

        Raises
        ------
        OSError
            It cannot be deleted; then it is still whole.
        """
        self._saved.delete(revision)

    def outside(self) -> Path | None:
        """Return the plain label file if it is of no final revision: another tool wrote it.

        Raises
        ------
        InputError
            There are two plain files, one cannot be read, or a sidecar is damaged.
        """
        path = one(self._anat, LABEL)
        if path is None or not self._saved.folder.is_dir():
            return path
        return None if self._saved.published(digest(path)) else path

    def stamped(self, known: str) -> Path | None:
        """Return where a label is that had a `stamp`: an imported one has moved to a revision.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        where, _, content = known.rpartition("@")
        path = self._root / where
        if path.is_file() and stamp(path, self._root) == known:
            return path
        found = (r for r in self._saved.newest_first() if r.sha256.startswith(content))
        # other formats are kept as they were, beside the revision made of them
        kept = self._saved.folder.glob(f"r*_{path.name}")
        moved = (p for p in kept if digest(p).startswith(content))
        return next(chain(map(self.path, found), moved), None)

    def load(self, revision: Revision) -> Volume:
        """Read the label of a revision: int32, in the axis order of the scan's file.

        Raises
        ------
        InputError
            The file is missing, or is not what was saved.
        """
        return self._saved.load(revision)

    def save(
        self,
        array: NDArray[Any],
        like: Geometry,
        *,
        author: str,
        origin: Origin,
        state: State = "final",
        parent: int | None = None,
        weights_id: str | None = None,
        comment: str = "",
    ) -> Revision:
        """Save a label as a new revision; a final one also becomes the plain file.

        A plain file that another tool wrote is imported first, as the revision before this one.
        Where that or replacing it fails, the file is left alone with an `InputWarning`: the
        revision is saved all the same.

        Parameters
        ----------
        array
            bool or integers (numbers of PVS are kept), in the axis order of ``like``.
        like
            The scan's file, such as ``Scan.source``.
        author
            The rater, or what made it.
        origin
            How it was made.
        state
            ``draft`` for an autosave, and for a prediction that nobody has looked at.
        parent
            Number of the revision that it was made from.
        weights_id
            Of the weights that it was predicted with or corrected from.
        comment
            Free text.

        Raises
        ------
        InputError
            It could not be written, or the study is no longer there; what was there before is
            untouched.
        ValueError
            The array is no label of this geometry.
        """
        require(self._root)
        content = _encoded(array, like)
        refused = None
        if state == "final":
            try:
                imported = self.import_outside()
                if imported and parent is None and origin == "corrected" and weights_id is None:
                    parent = imported.number  # of no revision, no prediction: of the plain file
            except (InputError, OSError) as error:
                refused = error
        revision = self._saved.commit(
            content,
            subject=self.subject,
            author=author,
            origin=origin,
            state=state,
            parent=parent,
            weights_id=weights_id,
            comment=comment,
            **_measures(array, like),
        )
        if state == "final":
            self._publish(refused)
        return revision

    def import_outside(self) -> Revision | None:
        """Make a revision of a plain file that another tool wrote.

        Else the plain file is brought up to date, should a crash have kept it from being so.

        Returns
        -------
        The new revision, if there was such a file.

        Raises
        ------
        InputError
            The file is not a label, or the study cannot be written.
        """
        path = self.outside()
        if path is None:
            self._publish()
            return None
        content = path.read_bytes()
        volume = read_labels(path)
        if path.read_bytes() != content:
            raise InputError(f"{path} is being written by another program; try again.")
        as_it_is = path.name.endswith(".nii.gz")
        before = self.current()
        revision = self._saved.commit(
            content if as_it_is else _encoded(volume.data, volume),
            subject=self.subject,
            author="unknown",
            origin="imported",
            state="final",
            parent=before.number if before else None,
            comment=path.name,
            **_measures(volume.data, volume),
        )
        if not as_it_is:  # the copy to come would be a second plain file
            with explained(self._saved.folder):
                path.rename(self._saved.folder / f"r{revision.number:04d}_{path.name}")
        self._publish()
        return revision

    def _publish(self, refused: Exception | None = None) -> None:
        """Make the plain file a copy of the current final revision, if that loses nothing.

        ``refused`` tells why another tool's file was not imported.
        """
        try:
            while (current := self.current()) is not None:
                if (path := self.outside()) is not None:
                    raise refused or InputError(f"{path} was changed by another program")
                path = one(self._anat, LABEL) or self._anat / f"{self.subject}{LABEL[1:]}.nii.gz"
                content = self.path(current).read_bytes()
                if not path.is_file() or path.read_bytes() != content:
                    with atomic(path) as temporary:
                        temporary.write_bytes(content)
                if self.current() == current:  # else another writer was quicker
                    return
        except (InputError, OSError) as error:
            reason = str(error).rstrip(".")
            warnings.warn(
                f"the plain label file of {self.subject} was left as it is ({reason}).",
                InputWarning,
                stacklevel=3,
            )


def _encoded(array: NDArray[Any], like: Geometry) -> bytes:
    """Return the bytes of the NIfTI file of a label; of equal labels they are equal."""
    if array.dtype.kind not in "biu" or (array.size and array.min() < 0):
        raise ValueError("a label holds booleans, or integers from 0")
    if array.size and array.max() <= 1:
        array = array.astype(bool)  # a quarter of the space
    return encoded(array, like)


def _measures(array: NDArray[Any], like: Geometry) -> dict[str, Any]:
    voxels = int(np.count_nonzero(array > 0))
    volume = voxels * abs(float(np.linalg.det(like.affine[:3, :3])))
    return {"voxels": voxels, "volume_mm3": round(volume, 3)}
