"""A subject's PVS label as immutable revisions, plus the plain file that other tools read.

The revisions are in ``derivatives/labels/sub-01/anat/revisions/``. The plain BIDS file next to that
folder, ``sub-01_label-PVS_mask.nii.gz``, is a copy of the current final revision. If its content
matches no revision, someone else wrote it: then it takes precedence, and it is imported as a
revision before it is ever overwritten.

Version 0.1 named the plain file ``sub-01_desc-pvs_mask.nii.gz``. Where there is one it stays, and
is kept up to date, because scripts may read it; a file of the other name is made where there is
none. Where there are both, each is such a copy; one that is not was written by someone else.
"""

import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from glob import escape
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from napari_pvs import json_files
from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import atomic, explained, write_text
from napari_pvs.scans import derivative
from napari_pvs.scans.nifti import Geometry, Volume, encoded, read_labels
from napari_pvs.study import paths
from napari_pvs.study.paths import entries, label_folder, require

Origin = Literal["drawn", "corrected", "predicted", "imported"]
State = Literal["draft", "final"]
_OURS = "NapariPvsRevision"
"""Key by which a sidecar of the plain file is known to be ours; the number of its revision."""
_ROOM = "make room or allow writing there, and save again"


class Revision(BaseModel):
    """The content of a sidecar; unknown fields, as a newer version may write, are ignored."""

    model_config = ConfigDict(frozen=True)

    format: Literal["napari-pvs-revision/1"] = "napari-pvs-revision/1"
    number: int = Field(ge=1)
    subject: str
    """``sub-01`` or ``sub-01_ses-02``."""
    author: str
    origin: Origin
    weights_id: str | None = None
    """Id of the weights behind it, or behind the prediction it was corrected from."""
    time: AwareDatetime
    parent: int | None = None
    """Number of the revision that it was made from."""
    adjudicates: tuple[int, ...] = ()
    """Numbers of the two raters' revisions that it decides between; empty for one rater's own."""
    made_from: tuple[int, ...] | None = None
    """Numbers of the final labels, the predictions and other raters' drafts behind it, which stay
    when drafts between them are deleted. None where that was not recorded."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the image file."""
    voxels: int = Field(ge=0)
    """Number of PVS voxels; 0 for a subject without PVS."""
    volume_mm3: float = Field(ge=0)
    state: State
    """Training uses only final revisions; autosaves are drafts."""
    comment: str = ""


class Revisions:
    """Numbered, immutable revisions in a folder, which need not exist yet."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def newest_first(self) -> Iterator[Revision]:
        """Read the sidecars, newest first.

        Raises
        ------
        InputError
            One is damaged.
        """
        for number in sorted(self._numbers(r"\.json"), reverse=True):
            if (revision := self._read(number)) is not None:
                yield revision

    def published(self, sha256: str) -> bool:
        """Tell whether some final revision has this content.

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
        """Read the image of a revision: int32, in the axis order of the scan's file.

        Raises
        ------
        InputError
            The file is missing, or was altered after it was saved.
        """
        path = self.path(revision)
        remedy = "restore it from a backup, or save the label again"
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
            Bytes of the image file.
        **values
            Fields of `Revision` other than number, time and SHA-256.

        Raises
        ------
        InputError
            It could not be written; no trace of it remains.
        """
        sha256, now = hashlib.sha256(content).hexdigest(), datetime.now(UTC)
        revision = Revision(number=1, time=now, sha256=sha256, **values)
        with explained(self.folder, _ROOM):
            revision = revision.model_copy(update={"number": self._claim()})
            sidecar = self._sidecar(revision.number)
            try:
                with atomic(self.path(revision)) as temporary:
                    temporary.write_bytes(content)
                write_text(sidecar, revision.model_dump_json(indent=2) + "\n")
            except BaseException:
                if not sidecar.stat().st_size:  # otherwise it was saved, and the error came later
                    self.path(revision).unlink(missing_ok=True)
                    sidecar.unlink()
                raise
        return revision

    def behind(self, number: int | None, author: str) -> tuple[int, ...]:
        """Return what `Revision.made_from` is of a revision made from this one.

        Parameters
        ----------
        number
            Number of the parent; None for none.
        author
            Of what is made from it.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        found: list[int] = []
        while number is not None and (one := self._read(number)) is not None:
            kept = one.state == "final" or one.origin == "predicted"
            if kept or one.author != author:
                found.append(number)
            if kept or one.made_from is not None:
                return (*found, *(() if kept else one.made_from or ()))
            number = one.parent if one.parent is not None and one.parent < number else None
        return tuple(found)

    def _claim(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        number = max(self._numbers(r"[._].*"), default=0) + 1
        while True:
            try:
                # atomic on every file system; exFAT has no hard links
                self._sidecar(number).touch(exist_ok=False)
                return number
            except FileExistsError:
                number += 1

    def _numbers(self, ending: str) -> set[int]:
        pattern = re.compile(rf"r(\d{{4,}}){ending}")
        found = (pattern.fullmatch(path.name) for path in entries(self.folder))
        return {int(match[1]) for match in found if match}

    def delete(self, revision: Revision) -> None:
        """Delete a revision for good; the others keep their numbers.

        Raises
        ------
        OSError
            It cannot be deleted, and is still intact.
        """
        # a revision exists once its sidecar is filled, so the sidecar goes first
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
            return json_files.read(path, Revision, remedy, "is not a readable revision")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"{path} is not a readable revision ({error.strerror}); {remedy}."
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
            f"{path} cannot be read ({error.strerror}); check that it exists, and its permissions."
        ) from error


def stamp(path: Path, study: Path) -> str:
    """Return a label's path within its study, and the first digits of its SHA-256.

    Examples
    --------
    ``derivatives/labels/sub-01/anat/sub-01_label-PVS_mask.nii.gz@0123456789ab``
    """
    return f"{path.relative_to(study).as_posix()}@{digest(path)[:12]}"


class LabelStore(Revisions):
    """The revisions of one subject's label, and the plain file beside them.

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
        super().__init__(self._anat / "revisions")

    def revisions(self) -> list[Revision]:
        """Return all revisions, oldest first.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        return list(self.newest_first())[::-1]

    def current(self, state: State = "final") -> Revision | None:
        """Return the newest revision in a state.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        return next((r for r in self.newest_first() if r.state == state), None)

    def pending(self) -> Revision | None:
        """Return the newest draft since the last final revision; a rater's before a prediction.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        drafts = list(self.drafts())
        begun = (draft for draft in drafts if draft.origin != "predicted")
        return next(chain(begun, drafts), None)

    def predicted(self) -> Revision | None:
        """Return the newest prediction, even if a final revision came after it.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        return next((r for r in self.newest_first() if r.origin == "predicted"), None)

    def drafts(self) -> Iterator[Revision]:
        """Return the drafts since the last final revision, newest first.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        return takewhile(lambda r: r.state == "draft", self.newest_first())

    def overtaken(self, revision: Revision) -> Revision | None:
        """Return the final label that a new one takes the place of, unless it was made from it.

        That is, one saved since the final label that the new one was made from. Where it was made
        from none, nobody's work was passed over.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        finals = {one.number: one for one in self.newest_first() if one.state == "final"}
        behind = *(revision.made_from or ()), *revision.adjudicates
        known = [n for n in behind if n in finals]
        between = [n for n in finals if max(known, default=revision.number) < n < revision.number]
        return finals[max(between)] if between else None

    def outside(self) -> Path | None:
        """Return the plain label file if it matches no final revision: another tool wrote it.

        Raises
        ------
        InputError
            There are two plain files, one cannot be read, or a sidecar is damaged.
        """
        plain = paths.labels(self._anat)
        if self.folder.is_dir():
            plain = [path for path in plain if not self.published(digest(path))]
        if len(plain) > 1 and digest(plain[0]) != digest(plain[1]):
            one, two = plain
            raise InputError(f"{one.parent} contains {one.name} and {two.name}; keep one of them.")
        return next(iter(plain), None)

    def stamped(self, known: str) -> Path | None:
        """Find the file of a label by its `stamp`, even if it has since become a revision.

        Raises
        ------
        InputError
            A sidecar is damaged.
        """
        where, _, content = known.rpartition("@")
        path = self._root / where
        inside = path.is_relative_to(self._root)  # else a damaged file names another
        if inside and path.is_file() and stamp(path, self._root) == known:
            return path
        found = (r for r in self.newest_first() if r.sha256.startswith(content))
        # an imported file in another format is kept next to the revision made from it
        kept = self.folder.glob(f"r*_{escape(path.name)}")
        moved = (p for p in kept if digest(p).startswith(content))
        return next(chain(map(self.path, found), moved), None)

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
        adjudicates: tuple[int, ...] = (),
        comment: str = "",
    ) -> Revision:
        """Save a label as a new revision; a final one is also copied to the plain file.

        A plain file that another tool wrote is first imported as a revision of its own. If that or
        replacing the file fails, the file is left alone with an `InputWarning`, and the revision is
        saved all the same.

        Parameters
        ----------
        array
            bool or integers (one number per PVS is kept), in the axis order of ``like``.
        like
            The scan's file, such as ``Scan.source``.
        author
            The rater, or the tool.
        origin
            How it was made.
        state
            ``draft`` for an autosave, and for a prediction that nobody has reviewed.
        parent
            Number of the revision that it was made from.
        weights_id
            Id of the weights that it was predicted with or corrected from.
        adjudicates
            Numbers of the two raters' revisions that it decides between.
        comment
            Free text.

        Raises
        ------
        InputError
            It could not be written, or the study is gone; existing files are untouched.
        ValueError
            The array is not a label with this geometry.
        """
        require(self._root)
        content = _encoded(array, like)
        refused, made_from = None, None
        if state == "final":
            try:
                imported = self.import_outside()
                if imported and parent is None and origin == "corrected" and weights_id is None:
                    parent = imported.number  # it was corrected from the plain file
            except (InputError, OSError) as error:
                refused = error
        with suppress(InputError):  # of another revision
            made_from = self.behind(parent, author)
        revision = self.commit(
            content,
            subject=self.subject,
            author=author,
            origin=origin,
            state=state,
            parent=parent,
            weights_id=weights_id,
            adjudicates=adjudicates,
            made_from=made_from,
            comment=comment,
            **_measures(array, like),
        )
        if state == "final":
            self._publish(refused)
        return revision

    def import_outside(self) -> Revision | None:
        """Make a revision from a plain file that another tool wrote.

        If there is none, the plain file is brought up to date, in case a crash prevented that.

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
        revision = self.commit(
            content if as_it_is else _encoded(volume.data, volume),
            subject=self.subject,
            author="unknown",
            origin="imported",
            state="final",
            parent=before.number if before else None,
            comment=path.name,
            **_measures(volume.data, volume),
        )
        if not as_it_is:  # publishing would leave two plain files
            with explained(self.folder, _ROOM):
                path.rename(self.folder / f"r{revision.number:04d}_{path.name}")
        self._publish()
        return revision

    def _publish(self, refused: Exception | None = None) -> None:
        """Copy the current final revision to the plain file, unless that would lose something.

        ``refused`` is the reason why another tool's file was not imported.
        """
        try:
            while (current := self.current()) is not None:
                if (path := self.outside()) is not None:
                    raise refused or InputError(f"{path} was changed by another program")
                new = self._anat / derivative.image(self.subject, derivative.MASK)
                content = self.path(current).read_bytes()
                for path in paths.labels(self._anat) or [new]:
                    if not path.is_file() or path.read_bytes() != content:
                        with atomic(path) as temporary:
                            temporary.write_bytes(content)
                    self._describe(path, current)
                if self.current() == current:  # otherwise another writer got in between
                    return
        except (InputError, OSError) as error:
            reason = str(error).rstrip(".")
            warnings.warn(
                f"the plain label file of {self.subject} was left as it is ({reason}).",
                InputWarning,
                stacklevel=3,
            )

    def _describe(self, path: Path, current: Revision) -> None:
        """Write the sidecar of the plain file, unless another tool has written one."""
        sources: list[Path] = []
        with suppress(InputError):  # the label is as good without them
            scans = paths.scans(paths.anat_folder(self._root, self.subject).parent)
            sources = [scan for scan in paths.choose(scans, path)[:2] if scan is not None]
        if not sources:  # drafts of a scan of no study
            return
        manual = {"drawn": True, "corrected": True, "predicted": False}.get(current.origin)
        text = derivative.sidecar(
            "Perivascular spaces: the newest final label.",
            sources,
            self._root,
            manual=manual,
            kind="ROI",
            **{_OURS: current.number},
        )
        sidecar = derivative.sidecar_of(path)
        before = sidecar.read_text("utf-8", "replace") if sidecar.exists() else None
        if before is None or (_OURS in before and before != text):
            write_text(sidecar, text)
        derivative.describe(paths.label_dataset(self._root), "PVS labels", self._root)


def _encoded(array: NDArray[Any], like: Geometry) -> bytes:
    """Return a label as the bytes of a NIfTI file; equal labels give equal bytes."""
    if array.dtype.kind not in "biu" or (array.size and array.min() < 0):
        raise ValueError("a label has booleans, or integers from 0")
    if array.size and array.max() <= 1:
        array = array.astype(bool)  # a quarter of the space
    return encoded(array, like)


def _measures(array: NDArray[Any], like: Geometry) -> dict[str, Any]:
    voxels = int(np.count_nonzero(array > 0))
    volume = voxels * abs(float(np.linalg.det(like.affine[:3, :3])))
    return {"voxels": voxels, "volume_mm3": round(volume, 3)}
