"""JSON that anybody may have written: bounded in size and depth, and held against a schema."""

import os
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from napari_pvs.errors import InputError, words_of

MOST_BYTES = 16 * 2**20
"""Of a file; the largest that is written here, a cross-validation's scores, has some 100 kB."""

T = TypeVar("T")


class Damaged(ValueError):
    """Not the JSON that was expected; the message is a clause that says why."""


def parse(text: str | bytes, kind: type[T]) -> T:
    """Parse JSON.

    Parameters
    ----------
    text
        UTF-8.
    kind
        What it must be: a pydantic model, a dataclass, or a type such as ``dict[str, str]``.

    Raises
    ------
    Damaged
        It is not, is larger than `MOST_BYTES`, or nested deeper than 200 levels.

    Examples
    --------
    >>> parse('{"a": 1}', dict[str, int])
    {'a': 1}
    """
    if len(text) > MOST_BYTES:
        raise Damaged(f"it is larger than {MOST_BYTES // 2**20} MB")
    try:
        found: T = _adapter(cast("Hashable", kind)).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            reason = " ".join(str(first.get("ctx", {}).get("error", first["msg"])).split())
            raise Damaged(f"no valid JSON: {reason}") from error
        raise Damaged(words_of(first, ".".join(map(str, first["loc"])) or "it")) from error
    except UnicodeEncodeError as error:
        raise Damaged("no UTF-8") from error
    return found


def read(path: Path, kind: type[T], remedy: str, said: str = "is damaged") -> T:
    """Read a file of JSON.

    Parameters
    ----------
    path
        The file.
    kind
        As for `parse`.
    remedy
        What the user can do about a damaged one: the end of the sentence.
    said
        What is the matter with one that does not fit: "is no readable revision".

    Raises
    ------
    FileNotFoundError
        It is not there.
    InputError
        It cannot be read, or as `parse`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            # no more room than that: reading takes all that it is allowed at once
            size = os.fstat(file.fileno()).st_size
            text = file.read(min(size, MOST_BYTES) + 1)
        return parse(text, kind)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except OSError as error:
        raise InputError(f"{path} {said} ({error.strerror}); {remedy}.") from error
    except Damaged as error:
        raise InputError(f"{path} {said} ({error}); {remedy}.") from error


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("Any", kind))
