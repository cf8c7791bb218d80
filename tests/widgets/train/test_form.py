"""The form follows the configuration, and says what the command line says."""

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_pvs.errors import InputError
from napari_pvs.training.config import PAPER, TrainingConfig
from napari_pvs.widgets.parts.fields import limits, tip_of
from napari_pvs.widgets.train.form import COMMON, LEFT_OUT, ConfigForm, defaults


@pytest.fixture
def form(qtbot):
    form = ConfigForm()
    qtbot.addWidget(form)
    form.unfold()
    return form


def test_every_field_has_a_row_with_its_description(form):
    assert set(form.fields) == set(TrainingConfig.model_fields) - set(LEFT_OUT)
    for name, field in form.fields.items():
        assert TrainingConfig.model_fields[name].description in field.widget.toolTip()
    assert limits("patch", TrainingConfig) == (None, None)
    assert limits("learning_rate", TrainingConfig) == (0, None)
    assert limits("confidence", TrainingConfig) == (0.5, 1)
    assert "From 0.5 to 1." in tip_of("confidence", TrainingConfig)
    assert tip_of("epochs", TrainingConfig).endswith("At least 1. Default: 100.")
    folded = {name for name in form.fields if form.more.isAncestorOf(form.fields[name].widget)}
    assert folded == set(form.fields) - set(COMMON)


def test_what_is_folded_is_made_when_it_is_opened_and_what_the_recipe_says(qtbot, tmp_path):
    form, whole = ConfigForm(), ConfigForm()
    whole.unfold()
    for one in (form, whole):
        qtbot.addWidget(one)
        one.fields["recipe"].set("paper")
    assert set(form.fields) == set(COMMON)
    assert form.config(tmp_path) == whole.config(tmp_path) != TrainingConfig(study=tmp_path)
    assert form.summary.text() == whole.summary.text()
    form.more.expand()
    assert form.config(tmp_path) == whole.config(tmp_path)
    assert {n: f.raw() for n, f in form.fields.items()} == {
        n: f.raw() for n, f in whole.fields.items()
    }
    assert form.names["patch"].font().bold()
    form.fields["patch"].set((16,))
    form.more.collapse()
    form.more.expand()
    assert form.config(tmp_path).patch == (16,)


def test_untouched_it_is_the_default(form, tmp_path):
    assert form.config(tmp_path) == TrainingConfig(study=tmp_path)
    assert form.values() == {"recipe": "default"}
    assert form.summary.isHidden()


def test_what_is_set_reaches_the_configuration(form, tmp_path):
    given = {
        "method": "m2ss",
        "epochs": 7,
        "patch": (16, 24),
        "learning_rate": 0.01,
        "augment": False,
        "validation": ("sub-01", "sub-02"),
        "weights": tmp_path / "w.safetensors",
        "device": "cpu",
    }
    for name, value in given.items():
        form.fields[name].set(value)
    assert form.config(tmp_path) == TrainingConfig(study=tmp_path, **given)
    assert form.summary.text().startswith("You changed: method, epochs, weights, device, ")
    assert form.names["patch"].font().bold()
    assert not form.names["seed"].font().bold()
    for name in given:
        form.fields[name].set(defaults("default")[name])
    assert form.config(tmp_path) == TrainingConfig(study=tmp_path)


def test_a_recipe_sets_defaults_and_leaves_what_was_set(form, tmp_path):
    form.fields["warmup"].set(3)
    form.fields["recipe"].set("paper")
    config = form.config(tmp_path)
    assert config == TrainingConfig(study=tmp_path, recipe="paper", warmup=3)
    assert form.fields["patch"].widget.text() == "32"
    differing = sum(
        TrainingConfig.model_fields[name].get_default() != value
        for name, value in PAPER.items()
        if name != "warmup"
    )
    assert f"sets {differing} defaults" in form.summary.text()
    assert form.summary.text().endswith(
        "You changed: recipe, warmup."
    ) or form.summary.text().endswith("You changed: warmup.")
    assert "patch 32 (32, 48)" in form.summary.toolTip()
    form.fields["recipe"].set("default")
    assert form.config(tmp_path) == TrainingConfig(study=tmp_path, warmup=3)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("patch", ("4",), "--patch must be at least 8; see its tooltip."),
        ("average", 1.0, "--average must be below 1; see its tooltip."),
        ("focal_weight", 0, None),
    ],
)
def test_wrong_values_are_told_as_by_the_command_line(form, tmp_path, name, value, said):
    form.fields[name].set(value)
    if name == "focal_weight":
        form.fields["dice_weight"].set(0)
        said = "focal_weight and dice_weight are both 0; nothing would be learned; see its tooltip."
    with pytest.raises(InputError) as caught:
        form.config(tmp_path)
    assert str(caught.value) == said


def test_the_wheel_over_a_value_scrolls_the_dock(form, qtbot):
    field = form.fields["epochs"].widget
    with qtbot.waitExposed(form, timeout=300_000):
        form.show()
    form.fields["recipe"].widget.setFocus()
    at = QPointF(5, 5)
    event = QWheelEvent(
        at,
        field.mapToGlobal(at),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(field, event)
    assert field.value() == 100
