"""Takes away drafts that nobody needs: a final revision has replaced them, or newer drafts have."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from napari_pvs.errors import InputError
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.revision import Revision

log = logging.getLogger(__name__)

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
