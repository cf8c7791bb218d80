"""The decisions about a scan: those that hold for the rater now, and others that are kept."""

from collections.abc import Callable

from napari_pvs.correction.items import Decision, Review
from napari_pvs.correction.neighbourhood import Point
from napari_pvs.scans.display import display_index, grid_index
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.state.autosave import Autosave
from napari_pvs.widgets.state.session import Session


class Decisions:
    """Chooses among all decisions about the session's scan, and loses none.

    Parameters
    ----------
    session
        Of the viewer.
    autosave
        Keeps them, and knows the rater.

    Attributes
    ----------
    review
        Those that hold; their points are voxels of the layers.
    """

    def __init__(self, session: Session, autosave: Autosave) -> None:
        self._session, self._autosave = session, autosave
        self.review = Review()
        self._aside: tuple[Decision, ...] = ()

    def clear(self) -> None:
        """Begin with none, because the scan is another."""
        self.review, self._aside = Review(), ()

    def take(self, found: Review, adjudicating: bool) -> bool:
        """Add those of earlier sessions, in voxels of the scan's grid; then as `choose`."""
        # what could not be written is in memory alone
        self._aside = (*self._turned(found, display_index).decisions, *self._aside)
        return self.choose(adjudicating)

    def choose(self, adjudicating: bool) -> bool:
        """Let those hold that the rater may see, the last of each PVS; return whether others do.

        Parameters
        ----------
        adjudicating
            Those alone that decide between two raters.
        """
        rater, found = self._autosave.rater, {*self._aside, *self.review.decisions}
        last: dict[Point, Decision] = {}
        for one in sorted(found, key=lambda one: one.time):
            others = self._session.blind and one.rater != rater
            if not others and (not adjudicating or one.kind == "disputed"):
                last[one.point] = one
        chosen = Review(decisions=tuple(last.values()))
        changed = chosen != self.review
        self.review, self._aside = chosen, tuple(found.difference(last.values()))
        return changed

    def keep(self, review: Review) -> None:
        """Keep what holds now, and the others beside it."""
        self.review = review
        kept = Review(decisions=(*self._aside, *review.decisions))
        self._autosave.save_review(self._turned(kept, grid_index))

    def _turned(self, review: Review, turn: Callable[[Point, Scan], Point]) -> Review:
        scan = self._session.scan
        if scan is None:
            return review
        return Review(
            decisions=tuple(
                one.model_copy(update={"point": turn(one.point, scan)}) for one in review.decisions
            )
        )
