"""Findings on a small scan, and a reader of pages that notices what a browser would mend."""

from html.parser import HTMLParser

import numpy as np
import pytest

from napari_pvs.inference.components import label
from napari_pvs.report.subject import Findings
from napari_pvs.scans.regions import Regions

VOID = {"meta", "img", "link", "br", "hr", "input", "line", "rect"}


class Page(HTMLParser):
    """Elements with their attributes, the text, and what is wrong with the nesting."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"{tag} is not closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else at {self.getpos()}")

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def read_page():
    return Page


@pytest.fixture
def findings(pvs_scan, tubes):
    """Four PVS: two on the left, two on the right; white matter, and a region that is cut off."""
    mask = np.zeros(pvs_scan.grid.shape, bool)
    for tube in tubes.values():
        mask[tube] = True
    labels = label(mask, 1, 0.0, pvs_scan.grid.voxel_volume)
    index = pvs_scan.brain.astype(np.uint16)
    sides = np.where(np.arange(index.shape[0]) < 12, 1, 2)[:, None, None]
    sides = np.broadcast_to(sides, index.shape).astype(np.uint8)
    names = ("other white matter", "cerebellum")
    regions = Regions(names, index, sides, pvs_scan.brain, (1.0, 0.0))
    return Findings("sub-01", pvs_scan, labels, None, regions, origin={"mask": "mask.nii.gz"})
