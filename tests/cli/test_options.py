import inspect
from pathlib import Path
from typing import Literal, get_args

import pytest
import typer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typer.testing import CliRunner

from napari_pvs.cli import app
from napari_pvs.cli.options import with_options
from napari_pvs.errors import InputError
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.options import choices
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.training.config import TrainingConfig


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    study: Path = Field(description="Where it is.")
    kind: Literal["fine", "coarse"] = Field("fine", description="Which one.")
    learning_rate: float = Field(0.5, gt=0, description="How fast.")
    names: tuple[str, ...] = Field((), description="Which ones.")
    limit: int | None = Field(None, ge=1, description="At most.")
    span: tuple[float, float] = Field((1, 2), description="From and to.")
    flag: bool = Field(True, description="Whether.")
    start: str = Field(
        "a", description="Where from.", json_schema_extra={"options": ["--start", "--from"]}
    )

    @model_validator(mode="after")
    def _check(self) -> "Config":
        if self.span[0] > self.span[1]:
            raise ValueError("The span is reversed")
        return self


@pytest.fixture
def call():
    """Run the made command on arguments; returns the config it got, or click's result."""
    app = typer.Typer()
    got = []

    @app.command()
    @with_options(Config, arguments=("study",))
    def verb(*, config: Config, out: Path = Path("here")) -> None:
        """Do it."""
        got.append((config, out))

    def run(*arguments):
        result = CliRunner().invoke(app, list(arguments))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return got[-1] if got else result

    return run


def test_defaults_stand_in_the_model(call):
    config, out = call("data")
    assert config == Config(study="data")
    assert out == Path("here")


def test_every_kind_of_option(call):
    arguments = "--kind coarse --learning-rate 0.1 --names a --names b --limit 3 --span 4 5"
    config, out = call("data", *arguments.split(), "--no-flag", "--out", "there")
    assert config == Config(
        study="data",
        kind="coarse",
        learning_rate=0.1,
        names=("a", "b"),
        limit=3,
        span=(4, 5),
        flag=False,
    )
    assert out == Path("there")


def test_wrong_value_names_the_option(call):
    with pytest.raises(InputError, match=r"^--learning-rate must be above 0; see --help\.$"):
        call("data", "--learning-rate", "0")
    with pytest.raises(InputError, match=r"^--limit must be at least "):
        call("data", "--limit", "0")
    with pytest.raises(InputError, match=r"^the span is reversed; see --help\.$"):
        call("data", "--span", "3", "1")


def test_an_option_of_two_names(call):
    assert call("data", "--from", "b")[0].start == "b"
    assert call("data", "--start", "c")[0].start == "c"


def test_click_refuses_the_rest(call):
    for wrong in (["data", "--kind", "none"], ["data", "--limit", "x"], ["data", "--no"], []):
        assert call(*wrong).exit_code == 2


def test_help_is_the_models(call):
    result = call("--help")
    assert result.exit_code == 0
    for field in Config.model_fields.values():
        assert field.description in result.output


@pytest.mark.parametrize("model", [SegmentConfig, TrainingConfig, PhantomConfig])
def test_every_config_of_the_product_becomes_options(model):
    @with_options(model)
    def verb(*, config: model) -> None:
        """Do it."""

    parameters = dict(inspect.signature(verb).parameters)
    assert parameters.pop("context").annotation is typer.Context
    assert set(parameters) == set(model.model_fields)
    for name, parameter in parameters.items():
        told, field = get_args(parameter.annotation)[1].help, model.model_fields[name]
        assert told.partition(" One of: ")[0] == field.description
        assert all(word in told for word in choices(field)) or " One of: " not in told
        assert model.model_fields[name].description


@pytest.mark.parametrize("model", [SegmentConfig, TrainingConfig])
def test_groups_of_options_name_fields_once(model):
    grouped = [name for fields in model.GROUPS.values() for name in fields]
    assert set(grouped) <= set(model.model_fields)
    assert len(grouped) == len(set(grouped))


def test_a_group_has_a_panel_and_no_word_is_broken(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for verb, title in (("segment", "Model"), ("train", "Unlabelled scans"), ("count", "Options")):
        said = CliRunner().invoke(app, [verb, "--help"]).output
        assert f"╭─ {title} ─" in said
        assert "Examples:" in said
        for line in said.splitlines():
            assert len(line) <= 80
            assert line.count("<") == line.count(">"), line  # choices lie on one line
