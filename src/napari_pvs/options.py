"""Configurations made from user input, on the command line or in a form."""

from collections.abc import Collection
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from napari_pvs.errors import InputError, words_of

Config = TypeVar("Config", bound=BaseModel)


class OneOf:
    """Marks a text field whose choices are the keys of a registry: a ``Literal`` that can grow.

    Parameters
    ----------
    names
        The registry. It is looked up each time, so that later entries count too.

    Examples
    --------
    ``method: Annotated[str, OneOf(METHODS)]``
    """

    def __init__(self, names: Collection[str]):
        self.names = names

    def __get_pydantic_core_schema__(
        self, source: type, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let pydantic check the text, then the choice."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str) -> str:
        if name not in self.names:
            *first, last = map(repr, self.names)
            expected = f"{', '.join(first)} or {last}" if first else last
            # the same message as for a Literal
            raise PydanticCustomError(
                "literal_error", "Input should be {expected}", {"expected": expected}
            )
        return name


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the choices of a field that is one of several words; otherwise nothing."""
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)
    return next((tuple(rule.names) for rule in field.metadata if isinstance(rule, OneOf)), ())


def build(model: type[Config], values: dict[str, Any], *, cli: bool = True) -> Config:
    """Make a configuration from options; ``cli`` names them as the command line does.

    Raises
    ------
    InputError
        A value is not valid; the message names the option.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]) if first["loc"] else ""
        if not cli:
            raise InputError(f"{words_of(first, option)}; see {model.__name__}.") from error
        option = option and "--" + option.replace("_", "-")
        raise InputError(f"{words_of(first, option)}; see --help.") from error
