"""Counts calls of functions as stages of a profile."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


def watch(
    stage: Callable[[str], AbstractContextManager[None]], owner: Any, attribute: str, name: str
) -> None:
    """Let every call of ``owner``'s function run inside the stage of that name."""
    function = getattr(owner, attribute)

    def timed(*arguments: Any, **options: Any) -> Any:
        with stage(name):
            return function(*arguments, **options)

    setattr(owner, attribute, timed)
