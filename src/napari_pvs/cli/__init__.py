"""The command line: one thin command per verb."""

import contextlib
import errno
import sys
import warnings
from typing import Any

from napari_pvs.cli import (
    bids_app,
    cohorts,
    counting,
    crossvalidation,
    opening,
    raters,
    reporting,
    segmentation,
    training,
)
from napari_pvs.cli.app import app, hush
from napari_pvs.errors import InputError, InputWarning, plain

__all__ = [
    "app",
    "bids_app",
    "cohorts",
    "counting",
    "crossvalidation",
    "main",
    "opening",
    "raters",
    "reporting",
    "segmentation",
    "training",
]

_INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ENXIO, errno.ENODEV),
    *(errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT),
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: wrong input ends in one sentence and exit code 2."""
    with contextlib.suppress(AttributeError, ValueError):  # not the streams of a test
        # if the code page lacks a letter, a question mark is better than no result
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    hush(False)
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = _show_warning
        try:
            ended = app(arguments, prog_name="napari-pvs", standalone_mode=False)
        except InputError as error:
            print(f"napari-pvs: {plain(error)}", file=sys.stderr)
            raise SystemExit(2) from None
        except OSError as error:
            said = _refusal(error)
            if said is None:
                raise
            print(f"napari-pvs: {plain(said)}", file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            raise SystemExit(_INTERRUPTED) from None
        except Exception as error:
            if type(error).__name__ == "Abort":  # what click makes of Ctrl-C
                raise SystemExit(_INTERRUPTED) from None
            # click's own class, which some versions of typer vendor under another name
            if not hasattr(error, "format_message"):
                raise
            if type(error).__name__ != "NoArgsIsHelpError":  # it has printed the help
                print(f"napari-pvs: {plain(_sentence(error))}", file=sys.stderr)
            raise SystemExit(2) from None
    raise SystemExit(ended if isinstance(ended, int) else 0)


def _refusal(error: OSError) -> str | None:
    """Say in one sentence what the system refused; None if it is not about a path."""
    if error.errno == errno.ENOENT and "temporary directory" in str(error.strerror):
        return (
            "no temporary folder can be written; make room, or set TMPDIR to a folder that can be "
            "written."
        )
    if error.errno in _REFUSED and error.filename:
        return (
            f"{error.filename} cannot be used ({error.strerror}); name another, or allow access to "
            "it."
        )
    if error.errno in _FULL:
        where = error.filename or "the results folder"
        return f"{where} cannot be written ({error.strerror}); make room, or choose another folder."
    return None


def _sentence(error: Any) -> str:
    """Say in one sentence what is wrong with the arguments, and where to look."""
    said = " ".join(error.format_message().split()).rstrip(".")
    path = error.ctx.command_path if getattr(error, "ctx", None) else "napari-pvs"
    return f"{said[:1].lower()}{said[1:]}; see {path} --help."


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, InputWarning):
        print(f"napari-pvs: warning: {plain(message)}", file=sys.stderr)
