"""Names shown by Qt as they are: it takes what looks like HTML for HTML."""

from qtpy.QtCore import Qt


def as_it_is(text: str) -> str:
    """Return a text, such as a path, that a tooltip shows letter for letter."""
    return Qt.convertFromPlainText(text) if Qt.mightBeRichText(text) else text
