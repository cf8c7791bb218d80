"""JSON from untrusted files: limited in size and depth, and validated against a schema."""

import os
import stat
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from napari_pvs.errors import InputError, plain, words_of

MOST_BYTES = 16 * 2**20
"""Largest file accepted; the largest we write, a cross-validation's scores, has about 100 kB."""

T = TypeVar("T")


class Damaged(ValueError):
    """Not the expected JSON; the message is a clause that says why."""


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
        It is something else, larger than `MOST_BYTES`, or nested deeper than 200 levels.

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
        where = ".".join(map(str, first["loc"]))  # may have line breaks: keys are anybody's
        raise Damaged(plain(words_of(first, where or "it"))) from error
    except UnicodeEncodeError as error:
        raise Damaged("not UTF-8") from error
    return found


def read(path: Path, kind: type[T], remedy: str, said: str = "is damaged") -> T:
    """Read a JSON file.

    Parameters
    ----------
    path
        The file.
    kind
        As for `parse`.
    remedy
        What the user can do about a damaged file: the end of the sentence.
    said
        What is wrong with a damaged file, such as "is not a readable revision".

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    InputError
        The file cannot be read or parsed.
    """
    path = Path(path)
    try:
        if stat.S_ISFIFO(path.stat().st_mode):  # opening it might wait forever
            raise Damaged("it is a pipe")
        with path.open("rb") as file:
            # file.read allocates as many bytes as it is asked for
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
