"""Where the edits of a scan's labels are kept, and what was left there by an earlier session.

In a study they are revisions of the subject. Else, and where a study cannot be written, they are
revisions in a folder of the user's own: the folder of a scan may be read-only, or shared with
people who should not find half-done labels there. The scan is known again by its voxels, wherever
its files are.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from napari_pvs import json_files
from napari_pvs.correction.review import Decision, Review
from napari_pvs.errors import InputError
from napari_pvs.files import unwritable, write_text
from napari_pvs.scans.grid import Grid, to_ras
from napari_pvs.scans.scan import Scan
from napari_pvs.study.labels import LabelStore, Origin, Revision, State
from napari_pvs.study.paths import label_folder, require

Parents = dict[Path, int]
"""By study, or folder of drafts: the revision that labels were made from."""


@dataclass(frozen=True, eq=False)
class Offer:
    """Edits that were never saved as final.

    Attributes
    ----------
    revision
        The newest draft.
    labels
        (X, Y, Z) on the scan's grid.
    root
        Study, or folder of drafts, that it is a revision of.
    """

    revision: Revision
    labels: NDArray[np.int32]
    root: Path

    @property
    def text(self) -> str:
        """What it is, in a sentence."""
        when = self.revision.time.astimezone().strftime("%d %B %Y, %H:%M")
        return (
            f"Edits by {self.revision.author} of {when} were not saved as final: "
            f"{self.revision.volume_mm3:.0f} mm³ of PVS."
        )


@dataclass(frozen=True)
class Made:
    """Who made labels, and how.

    Attributes
    ----------
    author
        The rater.
    origin
        ``drawn``, or ``corrected`` from something.
    weights
        Id of the weights of the prediction they were corrected from.
    parents
        Of which revisions they were made. Whoever saves one notes it here, for the next.
    """

    author: str
    origin: Origin
    weights: str | None = None
    parents: Parents = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Saved:
    """A revision that was written.

    Attributes
    ----------
    revision
        It; None where nothing was written because the labels are kept already.
    notes
        What the user should know.
    """

    revision: Revision | None
    notes: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """Of the revision, where there is one."""
        if self.revision is None:
            raise RuntimeError("no revision was written")
        return self.revision.number


log = logging.getLogger(__name__)


class DraftStore:
    """Drafts and review decisions of one scan. Reads and writes files: not for the GUI thread.

    Parameters
    ----------
    scan
        Whose labels.
    study, subject
        Study and subject that the scan belongs to; None outside a study.
    keep_days
        Age from which on unfinished drafts may be deleted; None keeps all of them.
    """

    def __init__(
        self,
        scan: Scan,
        study: Path | None = None,
        subject: str | None = None,
        *,
        keep_days: float | None = None,
    ) -> None:
        self.scan = scan
        self.study, self.subject = study, subject
        self._decided: set[Decision] = set()
        self._days = keep_days
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
        """Save a draft in the study or, if that cannot be written, in the user's own folder.

        Parameters
        ----------
        labels
            (X, Y, Z) on the scan's grid.
        made
            By whom, and how.
        kept
            The user's own folder already holds these labels; only the study is tried.

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
                if self._days is not None and root[0] not in self._pruned:
                    # once: it reads all sidecars
                    self._pruned.add(root[0])
                    prune_unfinished(LabelStore(*root), self._days)
                return Saved(revision, self._notes(refused))
        if kept:
            return Saved(None, self._notes(refused))
        raise InputError(refused[0])

    def final(self, labels: NDArray[Any], made: Made) -> Saved:
        """Save a final revision in the study, so that nothing older is offered again.

        Outside a study this only records that the labels were saved elsewhere.

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

        An untouched prediction does not count.

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
        """Read the decisions about single PVS; a damaged file counts as none.

        A study may have become read-only, or writable, in between: the later decision counts.
        """
        found: list[Decision] = []
        for root, subject in self._roots:
            path = _review_path(root, subject)
            try:
                found += read_decisions(path)
            except (OSError, ValueError) as error:
                log.warning("%s cannot be read: %s", path, error)
        self._decided |= set(found)
        return latest(found)

    def save_review(self, review: Review) -> None:
        """Save the decisions about single PVS; decisions that others made since are kept.

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
                keep_decisions(_review_path(root, subject), review, self._decided)
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
    """Folder of drafts that belong to no study."""
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
    """Explain what the system refused, with the remedy."""
    if isinstance(error, InputError):
        return error
    return unwritable(error.filename or "the file", error, "make room or allow writing there")


def read_decisions(path: Path) -> tuple[Decision, ...]:
    """Read the decisions in a file; none if there is no file.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is damaged, or of a newer version.
    """
    try:
        return json_files.read(path, Review, "it is set aside").decisions
    except FileNotFoundError:
        return ()
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise ValueError(str(error)) from error


def keep_decisions(path: Path, review: Review, known: Collection[Decision]) -> None:
    """Write the decisions made here, beside those that others made since.

    A file that cannot be parsed is renamed and kept.

    Parameters
    ----------
    path
        The file.
    review
        The decisions made here.
    known
        Decisions that were ever known here: one that is only in the file was taken back.

    Raises
    ------
    InputError, OSError
        It cannot be read or written.
    """
    try:
        others = [one for one in read_decisions(path) if one not in known]
    except ValueError as error:  # pydantic's and Unicode's errors are such
        aside = next(p for n in range(1, 10_000) if not (p := _aside(path, n)).exists())
        path.rename(aside)
        log.warning("%s cannot be understood; it is %s now: %s", path, aside.name, error)
        others = []
    write_text(path, latest((*others, *review.decisions)).model_dump_json(indent=1) + "\n")


def latest(decisions: Iterable[Decision]) -> Review:
    """Return the last decision about each PVS, in the order of their times."""
    found = sorted(decisions, key=lambda one: one.time)
    last = {one.point: one for one in found}
    return Review(decisions=tuple(one for one in found if last[one.point] is one))


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.unread-{number}{path.suffix}")


KEPT = 5
"""Newest drafts that stay, whatever else holds."""
YOUNGEST_DAYS = 90
"""No draft that is younger goes before its labels are final."""


def prune(store: LabelStore) -> int:
    """Delete drafts that are older than the newest final revision; return how many.

    The `KEPT` newest stay, and of each rater the last: another one's edits may be in no final
    revision yet. Predictions stay, because they are what studies are scored by. A number that was
    given once is not given again. What cannot be deleted stays, without a word to the user.
    """

    def gone(revisions: list[Revision], drafts: list[Revision]) -> list[Revision]:
        final = max((one.number for one in revisions if one.state == "final"), default=0)
        return [one for one in drafts if one.number < final]

    return _prune(store, gone)


def prune_unfinished(store: LabelStore, days: float, now: datetime | None = None) -> int:
    """Delete drafts that are old and were gone on from, final or not; return how many.

    As with `prune`, the `KEPT` newest and the last of each rater stay. Of each rater and day the
    last stays too: what was erased on another day is still found.

    Parameters
    ----------
    store
        Of one scan's labels.
    days
        Age from which on a draft is old; `YOUNGEST_DAYS` where it is less.
    now
        The time; the clock's where None.
    """
    before = (now or datetime.now(UTC)) - timedelta(days=max(days, YOUNGEST_DAYS))

    def gone(_: list[Revision], drafts: list[Revision]) -> list[Revision]:
        last = {(one.author, one.time.date()): one.number for one in reversed(drafts)}
        return [
            one
            for one in drafts
            if one.time < before and one.number != last[one.author, one.time.date()]
        ]

    return _prune(store, gone)


def _prune(
    store: LabelStore, choose: Callable[[list[Revision], list[Revision]], list[Revision]]
) -> int:
    """Delete what is chosen of the drafts, the newest first, but for those that always stay."""
    count = 0
    try:
        revisions = store.revisions()
        drafts = [
            one
            for one in revisions[::-1]
            if one.state == "draft" and one.origin in ("drawn", "corrected")
        ]
        last = {one.author: one.number for one in reversed(drafts)}
        kept = {one.number for one in drafts[:KEPT]} | set(last.values())
        for one in choose(revisions, drafts):
            if one.number not in kept:
                store.delete(one)
                count += 1
    except (InputError, OSError) as error:
        log.warning("Old drafts could not be deleted: %s", error)
    return count
