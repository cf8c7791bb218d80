"""Hides from a blind rater what other raters, references and networks say."""

import weakref
from collections.abc import Container

from napari_pvs.widgets.preferences import rater
from napari_pvs.widgets.viewer.layers import author_of, made_by, role_of
from napari_pvs.widgets.viewer.typed import Event, Layer


def reveals(layer: Layer) -> bool:
    """Whether a layer shows what a blind rater must not see."""
    if role_of(layer) in ("prediction", "reference", "rater") or made_by(layer) is not None:
        return True
    return author_of(layer) not in (None, rater())


class Cover:
    """The layers that are hidden for as long as the rater is blind."""

    def __init__(self) -> None:
        # whether each is to be shown then
        self._hidden: weakref.WeakKeyDictionary[Layer, bool] = weakref.WeakKeyDictionary()

    def hide(self, layer: Layer, later: bool = False) -> None:
        """Hide a layer, if a blind rater must not see it.

        Parameters
        ----------
        layer
            Of the viewer.
        later
            It is to be shown then, even if it is hidden now.
        """
        if not reveals(layer):
            return
        if layer in self._hidden:
            self._hidden[layer] |= later
            return
        self._hidden[layer] = layer.visible or later
        layer.events.visible.connect(self._on_visible)
        layer.visible = False

    def forget(self, layer: Layer) -> None:
        """Let go of a layer, which stays as it is."""
        if self._hidden.pop(layer, None) is not None:
            layer.events.visible.disconnect(self._on_visible)

    def lift(self, there: Container[Layer]) -> None:
        """Show again what was hidden, of the layers that are still there."""
        hidden = dict(self._hidden)
        self._hidden.clear()
        for layer, visible in hidden.items():
            layer.events.visible.disconnect(self._on_visible)
            if layer in there:
                layer.visible = visible

    def _on_visible(self, event: Event) -> None:
        """The layer list's eye shows nothing to a blind rater."""
        if event.source in self._hidden and event.source.visible:
            event.source.visible = False
