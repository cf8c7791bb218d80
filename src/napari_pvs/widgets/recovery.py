"""Where the edits of a scan's labels are kept, and what was left there by an earlier session.

In a study they are revisions of the subject. Else, and where a study cannot be written, they are
revisions in a folder of the user's own: the folder of a scan may be read-only, or shared with
people who should not find half-done labels there. The scan is known again by its voxels, wherever
its files are.
"""

import hashlib
import logging
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.inference.review import Decision, Review
from napari_pvs.scans.grid import Grid, to_ras
from napari_pvs.scans.scan import Scan
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.layout import label_folder, require
from napari_pvs.study.revision import Revision, State
from napari_pvs.widgets import decided
from napari_pvs.widgets.kept import Made, Offer, Saved
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.pruning import prune, prune_unfinished

log = logging.getLogger(__name__)


class Place:
    """Where the labels of one scan go. Its calls read and write files: not for the GUI thread.

    Parameters
    ----------
    scan
        Whose labels.
    study, subject
        Where it belongs to; None outside a study.
    """

    def __init__(self, scan: Scan, study: Path | None = None, subject: str | None = None) -> None:
        self.scan = scan
        self.study, self.subject = study, subject
        self._decided: set[Decision] = set()
        self._days: float = preferences().correct.keep_drafts_days
        self._pruned: set[Path] = set()

    @property
    def in_study(self) -> bool:
        """Whether the scan belongs to a study."""
        return self.study is not None and self.subject is not None

    @cached_property
    def _roots(self) -> list[tuple[Path, str]]:
        own = (recovery_folder(), f"sub-{scan_key(self.scan)}")
        return [(self.study, self.subject), own] if self.study and self.subject else [own]

    def draft(self, labels: NDArray[Any], made: Made, kept: bool = False) -> Saved:
        """Save a draft: in the study or, if that cannot be written, in the user's own folder.

        Parameters
        ----------
        labels
            (X, Y, Z) on the scan's grid.
        made
            By whom, and how.
        kept
            The user's own folder holds these labels: only the study is tried.

        Raises
        ------
        InputError
            Neither can be written.
        """
        refused: list[str] = []
        for root in self._roots[:1] if kept else self._roots:
            try:
                revision = self._save(root, labels, made, "draft")
            except (InputError, OSError) as error:
                refused.append(str(explained(error)))
                log.warning("Autosave failed: %s", error)
            else:
                if root[0] not in self._pruned:  # once: it reads all sidecars
                    self._pruned.add(root[0])
                    prune_unfinished(LabelStore(*root), self._days)
                return Saved(revision, self._notes(refused))
        if kept:
            return Saved(None, self._notes(refused))
        raise InputError(refused[0])

    def final(self, labels: NDArray[Any], made: Made) -> Saved:
        """Save a final revision in the study, and let nothing older be offered again.

        Outside a study this only says that the labels were saved elsewhere.

        Parameters
        ----------
        labels, made
            As in `draft`.

        Raises
        ------
        InputError
            It cannot be written.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                revision = self._save(self._roots[0], labels, made, "final")
            except OSError as error:
                raise explained(error) from error
            notes = []
            for root in self._roots[1:]:
                try:
                    if LabelStore(*root).pending() is not None:
                        self._save(root, labels, made, "final")
                except (InputError, OSError) as error:  # the study has them all the same
                    log.warning("An older draft in %s could not be settled: %s", root[0], error)
                    notes.append(f"An older draft of yours stays: {explained(error)}")
        for root in self._roots:
            prune(LabelStore(*root))
        return Saved(revision, (*(str(one.message) for one in caught), *notes))

    def pending(self) -> Offer | None:
        """Find the newest edits that were never saved as final.

        A prediction that nobody has touched is none.

        Raises
        ------
        InputError
            They are there, but damaged or of another scan.
        """
        drafts = []
        for place in self._roots:
            store = LabelStore(*place)
            # a prediction that nobody touched is no edit, and hides none
            draft = next((d for d in store.drafts() if d.origin != "predicted"), None)
            if draft is not None:
                drafts.append((draft, store, place[0]))
        if not drafts:
            return None
        draft, store, root = max(drafts, key=lambda one: one[0].time)
        final = LabelStore(*self._roots[0]).current()
        if final is not None and final.time > draft.time:
            return None
        volume = store.load(draft)
        data, affine = to_ras(volume.data, volume.affine)
        if not Grid(data.shape, affine).same_as(self.scan.grid):
            raise InputError(
                f"{store.path(draft)} does not lie on this scan's voxels; was the scan replaced?"
            )
        return Offer(draft, data, root)

    def review(self) -> Review:
        """Read what was decided about single PVS; nothing where a file is damaged.

        A study may have become read-only, or writable, in between: the later decision counts.
        """
        found: list[Decision] = []
        for root, subject in self._roots:
            path = _review_path(root, subject)
            try:
                found += decided.read(path)
            except (OSError, ValueError) as error:
                log.warning("%s cannot be read: %s", path, error)
        self._decided |= set(found)
        return decided.latest(found)

    def save_review(self, review: Review) -> None:
        """Keep what was decided about single PVS; what others decided since stays.

        Raises
        ------
        InputError
            It cannot be written.
        """
        self._decided |= set(review.decisions)
        refused: list[InputError] = []
        for root, subject in self._roots:
            try:
                self._ready(root)
                decided.keep(_review_path(root, subject), review, self._decided)
                return
            except (InputError, OSError) as error:
                refused.append(explained(error))
        raise refused[0]

    def _notes(self, refused: list[str]) -> tuple[str, ...]:
        return tuple(
            f"{text} Until then edits are kept in {self._roots[-1][0]}." for text in refused
        )

    def _ready(self, root: Path) -> None:
        """Make the user's own folder where it is not there; a study must be."""
        if root == self.study:
            require(root)
        else:
            root.mkdir(parents=True, exist_ok=True)

    def _save(
        self,
        root: tuple[Path, str],
        labels: NDArray[Any],
        made: Made,
        state: State,
    ) -> Revision:
        self._ready(root[0])
        store = LabelStore(*root)
        if labels.min(initial=0) < 0 or labels.max(initial=0) > np.iinfo(np.int32).max:
            raise InputError(
                "the labels hold numbers below 0 or above 2147483647, which no label file of ours "
                "can; give them others."
            )
        revision = store.save(
            self.scan.to_source(labels),
            self.scan.source,
            author=made.author,
            origin=made.origin,
            state=state,
            weights_id=made.weights,
            parent=made.parents.get(root[0]),
        )
        made.parents[root[0]] = revision.number
        return revision


def recovery_folder() -> Path:
    """Folder of edits that belong to no study."""
    return platformdirs.user_data_path("napari-pvs", appauthor=False) / "recovery"


def scan_key(scan: Scan) -> str:
    """Name a scan by its voxels: 16 letters and digits, the same for every copy of its files."""
    digest = hashlib.sha256(repr((scan.grid.shape, scan.grid.affine.round(3).tolist())).encode())
    for image in (scan.t1, scan.t2):
        if image is not None:
            digest.update(np.ascontiguousarray(image[::4, ::4, ::4]).tobytes())
    return digest.hexdigest()[:16]


def _review_path(root: Path, subject: str) -> Path:
    return label_folder(root, subject) / f"{subject}_desc-pvs_review.json"


def explained(error: InputError | OSError) -> InputError:
    """Say what the system has refused, and what to do."""
    if isinstance(error, InputError):
        return error
    return InputError(
        f"{error.filename or 'the file'} cannot be written ({error.strerror}); make room or "
        "allow writing there."
    )
