"""What all commands share: the app, common options, progress and log on stderr."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import napari_pvs
from napari_pvs.errors import InputError, plain
from napari_pvs.files import require_replaceable, write_text

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from napari_pvs.workers import Workers

app = typer.Typer(
    name="napari-pvs",
    help="Segment and count perivascular spaces (PVS) on brain MRI, and train on your own labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
_quiet = False


def hush(quiet: bool) -> bool:
    """Print only warnings and errors from now on, or everything again."""
    global _quiet
    _quiet = quiet
    return quiet


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only warnings and errors.", callback=hush),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace results that are already there.")
]


Processes = Annotated[
    int, typer.Option("--workers", help="For a study: number of processes, 1 or more.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(help="For a study: address of a dask scheduler whose workers process it."),
]


def workers_of(processes: int, scheduler: str | None) -> "Workers":
    """Return who does the work on a study.

    Raises
    ------
    InputError
        Both are given, or no process at all.
    """
    from napari_pvs.workers import Workers  # with multiprocessing, which --help need not wait for

    if processes < 1:
        raise InputError(f"--workers is {processes}; give 1 or more.")
    if scheduler is not None and processes > 1:
        raise InputError("--workers and --scheduler do not go together; leave one of them out.")
    return Workers(processes, scheduler)


def require_study(processes: int, scheduler: str | None) -> None:
    """Refuse workers for a single scan.

    Raises
    ------
    InputError
        Some are asked for.
    """
    if scheduler is not None or processes > 1:
        option = "--workers" if scheduler is None else "--scheduler"
        raise InputError(f"{option} is for a study; leave it out for one scan.")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        say(napari_pvs.__version__)
        raise typer.Exit


def examples(*commands: str) -> str:
    """Return the end of a help text: commands as they can be typed."""
    return "\n\n".join(["Examples:", *(f"  {each}" for each in commands)])


@contextmanager
def progress(title: str) -> "Iterator[Bar | None]":
    """A `Bar` on stderr with the time left.

    None in a log, or if nothing but warnings and errors is wanted.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if _quiet or not console.is_terminal:  # rich would leave an empty line in a log
        yield None
        return
    with Progress(*columns(), console=console, transient=True) as bars:
        yield Bar(bars, title)


class Bar:
    """A progress bar, called with steps done and the total."""

    def __init__(self, bars: "Progress", title: str, visible: bool = True) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=None, visible=visible, start=visible)

    def __call__(self, done: int, total: int) -> None:
        """Show how much is done."""
        self._bars.start_task(self._task)
        self._bars.update(self._task, completed=done, total=total, visible=True)

    def then(self, title: str) -> "Bar":
        """Return the bar of what comes next, which is shown from its first step on."""
        return Bar(self._bars, title, visible=False)


def columns() -> "list[ProgressColumn]":
    """What every progress bar shows: title, bar, share, and the time left (in the end, taken)."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    ]


def say(*lines: object) -> None:
    """Print lines on stdout, unless hushed; if the reader is gone, the work continues."""
    for line in () if _quiet else lines:
        with _listening():
            print(plain(line), flush=True)


def show(table: Any) -> None:
    """Print a rich table on stdout, unless hushed; in full width if that is a file or a pipe."""
    from rich.console import Console

    if _quiet:
        return

    class Patient(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    console = Patient()
    if not console.is_terminal:
        console = Patient(width=1000)  # rich assumes 80 and cuts off the rest
    with _listening():
        console.print(table)


@contextmanager
def _listening() -> Iterator[None]:
    """Treat a reader that is gone (``| head -1``) as one that has read enough."""
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def refuse_some(
    refused: Sequence[tuple[str, str]], total: int, done: str, what: str = "subjects"
) -> None:
    """End a command with an error if it had to leave out some subjects.

    Parameters
    ----------
    refused
        Their names, each with a sentence saying why.
    total
        How many subjects were tried.
    done
        What could not be done with them, such as "counted".
    what
        What they are, in the plural.

    Raises
    ------
    InputError
        Some were left out.
    """
    if refused:
        why = " ".join(f"{name}: {sentence}" for name, sentence in refused)
        raise InputError(f"{len(refused)} of {total} {what} could not be {done}: {why}")


NOBODY = "{} holds no label and no prediction; segment its subjects."


@dataclass
class LeftOut:
    """Subjects that a command over many has to leave out.

    Attributes
    ----------
    skipped
        Those without a mask yet.
    refused
        Those that could not be done, each with a sentence saying why.
    """

    skipped: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, name: str) -> None:
        """Remember a subject without a mask."""
        self.skipped.append(name)

    def refuse(self, name: str, why: str) -> None:
        """Remember a subject that could not be done."""
        self.refused.append((name, why))

    def tell(
        self, count: int, done: str, nothing: str, missing: str = "No label and no prediction yet"
    ) -> None:
        """Say at the end who was left out.

        Parameters
        ----------
        count
            How many subjects were done.
        done
            What was done with them, such as "counted".
        nothing
            What to say where there was nobody to do.
        missing
            What those who were skipped do not have.

        Raises
        ------
        InputError
            Some could not be done, or there was nobody.
        """
        if not count and not self.refused:
            raise InputError(nothing)
        if self.skipped:
            say(f"{missing}: {', '.join(self.skipped)}")
        refuse_some(self.refused, len(self.refused) + count, done)


def require_new(path: Path | None, overwrite: bool) -> None:
    """Refuse an output file, if one is named, before any work.

    Raises
    ------
    InputError
        It is not a regular file, or it exists and must not be replaced.
    """
    if path is None:
        return
    require_replaceable(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; add --overwrite to replace it.")


_STDOUT = Path("-")
_INSTEAD = "- prints it instead of the table."
JsonFile = Annotated[
    Path | None, typer.Option("--json", help=f"Write everything to this file, as JSON; {_INSTEAD}")
]
TsvFile = Annotated[
    Path | None,
    typer.Option("--tsv", help=f"Write one row per subject to this file, as TSV; {_INSTEAD}"),
]


@dataclass(frozen=True)
class MeasureFiles:
    """The files that measures go to, for other programs; refused before any work.

    Parameters
    ----------
    json, tsv
        None where not wanted; ``-`` is stdout.
    overwrite
        Whether one that exists may be replaced.

    Raises
    ------
    InputError
        As `require_different` and `require_new`.
    """

    json: Path | None
    tsv: Path | None
    overwrite: bool

    def __post_init__(self) -> None:
        require_different(json=self.json, tsv=self.tsv)
        for path in (self.json, self.tsv):
            require_new(None if path == _STDOUT else path, self.overwrite)

    @property
    def printed(self) -> bool:
        """Whether one of them is stdout, which then carries nothing else."""
        return _STDOUT in (self.json, self.tsv)

    def write(self, json: str, tsv: str = "") -> None:
        """Write the texts; do it before anything is printed, whose reader may go away."""
        texts = ((self.json, json), (self.tsv, tsv))
        for path, text in texts:
            if path not in (None, _STDOUT):
                write_text(path, text)
        for path, text in texts:
            if path == _STDOUT:
                with _listening():
                    print(text, end="", flush=True)  # if hushed, too: it was asked for


def require_different(**paths: Path | None) -> None:
    """Refuse two options that name the same file, since one would overwrite the other.

    Parameters
    ----------
    **paths
        By name of the option.

    Raises
    ------
    InputError
        Two options name the same file.
    """
    seen: dict[Path, str] = {}
    for option, path in paths.items():
        if path is not None and seen.setdefault(path.resolve(), option) != option:
            first = seen[path.resolve()]
            raise InputError(f"--{first} and --{option} both name {path}; name two files.")


def log_to_stderr() -> None:
    """Show the log of a long computation."""

    class OneLine(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:
            record.message = plain(record.message)
            return super().formatMessage(record)

    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING if _quiet else logging.INFO, handlers=[handler])
