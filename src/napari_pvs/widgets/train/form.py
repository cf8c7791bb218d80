"""The form for a new training run, with a row for each field of its configuration."""

from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from napari_pvs.errors import InputError
from napari_pvs.options import build
from napari_pvs.training.config import TrainingConfig
from napari_pvs.widgets.parts.controls import Notice, section
from napari_pvs.widgets.parts.fields import Field, WeightsFile, field_of, said, tip_of, title_of

COMMON = ("recipe", "method", "epochs", "weights", "device")
"""Fields that are always shown; the others are under *More*."""
LEFT_OUT = ("study",)
"""Fields that the dock fills in itself."""
FOLDED = tuple(n for n in TrainingConfig.model_fields if n not in (*COMMON, *LEFT_OUT))
"""Fields under *More*."""


class ConfigForm(QWidget):
    """The fields of `TrainingConfig`; those under *More* are made by `unfold`.

    A recipe sets defaults, but keeps what the user has set. The names of fields that differ from
    the configuration's own defaults are bold.
    """

    changed = Signal()
    """A value has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, Field] = {}
        self.names: dict[str, QLabel] = {}
        self._setting = False
        self.summary = Notice()
        shown = _layout(self)
        for name in COMMON:
            self._add(shown, name)
        shown.addRow(self.summary)
        self._folded = QWidget()
        self.more = section("More", "All other settings; the defaults are good.", self._folded)
        self.more.toggled.connect(lambda _: self.unfold())
        shown.addRow(self.more)
        self._recipe: str = self.fields["recipe"].raw()
        self._plain = self._defaults = defaults(self._recipe)
        self._set(self._defaults)
        self._mark()

    def unfold(self) -> None:
        """Make the fields under *More*; until then they have the recipe's values."""
        if self._folded.layout() is not None:
            return
        form = _layout(self._folded)
        before: QWidget = self.more.toggleButton()
        for name in FOLDED:
            self._add(form, name)
            field = self.fields[name].widget
            self.setTabOrder(before, field)
            before = field
        self._set({name: self._defaults[name] for name in FOLDED})
        self._mark()

    def values(self) -> dict[str, Any]:
        """Return the values that differ from the recipe's defaults, by field, as entered."""
        return {
            name: field.raw()
            for name, field in self.fields.items()
            if name == "recipe" or field.raw() != field.as_raw(self._defaults[name])
        }

    def config(self, study: Path | None) -> TrainingConfig:
        """Make the configuration.

        Raises
        ------
        InputError
            A value is not valid; the sentence is the command line's, and names the field.
        """
        try:
            return build(TrainingConfig, {"study": study, **self.values()})
        except InputError as error:
            raise InputError(str(error).replace("see --help", "see its tooltip")) from error

    def offer_weights(self, path: Path, name: str) -> None:
        """Add weights to those that a run can start from."""
        field = self.fields["weights"]
        if isinstance(field, WeightsFile):
            field.offer(path, name)

    def _add(self, form: QFormLayout, name: str) -> None:
        field = self.fields[name] = field_of(TrainingConfig, name)
        title = self.names[name] = QLabel(title_of(name))
        title.setToolTip(tip_of(name, TrainingConfig))
        title.setBuddy(field.widget)
        form.addRow(title, field.widget)
        field.on_change(partial(self._on_changed, name))

    def _on_changed(self, name: str) -> None:
        if self._setting:
            return
        if name == "recipe":
            self._switch(self.fields["recipe"].raw())
        self._mark()
        self.changed.emit()

    def _switch(self, recipe: str) -> None:
        """Apply another recipe's defaults, except where the user has set something else."""
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
        """Show which values differ from the defaults, and whether by recipe or user."""
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
                by_recipe.append(f"{title_of(name).lower()} {said(default)} ({said(plain)})")
        parts = []
        if by_recipe:
            parts.append(f"The {self._recipe} recipe sets {len(by_recipe)} defaults, bold in More.")
        if by_user:
            parts.append(f"You changed: {', '.join(by_user)}.")
        self.summary.say(" ".join(parts))
        told = "Set by the recipe (default): " + "; ".join(by_recipe) if by_recipe else ""
        self.summary.setToolTip(told)


def defaults(recipe: str) -> dict[str, Any]:
    """Return the value of each field if only the recipe is given."""
    return TrainingConfig.model_validate({"study": ".", "recipe": recipe}).model_dump()


def _layout(parent: QWidget) -> QFormLayout:
    form = QFormLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(4)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
    return form
