"""Command-line options made from a configuration model, so that a default stands in one place."""

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, cast, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from napari_pvs.options import build

OPTIONS = "options"
"""Key of a field's ``json_schema_extra``: the names of its option, where it has several."""


def with_options(
    model: type[BaseModel], arguments: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a typer command ``f(*, config, ...)``: ``config`` becomes one option per field.

    Only options that the user gave reach the model, so that it can tell them from its defaults.
    A parameter ``given`` of the function receives them as they were typed.

    Parameters
    ----------
    model
        The configuration; its field descriptions are the help.
    arguments
        Fields that are positional arguments instead of options.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        parameters_of = inspect.signature(function).parameters
        wants_given = "given" in parameters_of

        def command(context: typer.Context, **given: Any) -> None:
            values = {name: given.pop(name) for name in model.model_fields if name in given}
            typed = {
                name: value
                for name, value in values.items()
                if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"
            }
            if wants_given:
                given["given"] = typed
            function(config=build(model, typed), **given)

        own = [p for p in parameters_of.values() if p.name not in ("config", "given")]
        made = [_parameter(model, name, name in arguments) for name in model.model_fields]
        parameters = sorted(own + made, key=lambda p: p.default is not inspect.Parameter.empty)
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        first = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
        command.__signature__ = inspect.Signature([first, *keyword])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in (first, *keyword)}
        command.__doc__, command.__name__ = function.__doc__, function.__name__
        return command

    return decorate


def _parameter(model: type[BaseModel], name: str, positional: bool) -> inspect.Parameter:
    field = model.model_fields[name]
    kind = _cli_type(field.annotation)
    required = field.default is PydanticUndefined
    default: Any = inspect.Parameter.empty if required else field.default
    if get_origin(kind) is list:
        default = list(default)
    declared = typer.Argument if positional else typer.Option
    extra = field.json_schema_extra
    names = cast("list[str]", extra.get(OPTIONS, [])) if isinstance(extra, dict) else []
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, declared(*names, help=field.description)],
    )


def _cli_type(annotation: Any) -> Any:
    """Typer knows optional types, fixed tuples and lists of plain types, no tuple of any length."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [_cli_type(a) for a in get_args(annotation) if a is not type(None)]
        return inner[0] | None
    if get_origin(annotation) is tuple and get_args(annotation)[-1] is Ellipsis:
        item = get_args(annotation)[0]
        return list[get_args(item)[0] if get_origin(item) is Annotated else item]  # type: ignore[misc]
    return annotation
