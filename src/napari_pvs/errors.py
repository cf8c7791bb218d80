"""The exception for wrong input, the warning for doubtful input, and how they are worded."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class InputError(Exception):
    """Wrong input that the user can correct; one sentence that names the file and the remedy.

    The command line prints it without a traceback and exits with code 2. Any other exception is a
    bug and keeps its traceback.
    """


class InputWarning(UserWarning):
    """Input that is used although it looks wrong (swapped channels, coarse voxels)."""


def plain(text: object) -> str:
    """Return text as one line that is safe to print on a terminal, with control codes spelled out.

    File names may contain line breaks, terminal escapes, marks that reverse the writing direction,
    and bytes that are not UTF-8.

    Examples
    --------
    >>> plain("a\\x1b[31m\\nb ³")
    'a\\\\x1b[31m\\\\nb ³'
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text)
    )


def command(*words: str | Path) -> str:
    """Return a napari-pvs command that a user can paste, whatever characters its paths have.

    Examples
    --------
    >>> command("train", "--resume", Path("my runs/a"))
    "napari-pvs train --resume 'my runs/a'"
    """
    return shlex.join(["napari-pvs", *map(str, words)])


def words_of(problem: Mapping[str, Any], name: str) -> str:
    """Put one of the problems in a pydantic ``ValidationError`` into words.

    Parameters
    ----------
    problem
        One of its ``errors()``.
    name
        The user's name for the value; empty if the problem is with the whole.

    Examples
    --------
    >>> words_of({"type": "greater_than", "ctx": {"gt": 0}, "msg": "Input should …"}, "--batch")
    '--batch must be above 0'
    """
    said = _WORDS.get(problem["type"])
    if said is not None:
        return f"{name} {said.format(**problem.get('ctx', {}))}"
    message: str = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else f"{message[:1].lower()}{message[1:]}"


_WORDS = {
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "path_type": "must be a path",
    "string_type": "must be text",
    "too_short": "needs at least {min_length}",
    "missing": "is missing",
    "extra_forbidden": "is not known to this version",
}
