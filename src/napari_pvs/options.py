"""A configuration made from what a user gave, on the command line or in a form."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from napari_pvs.errors import InputError, words_of

Config = TypeVar("Config", bound=BaseModel)


def build(model: type[Config], values: dict[str, Any]) -> Config:
    """Make a configuration from options.

    Raises
    ------
    InputError
        A value does not fit; the message names the option.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else ""
        raise InputError(f"{words_of(first, option)}; see --help.") from error
