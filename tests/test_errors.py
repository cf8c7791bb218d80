"""What users read: commands they can paste, and what does not fit a configuration."""

import shlex
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_pvs.errors import command, words_of


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: int = Field(1, ge=1, le=9)
    share: float = Field(0.5, gt=0, lt=1)
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    where: Path = Path()
    names: tuple[str, ...] = Field(("x",), min_length=1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"count": 0}, "must be at least 1"),
        ({"count": 10}, "must be at most 9"),
        ({"count": "many"}, "must be a whole number"),
        ({"count": 1.5}, "must be a whole number"),
        ({"share": 0}, "must be above 0"),
        ({"share": 1}, "must be below 1"),
        ({"share": "half"}, "must be a number"),
        ({"kind": "c"}, "must be 'a' or 'b'"),
        ({"flag": "perhaps"}, "must be true or false"),
        ({"where": 3}, "must be a path"),
        ({"names": ()}, "needs at least 1"),
        ({"wings": 2}, "is not known to this version"),
    ],
)
def test_words(given, words):
    with pytest.raises(ValidationError) as refused:
        Model.model_validate(given)
    assert words_of(refused.value.errors()[0], "--x") == f"--x {words}"


def test_words_of_what_is_not_listed():
    problem = {"type": "value_error", "msg": "Value error, The span is reversed"}
    assert words_of(problem, "") == "the span is reversed"
    assert words_of(problem, "--span") == "--span: The span is reversed"


def test_a_command_survives_the_shell():
    said = command("train", "--resume", Path("my runs/it's mine"))
    assert shlex.split(said) == ["napari-pvs", "train", "--resume", "my runs/it's mine"]
