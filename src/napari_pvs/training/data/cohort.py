"""The subjects of a run; labels may be added or changed while it is training."""

import logging
from collections.abc import Sized
from dataclasses import dataclass, replace
from pathlib import Path

from napari_pvs.errors import InputError
from napari_pvs.files import sentence
from napari_pvs.study.bids import StudySubject, person_of, survey
from napari_pvs.study.labels import LabelStore, stamp
from napari_pvs.study.paths import require
from napari_pvs.study.registrations import CACHE
from napari_pvs.study.roles import Split, join
from napari_pvs.training.data.prepared import PreparedSubject, load
from napari_pvs.training.distributed.world import ALONE, World

log = logging.getLogger(__name__)
_FEW = 6  # more scans than this are counted, not named


@dataclass(frozen=True)
class News:
    """Training subjects whose label was added, changed or removed; false if there are none."""

    added: list[str]
    changed: list[str]
    removed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        lists = (("added", self.added), ("changed", self.changed), ("removed", self.removed))
        return ", ".join(f"{len(names)} {how}" for how, names in lists if names)


@dataclass(frozen=True)
class _People:
    """Subjects to train on, with and without a label, and digests of the labels."""

    train: list[PreparedSubject]
    unlabelled: list[PreparedSubject]
    labels: dict[str, str]

    def without(self, persons: set[str]) -> "_People":
        return _People(
            [s for s in self.train if person_of(s.name) not in persons],
            [s for s in self.unlabelled if person_of(s.name) not in persons],
            {name: d for name, d in self.labels.items() if person_of(name) not in persons},
        )


class Cohort:
    """The subjects of a run, loaded.

    Parameters
    ----------
    study
        BIDS dataset.
    roles
        Validation and test persons keep their roles; all other labelled subjects are trained on.
        If nobody is trained on, no label is read, and the validation scans are kept aside.
    unlabelled
        Whether to load unlabelled scans too.
    world
        The processes of the run; all have the same cohort.

    Attributes
    ----------
    train, validation, unlabelled
        Prepared subjects, ordered by name.
    labels
        Digest of the label of each training subject.
    judged
        The same of each validation subject.
    left_out
        Subjects whose files cannot be used, and why; they do not stop the others.
    label_free
        Whether the run uses no labels at all.
    """

    def __init__(self, study: Path, roles: Split, unlabelled: bool, world: World = ALONE):
        self.study, self.roles, self._want_unlabelled = Path(study), roles, unlabelled
        self._world = world
        self.label_free = not roles.train
        self._held_out = {person_of(name) for name in (*roles.validation, *roles.test)}
        self._frozen = {person_of(name) for name in roles.train}
        self.train: list[PreparedSubject] = []
        self.validation: list[PreparedSubject] = []
        self.unlabelled: list[PreparedSubject] = []
        self.labels: dict[str, str] = {}
        self.judged: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self._waiting: dict[str, str] = {}
        self._digests: dict[tuple[Path, int, int], str] = {}

    def __str__(self) -> str:
        """Say in a sentence which subjects are used for what."""
        if self.label_free:
            aside = f", kept aside: {_named(self.validation)}" if self.validation else ""
            return f"No labels: adapting the start weights to {_named(self.unlabelled)}{aside}."
        said = f"Training on {_named(self.train)}, validating on {_named(self.validation)}"
        return f"{said}; unlabelled: {_named(self.unlabelled) if self.unlabelled else 'none'}."

    def open(self, recorded: dict[str, str] | None = None, resumed: bool = False) -> None:
        """Load all subjects.

        Parameters
        ----------
        recorded
            Stamps of labels, from a checkpoint or a plan. These labels are used as long as they
            still exist; newer ones wait for `update`.
        resumed
            Whether the run was resumed; its last unlabelled scan may have been labelled since.

        Raises
        ------
        InputError
            A file is unusable, or there is nothing to train on.
        """
        found = self._world.lead(self._find)
        self._world.in_turn(lambda: self._open(found, recorded or {}, resumed))
        self._world.same(self.labels, "labels")
        if resumed:  # if it was killed before its first checkpoint, there may be new labels
            known = self._freeze(_People(self.train, self.unlabelled, self.labels))
            self._take(self._with_labels(known))

    def _open(
        self, found: dict[str, StudySubject], recorded: dict[str, str], resumed: bool
    ) -> None:
        if self.label_free:
            found = {name: replace(subject, label=None) for name, subject in found.items()}
        if recorded:
            for name, subject in found.items():
                if name not in recorded and subject.person not in self._held_out:
                    found[name] = replace(subject, label=None)
        for name, digest in recorded.items():
            self._take_recorded(found, name, digest)
        missing = [n for n in self.roles.validation if not self._can_judge(found.get(n))]
        if missing:
            raise InputError(
                f"{missing[0]} was held out for validation, but its scan or label is no longer in "
                f"{self.study}; put it back."
            )
        self.validation = [self._validator(found[n]) for n in self.roles.validation]
        by_label = {n: found[n].label for n in self.roles.validation}
        self.judged = {n: self._digest(path) for n, path in by_label.items() if path is not None}
        self._take(self._with_labels(self._arranged(found)))
        if self.label_free:
            return
        if not any(len(s.foreground) for s in self.train):
            raise InputError(f"all labels of {self.study} are empty; draw some PVS first.")
        if self._want_unlabelled and not resumed:
            require_unlabelled(self.study, self.unlabelled)
        empty = [s.name for s in self.train if not len(s.foreground)]
        if empty:
            log.warning("%d labels contain no PVS: %s", len(empty), ", ".join(empty))

    def update(self) -> News:
        """Load labels that were added or changed.

        Persons who get their first label are added to the study's training role.

        Returns
        -------
        What changed; nothing while the study cannot be read.

        Raises
        ------
        InputError
            The study is gone.
        """
        before = dict(self.labels)
        self._world.lead(lambda: require(self.study))
        try:
            found = self._world.lead(self._find)
            people = self._world.in_turn(lambda: self._arranged(found))
            self._world.same(people.labels, "labels")
            self._take(self._with_labels(self._freeze(people)))
        except (InputError, OSError) as error:
            # something may be being written; continue with the labels that are loaded
            log.warning("Changes in the study have to wait for the next epoch: %s", error)
        after = self.labels
        same = {n for n in after if n in before and _content(after[n]) == _content(before[n])}
        return News(
            added=[n for n in after if n not in before],
            changed=[n for n in after if n in before and n not in same],
            removed=[n for n in before if n not in after],
        )

    def _can_judge(self, subject: StudySubject | None) -> bool:
        return subject is not None and (self.label_free or subject.label is not None)

    def _find(self) -> dict[str, StudySubject]:
        seen = survey(self.study)
        for name, why in seen.refused:
            self._leave_out(name, why)
        return {one.name: one for one in seen.found}

    def _leave_out(self, name: str, why: str) -> None:
        if self.left_out.get(name) != why:
            log.warning("%s is not trained on: %s", name, why)
        self.left_out[name] = why

    def _freeze(self, people: _People) -> _People:
        """Record new training persons in the study's roles.

        This happens only after loading, so that an unreadable label records nobody. Persons that
        another run has meanwhile taken for validation or test are left out.
        """
        new = {person_of(name) for name in people.labels} - self._frozen
        if not new:
            return people
        allowed = self._world.lead(lambda: join(new, self.roles, root=self.study))
        refused = new - allowed
        self._frozen |= allowed
        self._held_out |= refused
        if refused:
            names = ", ".join(sorted(refused))
            log.warning("%s: held out by another run of the study, so not trained on", names)
        return people.without(refused)

    def _with_labels(self, people: _People) -> _People:
        """Refuse to continue if nobody is left to train on."""
        if not (people.unlabelled if self.label_free else people.train):
            what = "scan" if self.label_free else "labelled subject"
            why = "".join(f" {name}: {why}" for name, why in self.left_out.items())
            raise InputError(f"no {what} of {self.study} is left to train on.{why}")
        return people

    def _take(self, people: _People) -> None:
        self.train, self.unlabelled, self.labels = people.train, people.unlabelled, people.labels

    def _arranged(self, found: dict[str, StudySubject]) -> _People:
        old = {s.name: s for s in (*self.train, *self.unlabelled)}
        train, unlabelled, labels = [], [], {}
        for name, subject in found.items():
            if subject.person in self._held_out:
                continue
            try:
                if subject.label is not None:
                    digest = self._digest(subject.label)
                    known = self.labels.get(name, "")
                    same = name in old and _content(known) == _content(digest)
                    train.append(old[name] if same else self._load(subject))
                    labels[name] = digest
                elif self._want_unlabelled and self._may_learn_from(subject):
                    same = name in old and old[name].label is None
                    unlabelled.append(old[name] if same else self._load(subject))
            except (InputError, OSError) as error:
                if name not in old:
                    self._leave_out(name, sentence(error))
                    continue
                self._wait(name, sentence(error))
                if name in self.labels:
                    train.append(old[name])
                    labels[name] = self.labels[name]
                else:
                    unlabelled.append(old[name])
        return _People(train, unlabelled, labels)

    def _wait(self, name: str, why: str) -> None:
        """Go on with what is loaded of a subject; a new label of it may be being written."""
        if self._waiting.get(name) != why:
            log.warning("The change of %s waits for the next epoch: %s", name, why)
        self._waiting[name] = why

    def _may_learn_from(self, subject: StudySubject) -> bool:
        """Whether an unlabelled scan may be trained on; another run may hold out the others."""
        return subject.name in self.roles.unlabelled or subject.person in self._frozen

    def _take_recorded(self, found: dict[str, StudySubject], name: str, digest: str) -> None:
        path = LabelStore(self.study, name).stamped(digest) if name in found else None
        if path is not None:
            found[name] = replace(found[name], label=path)
        else:
            log.warning("The label of %s has changed since the run began.", name)

    def _digest(self, path: Path) -> str:
        """Return `stamp`, computed once for each state of the file."""
        status = path.stat()
        key = (path, status.st_size, status.st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = stamp(path, self.study)
        return self._digests[key]

    def _validator(self, subject: StudySubject) -> PreparedSubject:
        try:
            return self._load(subject)
        except InputError as error:
            raise InputError(
                f"{subject.name} is held out for validation and cannot be used: {error}"
            ) from error

    def _load(self, subject: StudySubject) -> PreparedSubject:
        return load(subject, self.study / CACHE)


def _named(scans: list[PreparedSubject]) -> str:
    if len(scans) > _FEW:
        return f"{len(scans)} scans"
    return ", ".join(scan.name for scan in scans)


def _content(digest: str) -> str:
    """Return the hash of a label without its path, which changes when a file is imported."""
    return digest.rpartition("@")[2]


def require_unlabelled(study: Path, scans: Sized) -> None:
    """Refuse to train a semi-supervised method without unlabelled scans.

    Raises
    ------
    InputError
        There are no ``scans``.
    """
    if not len(scans):
        raise InputError(
            f"every scan of {study} is labelled; add unlabelled scans, or choose a supervised "
            "method."
        )
