"""What the user prefers: kept by napari, shown and changed in its File > Preferences.

The defaults stand in ``napari.yaml`` alone. Where the plugin's napari is older than 0.9, or does
not know the plugin, they hold for as long as napari runs.
"""

import contextlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import napari_pvs

NAME = "napari-pvs"


def preferences() -> Any:
    """Return the preferences: ``preferences().correct.rater``; what is set is kept."""
    with contextlib.suppress(ImportError, KeyError):
        from napari.settings import get_plugin_settings

        return get_plugin_settings(NAME)  # napari reads manifests and files the first time only
    return _defaults()


def follow(section: str, call: Callable[[], None]) -> None:
    """Call a widget's method when napari's dialog changes a preference of a section."""
    events = getattr(getattr(preferences(), section), "events", None)
    if events is not None:
        events.connect(_Weak(call))


class _Weak:
    """Calls a method for as long as its widget lives."""

    def __init__(self, call: Callable[[], None]) -> None:
        from weakref import WeakMethod

        self._call = WeakMethod(call)

    def __call__(self, _: object = None) -> None:
        call = self._call()
        if call is not None:
            with contextlib.suppress(RuntimeError):  # Qt's half is deleted
                call()


@cache
def _defaults() -> SimpleNamespace:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(Path(napari_pvs.__file__).with_name("napari.yaml"))
    return SimpleNamespace(
        **{
            section: SimpleNamespace(
                **{name: one.default for name, one in configuration.properties.items()}
            )
            for section, configuration in manifest.contributions.configurations.items()
        }
    )
