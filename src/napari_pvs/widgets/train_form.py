"""A form made from a configuration: a row for each field, its description as the tooltip."""

import types
from collections.abc import Sequence
from typing import Any, Union, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import (
    QFormLayout,
    QLabel,
    QWidget,
)

from napari_pvs.errors import InputError
from napari_pvs.options import build, choices
from napari_pvs.training.config import TrainingConfig
from napari_pvs.widgets.fold import Fold
from napari_pvs.widgets.parts import Notice
from napari_pvs.widgets.train_fields import Choice, Entry, File, Number, Switch

COMMON = ("recipe", "method", "epochs", "weights", "device")
"""Fields that are always shown; the rest is folded away."""
LEFT_OUT = ("study",)
"""Fields that the dock knows without asking."""
FOLDED = tuple(n for n in TrainingConfig.model_fields if n not in (*COMMON, *LEFT_OUT))
"""Fields under *More*."""


class ConfigForm(QWidget):
    """What a run is to do: the fields of `TrainingConfig`, those under *More* from `unfold` on.

    A recipe sets defaults; what the user has set stays. Names of fields that differ from the
    configuration's own defaults are bold.
    """

    changed = Signal()
    """Something was set."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, Any] = {}
        self.names: dict[str, QLabel] = {}
        self._setting = False
        self.summary = Notice()
        shown = _layout(self)
        for name in COMMON:
            self._add(shown, name)
        shown.addRow(self.summary)
        self.more = Fold("More", "All other settings; their defaults are good ones.")
        self.more.head.toggled.connect(lambda _: self.unfold())
        shown.addRow(self.more)
        self._recipe = self.fields["recipe"].raw()
        self._plain = self._defaults = defaults(self._recipe)
        self._set(self._defaults)
        self._mark()

    def unfold(self) -> None:
        """Make the fields under *More*; until then they are what the recipe says."""
        if self.more.inside.layout() is not None:
            return
        form = _layout(self.more.inside)
        before: QWidget = self.more.head
        for name in FOLDED:
            self._add(form, name)
            self.setTabOrder(before, self.fields[name])
            before = self.fields[name]
        self._set({name: self._defaults[name] for name in FOLDED})
        self._mark()

    def values(self) -> dict[str, Any]:
        """What differs from the recipe's defaults, by field, as it was entered."""
        return {
            name: field.raw()
            for name, field in self.fields.items()
            if name == "recipe" or field.raw() != field.as_raw(self._defaults[name])
        }

    def config(self, study: Any) -> TrainingConfig:
        """Make the configuration.

        Raises
        ------
        InputError
            A value does not fit; the sentence is the command line's, and names the field.
        """
        try:
            return build(TrainingConfig, {"study": study, **self.values()})
        except InputError as error:
            raise InputError(str(error).replace("see --help", "see its tooltip")) from error

    def show_config(self, config: TrainingConfig) -> None:
        """Show another configuration, that of a run before."""
        self.unfold()
        self._recipe = config.recipe
        self._defaults = defaults(config.recipe)
        self._set(config.model_dump())
        self._mark()
        self.changed.emit()

    def _add(self, form: QFormLayout, name: str) -> None:
        field = self.fields[name] = editor(name)
        tip = tip_of(name)
        field.setToolTip(tip)
        title = self.names[name] = QLabel(title_of(name))
        title.setToolTip(tip)
        title.setBuddy(field)
        form.addRow(title, field)
        wheeled = getattr(field, "box", field)
        wheeled.installEventFilter(_Wheel(wheeled))
        field.changed.connect(lambda: self._on_changed(name))

    def _on_changed(self, name: str) -> None:
        if self._setting:
            return
        if name == "recipe":
            self._switch(self.fields["recipe"].raw())
        self._mark()
        self.changed.emit()

    def _switch(self, recipe: str) -> None:
        """Take the defaults of another recipe, but where the user has set something else."""
        kept, self._recipe = self.values(), recipe
        self._defaults = defaults(recipe)
        self._set({k: v for k, v in self._defaults.items() if k not in kept or k == "recipe"})

    def _set(self, values: dict[str, Any]) -> None:
        self._setting = True
        for name, value in values.items():
            if name in self.fields:
                self.fields[name].set(value)
        self._setting = False

    def _mark(self) -> None:
        """Tell what is other than the defaults, and by whom."""
        by_recipe, by_user = [], []
        for name in (*COMMON, *FOLDED):
            plain, default = self._plain[name], self._defaults[name]
            field = self.fields.get(name)
            if field is not None:
                font = self.names[name].font()
                font.setBold(field.raw() != field.as_raw(plain))
                self.names[name].setFont(font)
            if field is not None and field.raw() != field.as_raw(default):
                by_user.append(title_of(name).lower())
            elif default != plain and name != "recipe":
                by_recipe.append(f"{title_of(name).lower()} {_said(default)} ({_said(plain)})")
        parts = []
        if by_recipe:
            parts.append(f"The {self._recipe} recipe sets {len(by_recipe)} defaults, bold in More.")
        if by_user:
            parts.append(f"You changed: {', '.join(by_user)}.")
        self.summary.say(" ".join(parts))
        told = "Set by the recipe (default): " + "; ".join(by_recipe) if by_recipe else ""
        self.summary.setToolTip(told)


def defaults(recipe: str) -> dict[str, Any]:
    """Return what each field is where nothing but the recipe is said."""
    return TrainingConfig.model_validate({"study": ".", "recipe": recipe}).model_dump()


def title_of(name: str) -> str:
    """Name of a field, for people."""
    return name.replace("_", " ").capitalize()


def tip_of(name: str, model: type[BaseModel] = TrainingConfig) -> str:
    """Description of a field, its limits and its default."""
    field = model.model_fields[name]
    low, high = limits(name, model)
    words = [field.description or ""]
    if low is not None and high is not None:
        words.append(f"From {low:g} to {high:g}.")
    elif low is not None:
        words.append(f"At least {low:g}.")
    if field.default is not PydanticUndefined:
        words.append(f"Default: {_said(field.default)}.")
    return " ".join(words)


def limits(name: str, model: type[BaseModel] = TrainingConfig) -> tuple[Any, Any]:
    """Smallest and largest value of a field, None where there is none."""
    field = model.model_fields[name]
    low = high = None
    for rule in field.metadata:
        low = next((getattr(rule, k) for k in ("ge", "gt") if hasattr(rule, k)), low)
        high = next((getattr(rule, k) for k in ("le", "lt") if hasattr(rule, k)), high)
    return low, high


def editor(name: str, model: type[BaseModel] = TrainingConfig) -> Any:
    """Return the widget that edits a field, by its type."""
    kind = model.model_fields[name].annotation
    if words := choices(model.model_fields[name]):
        return Choice(words)
    if kind is bool:
        return Switch()
    if kind is int:
        return Number(*limits(name, model))
    if get_origin(kind) in (Union, types.UnionType):
        return File()
    return Entry(several=get_origin(kind) is tuple)


def _said(value: Any) -> str:
    if value is None or value == () or value == []:
        return "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _layout(parent: QWidget) -> QFormLayout:
    form = QFormLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(4)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
    return form


class _Wheel(QObject):
    """Keeps the wheel from setting what it is only moved over."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return False
