"""Where the labels in the viewer are kept: in no file yet, in a draft, or as they were saved.

And what autosave and the files beside it tell each other of labels.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.study.revision import Origin, Revision
from napari_pvs.widgets.notes import Parents

if TYPE_CHECKING:
    from napari_pvs.widgets.recovery import Place


@dataclass(frozen=True)
class Kept:
    """How safe a layer's labels are.

    Attributes
    ----------
    state
        ``unchanged`` since they were loaded or made; ``edited``: the last edits are in the viewer
        alone; ``draft``: on disk, and offered when the scan is opened again; ``saved``: as the
        user's final answer.
    text
        That, for the dock.
    """

    state: Literal["unchanged", "edited", "draft", "saved"]
    text: str


UNCHANGED = Kept("unchanged", "Not edited.")
EDITED = Kept("edited", "Edited; a draft follows in a moment.")


def draft(time: datetime) -> Kept:
    """All edits are in a draft of this time."""
    return Kept("draft", f"Draft saved {time.astimezone():%H:%M}; not final.")


def revision(number: int) -> Kept:
    """They are a final revision."""
    return Kept("saved", f"Saved as revision {number}.")


def file(name: str) -> Kept:
    """They were exported from outside a study."""
    return Kept("saved", f"Saved as {name}.")


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


@dataclass(eq=False)
class Work:
    """Labels that are edited, and where they belong."""

    layer: Any
    place: "Place"
    made: Made
    saved: NDArray[Any] | None = None  # what the last draft or revision holds
    kept: Kept = UNCHANGED  # in which
    elsewhere: bool = False  # that draft is not where it should be
    dirty: bool = False
    since: float = 0.0
    edits: int = 0

    def holds(self, edits: int, data: Any) -> bool:
        """Whether the layer is as it was then: not edited since, nor showing another scan."""
        return self.edits == edits and self.layer.data is data
