"""Where edits to a scan's labels are saved, and how those of an earlier session are found.

In a study they are revisions of the subject. Outside a study, or if the study cannot be written,
they are revisions in a folder in the user's own data: the scan's folder may be read-only, or shared
with people who should not come across half-finished labels. The scan is recognised by its voxels,
wherever its files are.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from napari_pvs import json_files
from napari_pvs.correction.items import Decision, Review
from napari_pvs.errors import InputError
from napari_pvs.files import changing, unwritable, write_text
from napari_pvs.scans.derivative import REVIEW
from napari_pvs.scans.grid import Grid, to_ras
from napari_pvs.scans.scan import Scan
from napari_pvs.study.labels import LabelStore, Origin, Revision, State
from napari_pvs.study.paths import label_folder, require

Parents = dict[Path, int]
"""By study, or folder of drafts: number of the revision that labels were made from."""


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
        Study, or folder of drafts, that the revision belongs to.
    """

    revision: Revision
    labels: NDArray[np.int32]
    root: Path

    @property
    def text(self) -> str:
        """What is offered, in one sentence."""
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
        Id of the weights behind the prediction they were corrected from.
    parents
        The revisions they were made from; updated whenever one is saved.
    adjudicates
        The revisions of two raters that they decide between.
    comment
        Free text, kept in the revision.
    """

    author: str
    origin: Origin
    weights: str | None = None
    parents: Parents = field(default_factory=dict)
    adjudicates: tuple[int, ...] = ()
    comment: str = ""


@dataclass(frozen=True, eq=False)
class Saved:
    """A revision that was written.

    Attributes
    ----------
    revision
        None if nothing was written, because these labels are saved already.
    notes
        Sentences for the user.
    """

    revision: Revision | None
    notes: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """Number of the revision."""
        if self.revision is None:
            raise RuntimeError("no revision was written")
        return self.revision.number


log = logging.getLogger(__name__)


class DraftStore:
    """Drafts and review decisions of one scan. It reads and writes files: not for the GUI thread.

    Parameters
    ----------
    scan
        The scan that is labelled.
    study, subject
        Study and subject that the scan belongs to; None outside a study.
    keep_days
        Unfinished drafts older than this may be deleted; None keeps them all.
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
        """Save a draft in the study or, if that fails, in the user's own folder.

        Parameters
        ----------
        labels
            (X, Y, Z) on the scan's grid.
        made
            Who made them, and how.
        kept
            The user's own folder already has these labels, so only the study is tried.

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
                refused.append(str(as_input_error(error)))
                log.warning("Autosave failed: %s", error)
            else:
                if self._days is not None and root[0] not in self._pruned:
                    # only once, because it reads every sidecar
                    self._pruned.add(root[0])
                    prune_unfinished(LabelStore(*root), self._days)
                return Saved(revision, self._notes(refused))
        if kept:
            return Saved(None, self._notes(refused))
        raise InputError(refused[0])

    def final(self, labels: NDArray[Any], made: Made, blind: bool = False) -> Saved:
        """Save a final revision in the study, so that older drafts are no longer offered.

        Outside a study this only records that the labels were saved somewhere else.

        Parameters
        ----------
        labels, made
            As in `draft`.
        blind
            Tell nothing of what others have done.

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
                raise as_input_error(error) from error
            notes = []
            for root in self._roots[1:]:
                try:
                    if LabelStore(*root).pending() is not None:
                        self._save(root, labels, made, "final")
                except (InputError, OSError) as error:  # the labels are safe in the study
                    log.warning("An older draft in %s could not be closed: %s", root[0], error)
                    notes.append(f"An older draft of yours remains: {as_input_error(error)}")
        store = LabelStore(*self._roots[0])
        with suppress(InputError):  # of another revision
            if not blind and (passed := store.overtaken(revision)) is not None:
                notes.insert(0, _instead_of(passed))
        for root in self._roots:
            prune(LabelStore(*root))
        return Saved(revision, (*(str(one.message) for one in caught), *notes))

    def pending(self, rater: str | None = None) -> Offer | None:
        """Find the newest edits that were never saved as final.

        An untouched prediction does not count as an edit.

        Parameters
        ----------
        rater
            Only edits by this one, whatever others have saved as final since; None for anybody's.

        Raises
        ------
        InputError
            There are some, but they are damaged or belong to another scan.
        """
        seen = LabelStore(*self._roots[0]).newest_first()
        final = next(
            (one for one in seen if one.state == "final" and rater in (None, one.author)), None
        )
        drafts = []
        for place in self._roots:
            store = LabelStore(*place)
            # skip untouched predictions, so that they do not hide edits
            newest = (one for one in store.newest_first() if rater in (None, one.author))
            begun = takewhile(lambda one: one.state == "draft", newest)
            draft = next((one for one in begun if one.origin != "predicted"), None)
            if draft is None:
                continue
            # numbers have told what is newer in the final's own folder; clocks may differ
            settled = place != self._roots[0] and final is not None and final.time > draft.time
            if not settled:
                drafts.append((draft, store, place[0]))
        if not drafts:
            return None
        draft, store, root = max(drafts, key=lambda one: one[0].time)
        volume = store.load(draft)
        data, affine = to_ras(volume.data, volume.affine)
        if not Grid(data.shape, affine).same_as(self.scan.grid):
            raise InputError(
                f"{store.path(draft)} does not match this scan's voxels; was the scan replaced? "
                "Put back the one that it was drawn on."
            )
        return Offer(draft, data, root)

    def review(self) -> Review:
        """Read the decisions about single PVS; a damaged file counts as empty.

        They may be in both folders, if the study was read-only for a time; the later decision
        about a PVS counts.
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
        """Save the decisions about single PVS, and keep those made elsewhere in the meantime.

        Raises
        ------
        InputError
            They cannot be written.
        """
        self._decided |= set(review.decisions)
        refused: list[InputError] = []
        for root, subject in self._roots:
            try:
                self._ready(root)
                keep_decisions(_review_path(root, subject), review, self._decided)
            except (InputError, OSError) as error:
                refused.append(as_input_error(error))
            else:
                self._forget_undone(review, but=root)
                return
        raise refused[0]

    def _forget_undone(self, review: Review, but: Path) -> None:
        """Drop what was undone from the other folder too, which was written while one was not."""
        undone = self._decided - set(review.decisions)
        for root, subject in self._roots:
            path = _review_path(root, subject)
            if root == but or not undone or not path.is_file():
                continue
            with suppress(OSError, ValueError, InputError):
                there = read_decisions(path)
                left = [one for one in there if one not in undone]
                if len(left) < len(there):
                    write_text(path, latest(left).model_dump_json(indent=1) + "\n")

    def _notes(self, refused: list[str]) -> tuple[str, ...]:
        return tuple(
            f"{text} Until then, edits are saved in {self._roots[-1][0]}." for text in refused
        )

    def _ready(self, root: Path) -> None:
        """Create the user's own folder if needed; a study must exist."""
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
                "the labels have numbers below 0 or above 2147483647, which cannot be saved; "
                "renumber them."
            )
        revision = store.save(
            self.scan.to_source(labels),
            self.scan.source,
            author=made.author,
            origin=made.origin,
            state=state,
            weights_id=made.weights,
            parent=made.parents.get(root[0]),
            adjudicates=made.adjudicates,
            comment=made.comment,
        )
        made.parents[root[0]] = revision.number
        return revision


def _instead_of(passed: Revision) -> str:
    """Tell that a final label was not in what takes its place."""
    if passed.origin == "imported":
        return (
            "It replaces what another program has made of the label file, kept as revision "
            f"{passed.number}."
        )
    whose = "decided between two raters" if passed.adjudicates else f"by {passed.author}"
    return (
        f"It replaces revision {passed.number} {whose}, saved since the label that yours was made "
        "from."
    )


def recovery_folder() -> Path:
    """Folder for drafts outside any study."""
    return platformdirs.user_data_path("napari-pvs", appauthor=False) / "recovery"


def scan_key(scan: Scan) -> str:
    """Identify a scan by its voxels: 16 hex digits, the same for every copy of its files."""
    digest = hashlib.sha256(repr((scan.grid.shape, scan.grid.affine.round(3).tolist())).encode())
    for image in (scan.t1, scan.t2):
        if image is not None:
            digest.update(np.ascontiguousarray(image[::4, ::4, ::4]).tobytes())
    return digest.hexdigest()[:16]


def _review_path(root: Path, subject: str) -> Path:
    return label_folder(root, subject) / f"{subject}_{REVIEW}"


def as_input_error(error: InputError | OSError) -> InputError:
    """Turn a refusal by the system into a sentence with a remedy."""
    if isinstance(error, InputError):
        return error
    return unwritable(error.filename or "the file", error, "make room or allow writing there")


def read_decisions(path: Path) -> tuple[Decision, ...]:
    """Read the decisions in a file; none if the file does not exist.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        The file is damaged, or was written by a newer version.
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
    """Write the decisions made in this session, merged with those that others have made since.

    A file that cannot be parsed is renamed, not overwritten.

    Parameters
    ----------
    path
        The file.
    review
        The decisions made in this session.
    known
        All decisions this session has ever seen: one of these that is now only in the file was
        undone here, and is dropped.

    Raises
    ------
    InputError, OSError
        The file cannot be read or written.
    """
    with changing(path):
        try:
            others = [one for one in read_decisions(path) if one not in known]
        except ValueError as error:  # includes pydantic's and Unicode's errors
            set_aside(path, error)
            others = []
        write_text(path, latest((*others, *review.decisions)).model_dump_json(indent=1) + "\n")


def latest(decisions: Iterable[Decision]) -> Review:
    """Return the last decision of each rater about each PVS, ordered by time.

    What was decided in an adjudication is kept beside what the rater had decided before.
    """
    found = sorted(decisions, key=lambda one: one.time)

    def about(one: Decision) -> tuple[object, ...]:
        return one.point, one.rater, one.kind == "disputed"

    last = {about(one): one for one in found}
    return Review(decisions=tuple(one for one in found if last[about(one)] is one))


def set_aside(path: Path, error: Exception) -> None:
    """Rename a file that cannot be parsed, so that it is not overwritten.

    Raises
    ------
    OSError
        It cannot be renamed.
    """
    aside = next(p for n in range(1, 10_000) if not (p := _aside(path, n)).exists())
    path.rename(aside)
    log.warning("%s cannot be read and was renamed to %s: %s", path, aside.name, error)


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.unread-{number}{path.suffix}")


KEPT = 5
"""This many of the newest drafts are always kept."""
YOUNGEST_DAYS = 90
"""Younger drafts are kept until the labels are final."""


def prune(store: LabelStore) -> int:
    """Delete drafts older than the newest final revision; return how many.

    The `KEPT` newest are kept, the last of each rater, and those that nothing was made from, whose
    edits may not be in any final revision yet. Predictions are kept, because studies are scored by
    them. Numbers are never reused. Drafts that cannot be deleted stay, and only the log says so.
    """

    def gone(revisions: list[Revision], drafts: list[Revision]) -> list[Revision]:
        final = max((one.number for one in revisions if one.state == "final"), default=0)
        return [one for one in drafts if one.number < final]

    return _prune(store, gone)


def prune_unfinished(store: LabelStore, days: float, now: datetime | None = None) -> int:
    """Delete old drafts that were superseded, even if the labels never became final.

    What `prune` keeps is kept. So is each rater's last draft of every day, so that what was erased
    on a later day can still be found.

    Parameters
    ----------
    store
        Revisions of one scan's labels.
    days
        Drafts older than this are old; at least `YOUNGEST_DAYS`.
    now
        The current time; None reads the clock.

    Returns
    -------
    How many were deleted.
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


def _gone_on_from(revisions: list[Revision], drafts: list[Revision]) -> set[int]:
    """Return the drafts, newest first, that something was made from, but not by another rater."""
    there = {one.number: one for one in drafts}
    used = set()
    for one in revisions:
        number = one.parent
        if number is not None and number not in there:  # the drafts between are gone
            before = (d.number for d in drafts if d.number < number and d.author == one.author)
            number = next(before, None)
        used.add(number)
    named = {number for one in revisions for number in one.made_from or ()}
    return {number for number in used if number is not None} - named


def _prune(
    store: LabelStore, choose: Callable[[list[Revision], list[Revision]], list[Revision]]
) -> int:
    """Delete the drafts, newest first, that ``choose`` returns, except protected ones."""
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
        kept |= {one.number for one in drafts} - _gone_on_from(revisions, drafts)
        for one in choose(revisions, drafts):
            if one.number not in kept:
                store.delete(one)
                count += 1
    except (InputError, OSError) as error:
        log.warning("Old drafts could not be deleted: %s", error)
    return count
