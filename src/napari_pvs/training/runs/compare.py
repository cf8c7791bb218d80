"""Comparing runs: a table, and their curves as PNG or HTML."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from napari_pvs.errors import InputError, plain
from napari_pvs.files import atomic
from napari_pvs.training.runs.status import History, Measures, Watch, history, seen

HEADER = (
    "run",
    "method",
    "recipe",
    "state",
    "epochs",
    "loss",
    "DSC",
    "AVD %",
    "recall",
    "at epoch",
)


def rows(paths: Sequence[Path]) -> list[tuple[str, ...]]:
    """Return one row per run with the columns of `HEADER`; scores are from the best validation.

    Raises
    ------
    InputError
        One of the paths is not a run folder.
    """
    return [row(seen(path)) for path in paths]


def draw(paths: Sequence[Path], out: Path) -> None:
    """Draw loss and validation DSC, AVD and recall over epochs.

    Parameters
    ----------
    paths
        Run folders.
    out
        A ``.png``, or an ``.html`` page that contains table and picture.

    Raises
    ------
    InputError
        Another suffix, a folder that is not a run, or an ``out`` that cannot be written.
    """
    kind = out.suffix.lower()
    if kind not in (".png", ".html"):
        raise InputError(f"{out} ends in neither .png nor .html; name one of these.")
    picture = _picture([(path.name, history(path)) for path in paths])
    with atomic(out) as temporary:
        if kind == ".png":
            temporary.write_bytes(picture)
        else:
            temporary.write_text(_page(rows(paths), picture), encoding="utf-8")


def row(watch: Watch) -> tuple[str, ...]:
    """Return the row of a run, from the events read so far; see `rows`."""
    run, past = watch.status(), watch.history
    epoch, best = max(past.validation.items(), key=lambda item: item[1].dsc, default=(None, None))
    return (
        run.path.name,
        run.method,
        run.recipe,
        run.state,
        f"{run.epoch}/{run.epochs}",
        cell(run.loss, 4),
        cell(best and best.dsc, 3),
        cell(best and best.avd_percent, 1),
        cell(best and best.recall, 3),
        "-" if epoch is None else str(epoch),
    )


def cell(value: float | None, digits: int) -> str:
    """Format a number for a table; a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def _picture(past: Sequence[tuple[str, History]]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2).ravel()
    titles = ("training loss", "validation DSC", "validation AVD, %", "validation recall")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
    lines = []
    for _, one in past:
        lines += axes[0].plot(list(one.loss), list(one.loss.values()))
        for axis, measure in zip(axes[1:], Measures._fields, strict=True):
            found = {e: getattr(v, measure) for e, v in one.validation.items()}
            known = {e: value for e, value in found.items() if value is not None}
            axis.plot(list(known), list(known.values()), marker="o", markersize=3)
    for text in axes[0].legend(lines, [plain(name) for name, _ in past], fontsize="small").texts:
        text.set_parse_math(False)  # a dollar in a run's name does not begin a formula
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _page(table: Sequence[Sequence[str]], picture: bytes) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in HEADER)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n"
        for row in table
    )
    encoded = base64.b64encode(picture).decode()
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>napari-pvs runs</title>"
        "<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}"
        "img{max-width:100%}</style><h1>Training runs</h1>"
        f"<table><tr>{head}</tr>\n{body}</table>"
        f"<img alt='loss, DSC, AVD and recall over epochs' "
        f"src='data:image/png;base64,{encoded}'></html>\n"
    )
