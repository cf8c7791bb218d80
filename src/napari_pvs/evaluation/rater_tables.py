"""The agreement of two raters as tables for the terminal, spreadsheets or programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_pvs.errors import plain
from napari_pvs.evaluation.raters import Contingency, RaterScore, summarise_raters
from napari_pvs.evaluation.tables import as_json, number, tsv

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class RaterComparison:
    """Two raters of a study.

    Attributes
    ----------
    raters
        The first and the second.
    scores
        Subjects that both have labelled.
    missing
        Subjects that one of them has not labelled.
    left_out
        Subjects whose two labels cannot be compared, each with a sentence that says why.
    """

    raters: tuple[str, str]
    scores: tuple[RaterScore, ...]
    missing: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def describe(pvs: Contingency, dsc: float, raters: tuple[str, str]) -> str:
    """Say in a sentence how two raters agree."""
    one, two = raters
    found = f"DSC {dsc:.2f}; {pvs.both} PVS in both, {pvs.only_first} only by {one}, "
    found += f"{pvs.only_second} only by {two}"
    if pvs.positive_agreement is not None:
        found += f"; positive agreement {pvs.positive_agreement:.2f}"
    if pvs.kappa is not None:
        found += f"; kappa {pvs.kappa:z.2f} ({pvs.neither} predicted PVS in neither)"
    return f"{found}."


def to_tsv(found: RaterComparison) -> str:
    """One row per subject; ``n/a`` where undefined, as in BIDS.

    Raises
    ------
    ValueError
        The comparison has no scores.
    """
    if not found.scores:
        raise ValueError("there are no scores to write")
    rows = [{"subject": one.subject, "rater_1": found.raters[0], "rater_2": found.raters[1]}
            | _record(one) for one in found.scores]  # fmt: skip
    return tsv(list(rows[0]), rows)


def to_json(found: RaterComparison) -> str:
    """Subjects, summary, and who is left out; ``null`` where undefined.

    Raises
    ------
    ValueError
        The comparison has no scores.
    """
    summary = summarise_raters(found.scores)
    content = {
        "raters": found.raters,
        "subjects": [{"subject": one.subject} | _record(one) for one in found.scores],
        "summary": {
            "n": summary.n,
            **_cells(summary.pvs),
            "dsc": summary.dsc,
            "count_icc": summary.count_icc,
            "volume_icc": summary.volume_icc,
        },
        "missing": found.missing,
        "left_out": dict(found.left_out),
    }
    return as_json(content)


def table(found: RaterComparison) -> "Table":
    """One row per subject, then all of them; the caption has the agreement over subjects.

    Raises
    ------
    ValueError
        The comparison has no scores.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    summary = summarise_raters(found.scores)
    one, two = (plain(name) for name in found.raters)
    said = [
        f"{what} over subjects: ICC(2,1) {icc:z.3f}."
        for what, icc in (("Counts", summary.count_icc), ("Volumes", summary.volume_icc))
        if icc is not None
    ]
    if not said:
        said = ["ICC(2,1) of counts and volumes needs three subjects that differ."]
    out = Table(
        title=Text(f"1: {one}, 2: {two}"),
        caption="\n".join(said),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    out.add_column("subject", overflow="fold")
    for title in ("PVS\n1", "PVS\n2", "in\nboth", "only\n1", "only\n2", "in\nneither", "kappa",
                  "pos.\nagr.", "DSC", "mm³\n1", "mm³\n2"):  # fmt: skip
        out.add_column(title, justify="right")
    for score in found.scores:
        out.add_row(
            Text(plain(score.subject)),
            f"{score.count_first}",
            f"{score.count_second}",
            *_counts(score.pvs),
            f"{score.dsc:.3f}",
            f"{score.volume_first_mm3:.0f}",
            f"{score.volume_second_mm3:.0f}",
        )
    out.add_section()
    sums = [
        f"{sum(getattr(score, name) for score in found.scores):.0f}"
        for name in ("count_first", "count_second", "volume_first_mm3", "volume_second_mm3")
    ]
    out.add_row(
        f"all (n={summary.n})", *sums[:2], *_counts(summary.pvs), f"{summary.dsc:.3f}", *sums[2:]
    )
    return out


def _counts(pvs: Contingency) -> Sequence[str]:
    cells = (pvs.both, pvs.only_first, pvs.only_second, pvs.neither)
    rates = (pvs.kappa, pvs.positive_agreement)
    return [*(number(cell, 0) for cell in cells), *(number(rate, 3) for rate in rates)]


def _cells(pvs: Contingency) -> dict[str, Any]:
    return asdict(pvs) | {"kappa": pvs.kappa, "positive_agreement": pvs.positive_agreement}


def _record(one: RaterScore) -> dict[str, Any]:
    return {
        **_cells(one.pvs),
        "dsc": one.dsc,
        "count_first": one.count_first,
        "count_second": one.count_second,
        "volume_first_mm3": one.volume_first_mm3,
        "volume_second_mm3": one.volume_second_mm3,
    }
