"""Tables of what was counted."""

import csv
import io
import json
from dataclasses import fields

import numpy as np
import pytest
from rich.console import Console

from napari_pvs.burden import tables
from napari_pvs.burden.count import Burden, count
from napari_pvs.scans.grid import Grid


@pytest.fixture
def counted():
    mask = np.zeros((4, 4, 4), bool)
    mask[1:3, 1, 1] = True
    grid = Grid(mask.shape, np.eye(4))
    return [count(mask, grid, subject="sub-1", state="new"), count(~mask & mask, grid, subject="x")]


def test_the_tables_hold_every_row_and_are_explained(counted, tmp_path):
    tables.write(counted, tmp_path)
    with (tmp_path / "burden.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["subject"], row["state"], row["count"]) for row in rows] == [
        ("sub-1", "new", "1"),
        ("x", "n/a", "0"),
    ]
    assert rows[0]["length_mm"] == "2.0"
    assert rows[1]["length_mm"] == rows[1]["region_mm3"] == "n/a"
    with (tmp_path / "burden_pvs.tsv").open() as file:
        (only,) = csv.DictReader(file, delimiter="\t")
    assert (only["subject"], only["region"], only["volume_mm3"]) == ("sub-1", "all", "2.0")
    explained = json.loads((tmp_path / "burden.json").read_text())
    assert list(explained) == list(rows[0]) == [field.name for field in fields(Burden)]


def test_the_terminal_shows_a_row_each(counted):
    console = Console(width=200, file=io.StringIO())
    console.print(tables.table(counted))
    text = console.file.getvalue()
    assert "sub-1" in text
    assert text.count("all") == 2
    assert "–" in text
