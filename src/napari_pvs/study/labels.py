"""A subject's PVS label as immutable revisions, beside the plain file that other tools see.

The revisions lie in ``derivatives/labels/sub-01/anat/revisions/``. The plain BIDS file beside that
folder, ``sub-01_desc-pvs_mask.nii.gz``, is a copy of the current final revision. When its content
is of no revision, someone edited it or put it there: then it is what counts, and it becomes a
revision before it would be overwritten.
"""

import warnings
from collections.abc import Iterator
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import atomic
from napari_pvs.scans.nifti import Geometry, Volume, encoded, read_labels
from napari_pvs.study.layout import LABEL, label_folder, one, require
from napari_pvs.study.revision import Origin, Revision, Revisions, State, digest, explained, stamp


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
