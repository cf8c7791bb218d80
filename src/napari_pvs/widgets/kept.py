"""Where the labels in the viewer are kept: in no file yet, in a draft, or as they were saved."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


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
