from typing import Annotated, Literal

import pytest
from pydantic import BaseModel

from napari_pvs.errors import InputError
from napari_pvs.options import OneOf, build, choices
from napari_pvs.training.config import TrainingConfig


def test_unknown_field_of_a_file_is_named():
    with pytest.raises(InputError, match=r"^--epoch is not known"):
        build(TrainingConfig, {"study": "x", "epoch": 3})
    with pytest.raises(InputError, match=r"^--study is missing"):
        build(TrainingConfig, {})


NAMES = {"one": 1, "two": 2}


class Chosen(BaseModel):
    name: Annotated[str, OneOf(NAMES)] = "one"
    word: Literal["a", "b"] = "a"
    number: int = 3


def test_the_choices_of_a_field_grow_with_their_registry(monkeypatch):
    fields = Chosen.model_fields
    assert [choices(fields[name]) for name in fields] == [("one", "two"), ("a", "b"), ()]
    with pytest.raises(InputError, match=r"^--name must be 'one' or 'two'; see --help\.$"):
        build(Chosen, {"name": "three"})
    with pytest.raises(InputError, match=r"^--name must be text"):
        build(Chosen, {"name": 3})
    monkeypatch.setitem(NAMES, "three", 3)
    assert build(Chosen, {"name": "three"}).name == "three"
    assert choices(fields["name"]) == ("one", "two", "three")
    with pytest.raises(InputError, match=r"^--name must be 'one', 'two' or 'three'"):
        build(Chosen, {"name": "four"})
