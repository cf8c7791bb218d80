"""Who takes part in a run, as labels come and change while it goes on."""

import logging
from dataclasses import replace
from pathlib import Path

from napari_pvs.errors import InputError
from napari_pvs.study.bids import StudySubject
from napari_pvs.study.bids import subjects as find_subjects
from napari_pvs.study.revision import digest as sha256
from napari_pvs.study.split import Split
from napari_pvs.training.data import CACHE, Loaded, load

log = logging.getLogger(__name__)


class Cohort:
    """The subjects of a run, loaded.

    Parameters
    ----------
    study
        BIDS dataset.
    roles
        Validation and test persons keep their role; every other labelled subject is trained on.
    unlabelled
        Whether scans without a label are wanted.

    Attributes
    ----------
    train, validation, unlabelled
        Loaded subjects, in the order of their names.
    labels
        Digest of the label of each training subject.
    """

    def __init__(self, study: Path, roles: Split, unlabelled: bool):
        self.study, self.roles, self._want_unlabelled = Path(study), roles, unlabelled
        self.train: list[Loaded] = []
        self.validation: list[Loaded] = []
        self.unlabelled: list[Loaded] = []
        self.labels: dict[str, str] = {}
        self._digests: dict[tuple[Path, int, int], str] = {}

    def open(self, recorded: dict[str, str] | None = None) -> None:
        """Load everybody.

        Parameters
        ----------
        recorded
            ``labels`` of a checkpoint: these labels are taken, as long as they are still there,
            and newer ones wait for `update`.

        Raises
        ------
        InputError
            A file is unusable, or there is nothing to learn from.
        """
        found = {s.name: s for s in find_subjects(self.study)}
        missing = [n for n in self.roles.validation if n not in found or not found[n].label]
        if missing:
            raise InputError(
                f"{missing[0]} was held out for validation and its scan or label is no longer in "
                f"{self.study}; put it back."
            )
        self.validation = [self._load(found[n]) for n in self.roles.validation]
        for name, digest in (recorded or {}).items():
            self._take_recorded(found, name, digest)
        self._arrange(found)
        if not self.train:
            raise InputError(f"no labelled subject of {self.study} is left to train on.")
        if not any(len(s.foreground) for s in self.train):
            raise InputError(f"no label of {self.study} holds a PVS voxel; draw some first.")
        # the last unlabelled scan of a run may have got its label since
        if self._want_unlabelled and not self.unlabelled and not recorded:
            raise InputError(
                f"every scan of {self.study} is labelled; add scans without a label, or choose "
                "a supervised method."
            )
        empty = [s.name for s in self.train if not len(s.foreground)]
        if empty:
            log.warning("%d labels hold no PVS: %s", len(empty), ", ".join(empty))

    def update(self) -> dict[str, list[str]]:
        """Load labels that came or changed.

        Returns
        -------
        ``added``, ``changed`` and ``removed``: names of training subjects. A study that cannot be
        read at the moment changes nothing.
        """
        before = dict(self.labels)
        try:
            self._arrange({s.name: s for s in find_subjects(self.study)})
        except InputError as error:
            # somebody may be writing it; what is known serves until it can be read
            log.warning("New labels wait for the next epoch: %s", error)
        after = self.labels
        same = {n for n in after if n in before and _content(after[n]) == _content(before[n])}
        return {
            "added": [n for n in after if n not in before],
            "changed": [n for n in after if n in before and n not in same],
            "removed": [n for n in before if n not in after],
        }

    def _arrange(self, found: dict[str, StudySubject]) -> None:
        held_out = {name.split("_")[0] for name in (*self.roles.validation, *self.roles.test)}
        old = {s.name: s for s in (*self.train, *self.unlabelled)}
        train, unlabelled, labels = [], [], {}
        for name, subject in found.items():
            if subject.person in held_out:
                continue
            if subject.label is not None:
                labels[name] = self._digest(subject.label)
                known = self.labels.get(name, "")
                same = name in old and _content(known) == _content(labels[name])
                train.append(old[name] if same else self._load(subject))
            elif self._want_unlabelled:
                same = name in old and old[name].label is None
                unlabelled.append(old[name] if same else self._load(subject))
        self.train, self.unlabelled, self.labels = train, unlabelled, labels

    def _take_recorded(self, found: dict[str, StudySubject], name: str, digest: str) -> None:
        where, _, _ = digest.rpartition("@")
        path = self.study / where
        if name in found and path.is_file() and self._digest(path) == digest:
            found[name] = replace(found[name], label=path)
        else:
            log.warning("The label of %s changed since the checkpoint.", name)

    def _digest(self, path: Path) -> str:
        """Path in the study and start of the SHA-256 of its content."""
        status = path.stat()
        key = (path, status.st_size, status.st_mtime_ns)
        if key not in self._digests:
            content = sha256(path)[:12]
            self._digests[key] = f"{path.relative_to(self.study).as_posix()}@{content}"
        return self._digests[key]

    def _load(self, subject: StudySubject) -> Loaded:
        return load(subject, self.study / CACHE)


def _content(digest: str) -> str:
    """Hash of a label without its place: importing a file moves it."""
    return digest.rpartition("@")[2]
