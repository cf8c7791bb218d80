"""The studies and scans that were opened last, and the edits that wait in them.

Kept in the user's own data folder, beside the drafts of scans of no study.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.study.drafts import recovery_folder
from napari_pvs.study.labels import LabelStore, Revision
from napari_pvs.study.paths import label_folders

MOST = 8
"""Entries that are kept."""
log = logging.getLogger(__name__)


class Recent(BaseModel):
    """A study, or the files of a scan of no study.

    Attributes
    ----------
    study
        The BIDS folder; None for files.
    t1, t2, brain, lesions
        Files of a scan.
    key
        What the drafts of those are kept under; see `drafts.scan_key`.
    """

    model_config = ConfigDict(frozen=True)

    study: Path | None = None
    t1: Path | None = None
    t2: Path | None = None
    brain: Path | None = None
    lesions: Path | None = None
    key: str = ""

    @property
    def path(self) -> Path:
        """The folder, or the first of the files."""
        found = self.study or self.t1 or self.t2
        if found is None:
            raise ValueError("neither a study nor a scan")
        return found

    @property
    def name(self) -> str:
        """For a list: the last part of the path."""
        return self.path.name


@dataclass(frozen=True)
class Unfinished:
    """Edits that were never saved as final.

    Attributes
    ----------
    place
        Where.
    subject
        Of the study; None for files.
    draft
        The newest.
    """

    place: Recent
    subject: str | None
    draft: Revision


def read() -> list[Recent]:
    """Return what was opened last and is there now, the newest first."""
    return [one for one in _known() if _there(one.path)]


def _known() -> list[Recent]:
    try:
        known = json_files.read(_file(), list[Recent], "delete it")
    except FileNotFoundError:
        return []
    except InputError as error:
        log.warning("%s", error)
        return []
    return [one for one in known if one.study or one.t1 or one.t2]


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a share that has gone, or is not permitted
        return False


def remember(opened: Recent) -> None:
    """Put an entry first; a list that cannot be written is no reason to stop.

    What is not there now stays in the list: a disk may be unplugged for a while.
    """
    same = [one for one in _known() if one.path != opened.path]
    entries = [one.model_dump_json() for one in [opened, *same][:MOST]]
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_text(_file(), "[" + ",\n".join(entries) + "]\n")
    except (InputError, OSError) as error:
        log.warning("The list of recent studies could not be written: %s", error)


def unfinished(places: list[Recent]) -> list[Unfinished]:
    """Find edits that wait, the newest first. Reads many small files: not for the GUI thread."""
    found = []
    for place in places:
        stores: list[tuple[str | None, LabelStore]] = []
        if place.study is not None:
            stores = [
                (name, LabelStore(place.study, name)) for name, _ in label_folders(place.study)
            ]
        elif place.key:
            stores = [(None, LabelStore(recovery_folder(), f"sub-{place.key}"))]
        for subject, store in stores:
            try:
                draft = next((one for one in store.drafts() if one.origin != "predicted"), None)
            except (InputError, OSError) as error:
                log.warning("%s", error)
                continue
            if draft is not None:
                found.append(Unfinished(place, subject, draft))
    return sorted(found, key=lambda one: one.draft.time, reverse=True)


def _file() -> Path:
    return recovery_folder().with_name("recent.json")
