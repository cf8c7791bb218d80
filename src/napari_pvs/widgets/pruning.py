"""Takes away drafts that a final revision has replaced."""

import logging

from napari_pvs.errors import InputError
from napari_pvs.study.labels import LabelStore

log = logging.getLogger(__name__)

KEPT = 5
"""Newest drafts that stay, however final the labels are."""


def prune(store: LabelStore) -> int:
    """Delete drafts that are older than the newest final revision; return how many.

    The `KEPT` newest stay, and of each rater the last: another one's edits may be in no final
    revision yet. Predictions stay, because they are what studies are scored by. A number that was
    given once is not given again. What cannot be deleted stays, without a word to the user.
    """
    gone = 0
    try:
        final = store.current()
        drafts = [
            one
            for one in store.revisions()[::-1]
            if one.state == "draft" and one.origin in ("drawn", "corrected")
        ]
        last = {one.author: one.number for one in reversed(drafts)}
        for one in drafts[KEPT:]:
            if final is None or one.number > final.number or one.number == last[one.author]:
                continue
            store.delete(one)
            gone += 1
    except (InputError, OSError) as error:
        log.warning("Old drafts could not be deleted: %s", error)
    return gone
