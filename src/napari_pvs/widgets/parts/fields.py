"""Editors for the fields of a configuration, made by magicgui from their types."""

import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from magicgui.widgets import create_widget
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QSizePolicy, QWidget

from napari_pvs.options import choices
from napari_pvs.widgets.parts.controls import Button, as_it_is

_MOST = 10**9  # maximum of a whole number without a limit


class Field(ABC):
    """The editor of one field.

    Attributes
    ----------
    widget
        The widget to show.
    """

    widget: QWidget

    @abstractmethod
    def raw(self) -> Any:
        """The input as entered; the configuration accepts it or says what is wrong."""

    def as_raw(self, value: Any) -> Any:
        """What `raw` returns for a value."""
        return value

    @abstractmethod
    def set(self, value: Any) -> None:
        """Show another value."""

    @abstractmethod
    def on_change(self, call: Callable[[], None]) -> None:
        """Call a function whenever the value changes; methods are held weakly."""


class Value(Field):
    """One of several words, a checkbox, or a whole number: one of magicgui's own editors."""

    def __init__(self, kind: Any, tip: str, **options: Any) -> None:
        self._made: Any = create_widget(annotation=kind, options={"tooltip": tip, **options})
        self.widget = _narrow(self._made.native)

    def raw(self) -> Any:
        """The value."""
        return self._made.value

    def set(self, value: Any) -> None:
        """Show another value."""
        self._made.value = value

    def on_change(self, call: Callable[[], None]) -> None:
        """Call something whenever the value changes."""
        self._made.changed.connect(call, max_args=0)


class Text(Value):
    """A decimal number, or several values separated by commas."""

    def __init__(self, tip: str, several: bool) -> None:
        super().__init__(str, tip)
        self._several = several
        if several:
            self._made.native.setPlaceholderText("none")

    def raw(self) -> Any:
        """The text as typed, split into words if it may have several values."""
        if not self._several:
            return self._made.value.strip().replace(",", ".")
        return [word for word in self._made.value.replace(",", " ").split() if word]

    def as_raw(self, value: Any) -> Any:
        """What `raw` is for a value."""
        return [str(one) for one in value] if self._several else f"{value:g}"

    def set(self, value: Any) -> None:
        """Show another value."""
        raw = self.as_raw(value)
        self._made.value = ", ".join(raw) if self._several else raw


class WeightsFile(Field):
    """Weights to start from: none, the starter weights, those of a run, or a file."""

    def __init__(self, tip: str) -> None:
        self._made: Any = create_widget(
            annotation=str,
            widget_type="ComboBox",
            options={
                "tooltip": tip,
                "choices": [("none: a new network", None), ("starter", "starter")],
                "nullable": True,
            },
        )
        self.box = _narrow(self._made.native)
        self.file = Button("File…", "Choose a weights file.", self._browse)
        self.file.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.widget = QWidget()
        self.widget.setToolTip(tip)
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        row.addWidget(self.box, 1)
        row.addWidget(self.file)
        self.widget.setFocusProxy(self.box)

    def raw(self) -> str | None:
        """Path, ``starter`` or None."""
        value: str | None = self._made.value
        return value

    def as_raw(self, value: Path | str | None) -> str | None:
        """What `raw` is for a value."""
        return None if value is None else str(value)

    def set(self, value: Path | str | None) -> None:
        """Choose weights; a file not in the list is added."""
        raw = self.as_raw(value)
        if raw is not None:
            self.offer(Path(raw))
        self._made.value = raw

    def offer(self, path: Path, name: str = "") -> None:
        """Add a file to the list, once."""
        raw = str(path)
        if raw not in self._made.choices:
            self._made.set_choice(name or path.name, raw)
            at = self.box.findData(raw)
            self.box.setItemData(at, as_it_is(raw), Qt.ItemDataRole.ToolTipRole)

    def on_change(self, call: Callable[[], None]) -> None:
        """Call something whenever the choice changes."""
        self._made.changed.connect(call, max_args=0)

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self.widget, "Choose weights", "", "Weights (*.safetensors);;All files (*)"
        )
        if name:
            self.set(name)


def field_of(model: type[BaseModel], name: str) -> Field:
    """Make the editor for a field from its type; the tooltip is the field's description."""
    kind, tip = model.model_fields[name].annotation, tip_of(name, model)
    words = choices(model.model_fields[name])
    if words:
        return Value(str, tip, widget_type="ComboBox", choices=list(words))
    if kind is bool:
        return Value(bool, tip, text="")
    if kind is int:
        low, high = limits(name, model)
        least = 0 if low is None else int(low)
        return Value(int, tip, min=least, max=_MOST if high is None else int(high))
    if get_origin(kind) in (Union, types.UnionType) and Path in get_args(kind):
        return WeightsFile(tip)
    return Text(tip, several=get_origin(kind) is tuple)


def title_of(name: str) -> str:
    """A field's name as the user sees it."""
    return name.replace("_", " ").capitalize()


def tip_of(name: str, model: type[BaseModel]) -> str:
    """A field's description, limits and default."""
    field = model.model_fields[name]
    low, high = limits(name, model)
    words = [field.description or ""]
    if low is not None and high is not None:
        words.append(f"From {low:g} to {high:g}.")
    elif low is not None:
        words.append(f"At least {low:g}.")
    if field.default is not PydanticUndefined:
        words.append(f"Default: {said(field.default)}.")
    return " ".join(words)


def limits(name: str, model: type[BaseModel]) -> tuple[float | None, float | None]:
    """A field's smallest and largest value; None if there is no limit."""
    low = high = None
    for rule in model.model_fields[name].metadata:
        low = next((getattr(rule, k) for k in ("ge", "gt") if hasattr(rule, k)), low)
        high = next((getattr(rule, k) for k in ("le", "lt") if hasattr(rule, k)), high)
    return low, high


def said(value: object) -> str:
    """Put a value into words."""
    if value is None or value == () or value == []:
        return "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _narrow(widget: Any) -> Any:
    """Let an editor be as narrow as its dock, and let the wheel scroll the dock over it."""
    widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_Wheel(widget))
    return widget


class _Wheel(QObject):
    """Keeps the mouse wheel from changing editors without focus."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Wheel and not self._widget.hasFocus():
            event.ignore()
            return True
        return False
