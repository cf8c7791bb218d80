"""Comparisons as tables for the terminal, spreadsheets or programs."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_pvs.errors import plain
from napari_pvs.evaluation.compare import Comparison, SubjectScore
from napari_pvs.evaluation.detection import SIZE_NAMES, Rates
from napari_pvs.evaluation.summary import Summary, summarise

if TYPE_CHECKING:
    from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Column:
    """A measure's name and format."""

    name: str
    """Field of ``SubjectScore`` and key in TSV and JSON."""
    title: str
    """Heading in the terminal, unit included."""
    decimals: int
    brief: bool = True
    """Whether the terminal has room for it."""

    def text(self, value: float | None) -> str:
        """The number, or a dash where it is undefined."""
        return number(value, self.decimals)


def number(value: float | None, decimals: int) -> str:
    """Return a number for people, or a dash where it is undefined."""
    return "–" if value is None else f"{value:z.{decimals}f}"


COLUMNS = (
    Column("dsc", "DSC", 3),
    Column("ceiling_dsc", "ceiling\nDSC", 3),
    Column("recall", "recall", 3),
    Column("precision", "precision", 3, brief=False),
    Column("avd_percent", "AVD\n%", 1),
    Column("surface_dsc", "NSD\n1 mm", 3),
    Column("auprc", "AUPRC", 3),
    Column("lenient_f1", "F1\nlen.", 3),
    Column("lenient_recall", "recall\nlenient", 3, brief=False),
    Column("lenient_precision", "precision\nlenient", 3, brief=False),
    Column("strict_f1", "F1\nstr.", 3),
    Column("strict_recall", "recall\nstrict", 3, brief=False),
    Column("strict_precision", "precision\nstrict", 3, brief=False),
    Column("count_predicted", "PVS\ncount", 0),
    Column("count_reference", "ref.\ncount", 0),
    Column("volume_predicted_mm3", "PVS\nmm³", 0),
    Column("volume_reference_mm3", "ref.\nmm³", 0),
)
"""Every measure, in the order of all tables."""
_OPTIONAL = ("auprc", "ceiling_dsc")
_SIZE_KEYS = ("lt5mm3", "5to10mm3", "10to15mm3", "gt15mm3")


def table(comparison: Comparison) -> "Table":
    """One row per subject, then mean and SD; the caption says what is left out.

    Raises
    ------
    ValueError
        The comparison has no scores.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    summary = summarise(comparison.scores)
    columns = [
        column
        for column in COLUMNS
        if column.brief and (column.name not in _OPTIONAL or summary.moments[column.name].n)
    ]
    caption = Text("\n".join(plain(line) for line in _caption(comparison, summary)))
    out = Table(caption=caption, caption_justify="left", box=SIMPLE_HEAD, padding=0)
    out.add_column("subject", overflow="fold")
    for column in columns:
        out.add_column(column.title, justify="right", overflow="fold")
    for one in comparison.scores:
        out.add_row(
            Text(plain(one.subject)),
            *(column.text(getattr(one, column.name)) for column in columns),
        )
    out.add_section()
    moments = [(column, summary.moments[column.name]) for column in columns]
    out.add_row(f"mean (n={summary.n})", *(column.text(one.mean) for column, one in moments))
    out.add_row("SD", *(column.text(one.sd) for column, one in moments))
    return out


def size_table(summary: Summary) -> "Table":
    """Recall, precision and F1 of the PVS of all subjects by size."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    out = Table(title="PVS of all subjects by size", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    out.add_column("mm³")
    for title in ("ref.\ncount", "count"):
        out.add_column(title, justify="right")
    for rule in ("lenient", "strict"):
        for title in ("recall", "precision", "F1"):
            out.add_column(f"{title}\n{rule}", justify="right")
    rows = zip(SIZE_NAMES, summary.lenient_by_size, summary.strict_by_size, strict=True)
    for name, lenient, strict in rows:
        rates = [
            number(value, 3)
            for one in (lenient, strict)
            for value in (one.recall, one.precision, one.f1)
        ]
        out.add_row(name, str(lenient.n_reference), str(lenient.n_predicted), *rates)
    return out


def to_tsv(comparison: Comparison) -> str:
    """One row per subject with all measures; ``n/a`` where undefined, as in BIDS.

    Raises
    ------
    ValueError
        The comparison has no scores.
    """
    if not comparison.scores:
        raise ValueError("there are no scores to write")
    rows = [_record(one) for one in comparison.scores]
    return tsv(list(rows[0]), rows)


def tsv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Tab-separated values with a header; ``n/a`` for None, as in BIDS."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: cell(value) for key, value in row.items()})
    return text.getvalue()


def cell(value: Any) -> Any:
    """Return a value for a table: n/a for None, and text that no spreadsheet takes for a formula.

    Text that looks like a formula gets a leading apostrophe, as in spreadsheets.

    Examples
    --------
    >>> cell("=1+1"), cell("sub-01"), cell(-1.5), cell(None)
    ("'=1+1", 'sub-01', -1.5, 'n/a')
    """
    if isinstance(value, str) and value.lstrip()[:1] in tuple("=+-@"):
        return f"'{value}"
    return "n/a" if value is None else value


def to_json(comparison: Comparison) -> str:
    """Subjects, summary, and who was left out and why; ``null`` where undefined.

    Raises
    ------
    ValueError
        The comparison has no scores.
    """
    summary = summarise(comparison.scores)
    content = {
        "format": "napari-pvs-scores/1",
        "subjects": [_record(one) for one in comparison.scores],
        "summary": _plain(summary),
        "only_predicted": comparison.only_predicted,
        "only_reference": comparison.only_reference,
        "refused": [{"subject": name, "why": why} for name, why in comparison.refused],
        "identical": comparison.identical,
    }
    return as_json(content)


def as_json(content: Mapping[str, Any]) -> str:
    """Return the text of a JSON file; ``null`` for None, and no NaN."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _record(one: SubjectScore) -> dict[str, Any]:
    """Return a score as one flat row."""
    row: dict[str, Any] = {"subject": one.subject, "both_empty": one.both_empty}
    row |= {column.name: getattr(one, column.name) for column in COLUMNS}
    return row | _sizes(one.lenient_by_size, one.strict_by_size)


def _sizes(lenient: tuple[Rates, ...], strict: tuple[Rates, ...]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, loose, tight in zip(_SIZE_KEYS, lenient, strict, strict=True):
        row[f"count_predicted_{key}"] = loose.n_predicted
        row[f"count_reference_{key}"] = loose.n_reference
        for rule, one in (("lenient", loose), ("strict", tight)):
            row[f"{rule}_f1_{key}"] = one.f1
            row[f"{rule}_recall_{key}"] = one.recall
            row[f"{rule}_precision_{key}"] = one.precision
    return row


def _plain(summary: Summary) -> dict[str, Any]:
    fields = dataclasses.asdict(summary)
    del fields["lenient_by_size"], fields["strict_by_size"]
    return fields | _sizes(summary.lenient_by_size, summary.strict_by_size)


def _caption(comparison: Comparison, summary: Summary) -> list[str]:
    lines = []
    if summary.n_both_empty:
        lines.append(f"{summary.n_both_empty} with both masks empty (DSC, NSD and F1 are 1).")
    if summary.n_avd_excluded:
        lines.append(
            f"{summary.n_avd_excluded} with an empty reference, excluded from AVD and recall."
        )
    for what, ccc, icc in (
        ("Counts", summary.count_ccc, summary.count_icc),
        ("Volumes", summary.volume_ccc, summary.volume_icc),
    ):
        if ccc is not None and icc is not None:
            lines.append(f"{what} over subjects: CCC {ccc:z.3f}, ICC(A,1) {icc:z.3f}.")
    for side, subjects in (
        ("prediction", comparison.only_predicted),
        ("reference", comparison.only_reference),
    ):
        if subjects:
            lines.append(f"Only in the {side}: {', '.join(subjects)}.")
    return lines
