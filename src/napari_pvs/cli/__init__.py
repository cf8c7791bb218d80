"""The command line: one thin command per verb."""

import sys
import warnings
from typing import Any

from napari_pvs.cli import cohorts, crossvalidation, segmentation, training
from napari_pvs.cli.app import app
from napari_pvs.errors import InputError, InputWarning

__all__ = ["app", "cohorts", "crossvalidation", "main", "segmentation", "training"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: wrong input ends in one sentence and exit code 2."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = _show_warning
        try:
            app(arguments, prog_name="napari-pvs")
        except InputError as error:
            print(f"napari-pvs: {error}", file=sys.stderr)
            raise SystemExit(2) from None


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, InputWarning):
        print(f"napari-pvs: warning: {message}", file=sys.stderr)
