"""The reference of commands and configurations, made from the code when the documentation is built.

    python benchmarks/reference.py

prints it. MkDocs calls `on_page_markdown`, which puts it in the place of ``<!-- commands -->`` and
``<!-- configurations -->``.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

import typer.main
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from napari_pvs.cli import app
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.options import choices
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.training.config import TrainingConfig

HELP = ("--help", "--install-completion", "--show-completion")


def main() -> None:
    print(commands())
    print(configurations())


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what a page leaves to the code; called by MkDocs."""
    for name, made in (("commands", commands), ("configurations", configurations)):
        mark = f"<!-- {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, made())
    return markdown


def verbs(group: Any = None, path: tuple[str, ...] = ("napari-pvs",)) -> Iterator[tuple[str, Any]]:
    """Every command, with the words that lead to it."""
    group = typer.main.get_command(app) if group is None else group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def commands() -> str:
    """A section for each command, with a table of its arguments and options."""
    return "\n\n".join(_command(path, command) for path, command in verbs())


def _command(path: str, command: Any) -> str:
    shown = [one for one in command.params if not set(one.opts) & set(HELP)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name != "argument"]
    usage = [path, *(_argument(one) for one in arguments), "[OPTIONS]"]
    _, _, examples = (command.epilog or "").partition("Examples:")
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    rows = [(f"`{_argument(one)}`", one.help, "") for one in arguments]
    by_panel: dict[str, list[Any]] = {}
    for one in options:
        by_panel.setdefault(one.rich_help_panel or "", []).append(one)
    for panel, some in by_panel.items():
        if panel:
            rows.append((f"**{panel}**", "", ""))
        rows += [(_names(one), one.help, _default(one)) for one in some]
    return "\n\n".join(
        [
            f"### {path}",
            command.help.strip(),
            "```text\n" + " ".join(usage) + "\n```",
            _table(("", "", "default"), rows),
            *(["```sh\n" + "\n".join(lines) + "\n```"] if lines else []),
        ]
    )


def _argument(one: Any) -> str:
    name = one.name.upper() + ("..." if one.nargs == -1 else "")
    return name if one.required else f"[{name}]"


def _names(one: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
    return " ".join([names, *(f"`{word}`" for word in _choices(one))])


def _choices(one: Any) -> tuple[str, ...]:
    """The words an option takes: of a typer with its own options, or with click's."""
    if hasattr(one, "type_descriptor"):
        annotation = one.type_descriptor.annotation
        return get_args(annotation) if get_origin(annotation) is Literal else ()
    return tuple(getattr(one.type, "choices", ()))


def _default(one: Any) -> str:
    value = one.default
    if getattr(one, "is_flag", False) and not one.secondary_opts:
        return ""
    return "required" if one.required else _value(value)


def configurations() -> str:
    """A section for each configuration, with a table of its fields."""
    recipes = ("default", "paper", "adapt")
    return "\n\n".join(
        [
            _configuration(SegmentConfig, {"default": SegmentConfig()}),
            _configuration(
                TrainingConfig,
                {one: TrainingConfig.model_validate({"study": "STUDY", "recipe": one})
                 for one in recipes},
            ),
            _configuration(PhantomConfig, {"default": PhantomConfig()}),
        ]
    )  # fmt: skip


def _configuration(model: type[BaseModel], made: dict[str, Any]) -> str:
    rows = []
    for name, field in model.model_fields.items():
        words = choices(field)
        told = field.description or ""
        if words:
            told += " One of: " + ", ".join(f"`{word}`" for word in words) + "."
        required = field.default is PydanticUndefined
        values = ["required" if required else _value(getattr(one, name)) for one in made.values()]
        rows.append((f"`{name}`", told, *values))
    return f"### {model.__name__}\n\n{model.__doc__}\n\n" + _table(("field", "", *made), rows)


def _value(value: Any) -> str:
    """A default as it is typed; nothing for none."""
    if value is None or value == () or value == [] or repr(value) == "Sentinel.UNSET":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(f"`{one}`" for one in value)
    return f"`{value}`"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str | None, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    cells = [[" ".join((cell or "").split()).replace("|", "\\|") for cell in row] for row in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


if __name__ == "__main__":
    main()
