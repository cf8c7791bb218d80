"""The page of a subject stands alone, can be read by everyone, and believes no name."""

import base64
import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from napari_pvs.report.page import render
from napari_pvs.report.subject import PICTURED, histograms, report


@pytest.fixture
def page(findings, read_page):
    return read_page(report(findings).html)


def test_the_page_is_well_formed_and_has_an_order(page) -> None:
    assert page.faults == []
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(two - one <= 1 for one, two in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {attributes["href"][1:] for attributes in page.all("a")}
    wanted |= {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert wanted <= set(ids)


def test_it_needs_no_script_and_no_network(page, findings) -> None:
    tags = {tag for tag, _ in page.elements}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "embed", "form"})
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    html = report(findings).html
    assert "url(" not in html
    assert "http://" not in html.replace("http-equiv", "")
    (policy,) = [a for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'")


def test_pictures_have_words_and_sizes(page) -> None:
    pictures = page.all("img")
    assert len(pictures) == 3 + 1 + 4  # mosaics, projection, one of each PVS
    for one in pictures:
        assert len(one["alt"]) > 5
        data = base64.b64decode(one["src"].partition("base64,")[2])
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (int(one["width"]), int(one["height"]))
    assert sum("the patient's right is on the left" in one["alt"] for one in pictures) >= 2
    for chart in page.all("svg"):
        assert chart["role"] == "img"
        assert len(chart["aria-label"]) > 20


def test_tables_have_headings_and_scroll_by_keyboard(page) -> None:
    assert page.all("table")
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    regions = [a for tag, a in page.elements if tag == "div" and a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["role"] == "region" for a in regions)


def test_numbers_are_those_that_were_counted(page, findings) -> None:
    made = report(findings)
    sides = {(r.region, r.side): r.count for r in made.counted.burden}
    assert sides["other white matter", "left"] == 2
    chart = next(a["aria-label"] for a in page.all("svg") if "Number of PVS:" in a["aria-label"])
    assert "other white matter left 2, right 2" in chart
    # what is not in the scan is said to be missing
    assert "cerebellum left not in scan, right not in scan" in chart
    assert "Not in the scan: cerebellum." in page.text
    assert made.light == "red"


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)> \x1b[31m\u202e'


def test_a_name_stays_text(findings, read_page) -> None:
    hostile = replace(
        findings,
        name=HOSTILE,
        origin={HOSTILE: HOSTILE},
        regions=replace(findings.regions, names=(HOSTILE, "b"), seen=(1.0, 1.0), doubts=(HOSTILE,)),
    )
    html = report(hostile).html
    page = read_page(html)
    assert page.faults == []
    assert "script" not in {tag for tag, _ in page.elements}
    assert not [a for _, a in page.elements if "onerror" in a]
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_nothing_found_is_said(findings, read_page) -> None:
    none = replace(findings, labels=np.zeros_like(findings.labels), regions=None, why_none="why.")
    page = read_page(report(none).html)
    assert page.faults == []
    assert "No PVS was found." in page.text
    assert "The PVS have no regions: why." in page.text


def test_a_thousand_pvs_stay_below_3_mb(findings, read_page) -> None:
    labels = np.zeros(findings.labels.shape, np.int32)
    places = np.stack(np.meshgrid(*(np.arange(3, n - 3, 2) for n in labels.shape)), -1)
    for number, place in enumerate(places.reshape(-1, 3)[:1000], start=1):
        labels[tuple(place)] = number
    html = report(replace(findings, labels=labels)).html
    assert len(html.encode()) < 3e6
    page = read_page(html)
    assert page.faults == []
    assert f"The other {labels.max() - PICTURED}" in page.text


def test_colours_can_be_read() -> None:
    """Contrast of text with white of at least 4.5, as WCAG 2.2 AA has it."""
    style = render("cohort.html", title="x", subjects=[], facts=[], histograms=[], regional=[],
                   agreement=None, left_out=[], outlying=3.5)  # fmt: skip
    for name in ("ink", "soft", "left", "right", "green", "amber", "red"):
        value = re.search(rf"--{name}: #(\w{{6}})", style)[1]
        rgb = np.array([int(value[at : at + 2], 16) for at in (0, 2, 4)]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) > 4.5, name


def test_classes_of_size_hold_everything() -> None:
    for chart in histograms([0.1, 500.0], [0.0, 2.0], [1.0, 9.0]):
        assert sum(chart["counts"]) == 2
        assert chart["title"] in chart["alt"]
