"""The raters of a study: who has labelled what, and how two of them agree."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.evaluation.detection import FALSE, MISSED, TRUE, told_apart
from napari_pvs.evaluation.rater_tables import RaterComparison
from napari_pvs.evaluation.raters import RaterScore, score_raters
from napari_pvs.files import sentence
from napari_pvs.scans.grid import Grid, to_ras
from napari_pvs.scans.masks import Mask
from napari_pvs.study.labels import LabelStore, Revision
from napari_pvs.study.paths import label_folders, require

Voxels = NDArray[np.integer[Any]]


def finals(store: LabelStore) -> dict[str, Revision]:
    """Return the newest final label of each rater, the newest first.

    Predictions are no rater's, and neither are labels of other tools nor those that an adjudication
    made out of two raters'.

    Raises
    ------
    InputError
        A sidecar is damaged.
    """
    found: dict[str, Revision] = {}
    for one in store.newest_first():
        own = one.origin in ("drawn", "corrected") and not one.adjudicates
        if own and one.state == "final":
            found.setdefault(one.author, one)
    return found


def final_of(store: LabelStore, rater: str) -> Revision | None:
    """Return the newest final label of one rater.

    Raises
    ------
    InputError
        A sidecar is damaged.
    """
    return finals(store).get(rater)


def require_independent(store: LabelStore, one: Revision, two: Revision) -> None:
    """Refuse labels of which one was made from the other: their agreement would prove nothing.

    Raises
    ------
    InputError
        So it is, or a sidecar is damaged.
    """
    known = {each.number: each for each in store.newest_first()}
    for late, early in ((one, two), (two, one)):
        for each in _ancestors(late, known):
            if each.author == early.author and each.origin != "predicted":
                raise InputError(
                    f"{late.author}'s labels were made from {early.author}'s (revision "
                    f"{each.number}), so their agreement proves nothing; label blind to compare."
                )


def _ancestors(revision: Revision, known: dict[int, Revision]) -> Iterator[Revision]:
    """Yield what a revision was made from, as far as it is still there."""
    waiting, seen = _made_from(revision), set()
    while waiting:
        number = waiting.pop()
        if number in seen or number not in known:
            continue
        seen.add(number)
        yield known[number]
        waiting += _made_from(known[number])


def _made_from(revision: Revision) -> list[int]:
    parent = [] if revision.parent is None else [revision.parent]
    return [*parent, *revision.adjudicates, *(revision.made_from or ())]


def load_labels(store: LabelStore, revision: Revision) -> tuple[Voxels, Grid]:
    """Read a revision, (X, Y, Z), its axes turned to RAS+.

    Raises
    ------
    InputError
        The file is missing, or was altered.
    """
    volume = store.load(revision)
    data, affine = to_ras(volume.data, volume.affine)
    return data, Grid(data.shape, affine)


def load_on(store: LabelStore, revision: Revision, grid: Grid) -> Voxels:
    """Read a revision on the voxels of a scan.

    Raises
    ------
    InputError
        As `load_labels`, or it lies elsewhere: the scan was replaced.
    """
    data, own = load_labels(store, revision)
    if not own.same_as(grid):
        raise InputError(
            f"{store.path(revision)} does not match this scan's voxels; was the scan replaced? "
            "Put back the one that it was drawn on."
        )
    return data


@dataclass(frozen=True, eq=False)
class Disagreement:
    """The labels of two raters, taken apart.

    Attributes
    ----------
    revisions
        The first rater's and the second's.
    agreed
        PVS that both have, as the first has drawn them: bool (X, Y, Z).
    disputed
        By rater, the PVS that only this one has.
    """

    revisions: tuple[Revision, Revision]
    agreed: Mask
    disputed: dict[str, Mask]


def take_apart(
    revisions: tuple[Revision, Revision], first: NDArray[Any], second: NDArray[Any]
) -> Disagreement:
    """Find what two raters agree and disagree about, by the lenient rule of `told_apart`.

    Raises
    ------
    ValueError
        The shapes differ, or both labels are of one rater.
    """
    names = [one.author for one in revisions]
    if names[0] == names[1]:
        raise ValueError("a rater cannot disagree with themselves")
    if first.shape != second.shape:
        raise ValueError(f"labels of shape {first.shape} and {second.shape} cannot be compared")
    marks = told_apart(first, second)
    disputed = {names[0]: marks == FALSE, names[1]: marks == MISSED}
    return Disagreement(revisions, marks == TRUE, disputed)


def agree(study: Path, raters: tuple[str, str] | None = None) -> RaterComparison:
    """Compare two raters of a study, subject by subject; an unusable one does not stop the others.

    Parameters
    ----------
    study
        BIDS dataset; its scans are not needed.
    raters
        Their names as the revisions have them; None where the study has two.

    Raises
    ------
    InputError
        There is no such rater, there are not two, they have no subject in common, or no pair of
        labels can be compared.
    """
    require(study)
    found: dict[str, tuple[LabelStore, dict[str, Revision]]] = {}
    left_out: list[tuple[str, str]] = []
    for name, _ in label_folders(study):
        store = LabelStore(study, name)
        try:
            found[name] = store, finals(store)
        except (InputError, OSError) as error:
            left_out.append((name, sentence(error)))
    first, second = _chosen(study, raters, (known for _, known in found.values()))
    scores: list[RaterScore] = []
    missing: list[str] = []
    for name, (store, known) in found.items():
        if first not in known or second not in known:
            missing += [name] if first in known or second in known else []
            continue
        try:
            scores.append(_score(store, known[first], known[second]))
        except (InputError, OSError) as error:
            left_out.append((name, sentence(error)))
    if not scores and left_out:
        raise InputError(" ".join(f"{name}: {why}" for name, why in left_out))
    if not scores:
        raise InputError(
            f"{first} and {second} have no subject in common in {study}; both must save final "
            "labels of the same subjects."
        )
    return RaterComparison((first, second), tuple(scores), tuple(missing), tuple(left_out))


def _chosen(
    study: Path, raters: tuple[str, str] | None, known: Iterable[dict[str, Revision]]
) -> tuple[str, str]:
    """Return the two raters that are meant."""
    names = sorted({name for one in known for name in one})
    said = ", ".join(names) or "nobody"
    if raters is None:
        if len(names) != 2:
            remedy = "name two of them with --raters" if len(names) > 2 else "two raters are needed"
            raise InputError(f"{study} has final labels by {said}; {remedy}.")
        return names[0], names[1]
    for name in raters:
        if name not in names:
            raise InputError(
                f"{study} has no final labels by {name}, but by {said}; check the name."
            )
    if raters[0] == raters[1]:
        raise InputError(f"--raters names {raters[0]} twice; name two raters.")
    return raters


def _score(store: LabelStore, one: Revision, two: Revision) -> RaterScore:
    require_independent(store, one, two)
    first, grid = load_labels(store, one)
    second = load_on(store, two, grid)
    predicted = store.predicted()
    prediction = None if predicted is None else load_on(store, predicted, grid)
    return score_raters(
        first, second, grid.voxel_volume, subject=store.subject, prediction=prediction
    )
