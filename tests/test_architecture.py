"""The page on architecture draws the imports as they are."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def architecture():
    found = importlib.util.spec_from_file_location(
        "architecture", ROOT / "benchmarks" / "architecture.py"
    )
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_drawings_are_true(architecture):
    page = architecture.PAGE.read_text(encoding="utf-8")
    assert page.count("flowchart TB") == 3
    assert architecture.drawn(page) == page, "run python benchmarks/architecture.py"


def test_another_import_would_be_drawn(architecture):
    import grimp

    graph = grimp.build_graph("napari_pvs", cache_dir=None)
    before = architecture.draw(graph, "napari_pvs")
    graph.add_import(importer="napari_pvs.scans.grid", imported="napari_pvs.processes")
    after = architecture.draw(graph, "napari_pvs")
    assert set(after.splitlines()) - set(before.splitlines()) == {"    n_scans --> n_processes"}


def test_arrows_that_others_imply_are_left_out(architecture):
    arrows = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert architecture.reduced(arrows) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_every_room_is_described(architecture):
    page = architecture.PAGE.read_text(encoding="utf-8")
    rooms = {room for floor in architecture.floors_of("napari_pvs") for room in floor}
    table = "".join(line for line in page.splitlines() if line.startswith("| `"))
    assert [room for room in rooms - {"__main__"} if f"`{room}`" not in table] == []
