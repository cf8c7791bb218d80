"""The user's preferences: stored by napari, shown and changed in its File > Preferences.

The defaults are in ``napari.yaml`` only. If the plugin is disabled while its docks are open,
changes last until napari is closed.
"""

import contextlib
import getpass
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, Protocol, cast

from qtpy.QtCore import QTimer

import napari_pvs
from napari_pvs.network.device import Device

NAME = "napari-pvs"


class CorrectPreferences(Protocol):
    """Preferences of the Correct dock; see ``napari.yaml`` for what they mean."""

    rater: str
    blind: bool
    autosave_seconds: float
    keep_drafts_days: int
    brush_mm: float
    brush_3d: bool


class TrainPreferences(Protocol):
    """Preferences of the Train dock."""

    study: str


class SegmentPreferences(Protocol):
    """Preferences of the Segment dock."""

    device: Device
    windows: Literal["fast", "paper"]
    threshold: float
    min_volume: float


class PlanesPreferences(Protocol):
    """Preferences of the linked planes."""

    radiological: bool
    fill: bool
    wheel_steps: bool


class Preferences(Protocol):
    """All sections; setting a value saves it."""

    correct: CorrectPreferences
    train: TrainPreferences
    segment: SegmentPreferences
    planes: PlanesPreferences


_waiting: list[tuple[str, "_Weak"]] = []
"""Sections and methods that are to follow them."""
_known = False
"""Whether napari has read manifests and files, which takes it as long as opening a few docks."""


def preferences() -> Preferences:
    """Return the preferences, as in ``preferences().correct.rater``.

    The first time this takes a while; widgets that are being made use `follow`.
    """
    global _known
    found = _read()
    _known = True
    while _waiting:
        section, call = _waiting.pop(0)
        events = getattr(getattr(found, section), "events", None)
        if events is not None:
            events.connect(call)
        call()
    return found


def _read() -> Preferences:
    from napari.settings import get_plugin_settings

    with contextlib.suppress(KeyError):
        return cast("Preferences", get_plugin_settings(NAME))
    return cast("Preferences", _defaults())


def rater() -> str:
    """Return the rater's name or, where none was given, the login name."""
    name: str = preferences().correct.rater.strip()
    with contextlib.suppress(OSError, KeyError, ImportError):  # who has no name, has no account
        name = name or getpass.getuser()
    return name or "unknown"


def follow(section: str, call: Callable[[], None]) -> None:
    """Call a widget's method now, and when napari's dialog changes a preference of a section.

    Where the preferences are not known yet, "now" is when somebody asks for them or, at the
    latest, when Qt has nothing else to do: docks are drawn first.
    """
    _waiting.append((section, _Weak(call)))
    if _known:
        preferences()
    else:
        QTimer.singleShot(0, preferences)


class _Weak:
    """Calls a method as long as its widget exists."""

    def __init__(self, call: Callable[[], None]) -> None:
        from weakref import WeakMethod

        self._call = WeakMethod(call)

    def __call__(self, _: object = None) -> None:
        call = self._call()
        if call is not None:
            with contextlib.suppress(RuntimeError):  # the Qt object is deleted
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
