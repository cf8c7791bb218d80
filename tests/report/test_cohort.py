"""The page of a cohort: outliers first, links to the subjects' pages, agreement."""

import numpy as np
import pytest

from napari_pvs.burden.count import Burden, Counted
from napari_pvs.evaluation.compare import score
from napari_pvs.report.cohort import Row, report
from napari_pvs.report.trust import Check


def row(name: str, count: int, light="green", agreement=None) -> Row:
    def burden(region, side, n):
        volume = None if n is None else 5.0 * n
        return Burden(
            name, "segmented", region, side, 1e6, None, n, volume, 0.1, 0.2, 4.0, 4.6, 1.0
        )

    rows = (burden("all", "both", count), burden("thalamus", "left", count // 2))
    rows += (burden("pons", "both", None if name == "sub-03" else 1),)
    check = Check("Noise of the T1", light, "signal 3 × noise", "Very noisy.")
    return Row(name, "segmented", light, (check,), Counted((), rows), agreement)


@pytest.fixture
def rows() -> list[Row]:
    counts = {"sub-01": 50, "sub-02": 55, "sub-03": 60, "sub-04": 900, "sub-05": 45, "sub-06": 52}
    return [row(name, n, "red" if name == "sub-05" else "green") for name, n in counts.items()]


def test_outliers_come_first_then_what_cannot_be_trusted(rows, read_page) -> None:
    pages = {one.name: f"{one.name}.html" for one in rows}
    page = read_page(report("my study", rows, pages, [("sub-07", "no scan.")]))
    assert page.faults == []
    links = [a["href"] for a in page.all("a") if a["href"].endswith(".html")]
    assert links[:2] == ["sub-04.html", "sub-05.html"]
    assert sorted(links) == sorted(pages.values())
    assert "sub-04 outlier" in page.text
    assert page.text.count(" outlier ") == 1
    assert "Noise of the T1: signal 3 × noise" in page.text
    assert "sub-07: no scan." in page.text
    assert len(page.all("h1")) == 1
    assert "No subject has both a prediction and a label." in page.text
    # one of six does not show the pons
    assert "pons both 5 1 1" in page.text


def test_of_few_subjects_none_is_an_outlier(rows, read_page) -> None:
    page = read_page(report("few", rows[:4], {}))
    assert "sub-04 outlier" not in page.text
    assert not [a for a in page.all("a") if a["href"].endswith(".html")]
    alike = [row(f"sub-{n}", 10) for n in range(6)]
    assert " outlier " not in read_page(report("alike", alike, {})).text.replace("An outlier's", "")


def test_agreement_is_summed_up(read_page) -> None:
    mask = np.zeros((6, 6, 6), bool)
    mask[1:3, 1, 1] = mask[4, 4, 4] = True
    half = mask.copy()
    half[4, 4, 4] = False
    size = (1.0, 1.0, 1.0)
    rows = [
        row("sub-01", 2, agreement=score(half, mask, size, subject="sub-01")),
        row("sub-02", 2, agreement=score(mask, mask, size, subject="sub-02")),
    ]
    page = read_page(report("two", rows, {}))
    assert page.faults == []
    assert "Of 2 subjects that have both" in page.text
    assert "DSC 0.900 ± 0.141" in page.text


def test_a_name_stays_text(read_page) -> None:
    name = "<script>alert(1)</script>"
    page = read_page(report(name, [row(name, 3)], {name: f"{name}.html"}, [(name, name)]))
    assert page.faults == []
    assert "script" not in {tag for tag, _ in page.elements}
    (link,) = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert link == "%3Cscript%3Ealert%281%29%3C/script%3E.html"
