"""Command-line options made from a configuration model, so that defaults have a single place."""

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from napari_pvs.options import build, choices

OPTIONS = "options"
"""Key in a field's ``json_schema_extra``: the names of its option, if it has several."""
GROUPS = "GROUPS"
"""Attribute of a configuration: titles under which `--help` lists fields that few people need."""
_WIDEST = 20
"""Longest list of choices that fits beside its option in 80 columns, characters."""


def with_options(
    model: type[BaseModel], arguments: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a typer command ``f(*, config, ...)``: ``config`` becomes one option per field.

    Only options that the user gave are passed to the model, so that it can distinguish them from
    its defaults. If the function has a parameter ``given``, it receives them as they were typed.

    Parameters
    ----------
    model
        The configuration; its field descriptions are the help.
    arguments
        Fields that are positional arguments instead of options.
    without
        Fields that keep their default, because the command has no use for them.
    """

    return lambda function: _Command(function, model, arguments, without)


class _Command:
    """A command for typer, which derives the options from its signature at every call.

    The signature is rebuilt each time too, so that methods registered later are offered.
    """

    def __init__(
        self,
        function: Callable[..., None],
        model: type[BaseModel],
        arguments: tuple[str, ...],
        without: tuple[str, ...],
    ):
        self._function, self._model, self._arguments = function, model, arguments
        self._without = without
        self._parameters = inspect.signature(function).parameters
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.__module__ = function.__module__

    def __call__(self, context: typer.Context, **given: Any) -> None:
        model = self._model
        values = {name: given.pop(name) for name in model.model_fields if name in given}
        typed = {
            name: value
            for name, value in values.items()
            if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"
        }
        if "given" in self._parameters:
            given["given"] = typed
        self._function(config=build(model, typed), **given)

    @property
    def __signature__(self) -> inspect.Signature:
        own = [p for p in self._parameters.values() if p.name not in ("config", "given")]
        made = [
            _parameter(self._model, name, name in self._arguments)
            for name in self._model.model_fields
            if name not in self._without
        ]
        parameters = sorted(made + own, key=lambda p: p.default is not inspect.Parameter.empty)
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        first = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
        return inspect.Signature([first, *keyword])

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return {p.name: p.annotation for p in self.__signature__.parameters.values()}


def _parameter(model: type[BaseModel], name: str, positional: bool) -> inspect.Parameter:
    field = model.model_fields[name]
    words = choices(field)
    kind = Literal[words] if words else _cli_type(field.annotation)
    required = field.default is PydanticUndefined
    default: Any = inspect.Parameter.empty if required else field.default
    if get_origin(kind) is list:
        default = list(default)
    declared = typer.Argument if positional else typer.Option
    extra = field.json_schema_extra
    names = cast("list[str]", extra.get(OPTIONS, [])) if isinstance(extra, dict) else []
    if isinstance(field.default, bool) and not field.default:
        names = names or ["--" + name.replace("_", "-")]  # nobody needs --no-…
    groups: dict[str, tuple[str, ...]] = getattr(model, GROUPS, {})
    panel = next((title for title, fields in groups.items() if name in fields), None)
    told = field.description
    long = len("|".join(words)) > _WIDEST  # it would be broken inside a word
    if long:
        told, kind = f"{told} One of: {', '.join(words)}.", str

    def complete() -> list[str]:
        return list(words)

    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[
            kind,
            declared(
                *names,
                help=told,
                autocompletion=complete if long else None,
                rich_help_panel=panel,
            ),
        ],
    )


def _cli_type(annotation: Any) -> Any:
    """Turn tuples of any length into lists; typer knows only tuples of a fixed length."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [_cli_type(a) for a in get_args(annotation) if a is not type(None)]
        return inner[0] | None
    if get_origin(annotation) is tuple and get_args(annotation)[-1] is Ellipsis:
        item = get_args(annotation)[0]
        return list[get_args(item)[0] if get_origin(item) is Annotated else item]  # type: ignore[misc]
    return annotation
