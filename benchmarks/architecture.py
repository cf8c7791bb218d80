"""Draw the floors of the house from the imports, as mermaid text, into the page on architecture.

``python benchmarks/architecture.py`` rewrites the drawings of docs/contributing/architecture.md;
with ``--check`` it says whether they are still true and changes nothing. The floors are those of
the contracts in pyproject.toml, the arrows the imports of rooms: of an arrow that others imply,
only these are drawn.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "contributing" / "architecture.md"
PACKAGE = "napari_pvs"
_DRAWING = re.compile(r"(<!-- drawing of (?P<of>[\w.]+) -->\n)```mermaid\n.*?```\n", re.DOTALL)


def floors_of(container: str) -> list[list[str]]:
    """Return the rooms of a package by floor, the highest first, as the contracts have them."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in config["tool"]["importlinter"]["contracts"]:
        if contract.get("containers") == [container]:
            return [re.split(r"\s*[|:]\s*", layer) for layer in contract["layers"]]
    raise LookupError(f"no contract has the floors of {container}")


def arrows_of(graph: grimp.ImportGraph, container: str) -> dict[str, set[str]]:
    """Return which rooms of a package each of its rooms imports."""
    children = graph.find_children(container)
    arrows: dict[str, set[str]] = {child: set() for child in children}
    for child in children:
        for module in {child, *graph.find_descendants(child)}:
            for imported in graph.find_modules_directly_imported_by(module):
                for other in children - {child}:
                    if imported == other or imported.startswith(f"{other}."):
                        arrows[child].add(other)
    cut = len(container) + 1
    return {room[cut:]: {other[cut:] for other in others} for room, others in arrows.items()}


def reduced(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out arrows that others imply."""

    def reached(room: str) -> set[str]:
        return {room}.union(*(reached(other) for other in arrows[room]))

    return {
        room: {
            other
            for other in others
            if not any(other in reached(between) for between in others - {other})
        }
        for room, others in arrows.items()
    }


def draw(graph: grimp.ImportGraph, container: str) -> str:
    """Return the drawing of a package as mermaid text."""
    lines = ["flowchart TB"]
    for at, rooms in enumerate(floors_of(container)):
        lines.append(f'    subgraph floor{at} [" "]')
        lines += [f'        {_node(room)}["{room}"]' for room in rooms]
        lines.append("    end")
    for room, others in sorted(reduced(arrows_of(graph, container)).items()):
        lines += [f"    {_node(room)} --> {_node(other)}" for other in sorted(others)]
    return "\n".join(lines) + "\n"


def drawn(page: str) -> str:
    """Return a page with its drawings made anew."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)

    def anew(found: re.Match[str]) -> str:
        return f"{found[1]}```mermaid\n{draw(graph, found['of'])}```\n"

    return _DRAWING.sub(anew, page)


def _node(room: str) -> str:
    return f"n_{room.strip('_')}"  # a word of mermaid's own, such as "end", is no name


def main() -> int:
    """Draw, or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    now = drawn(page)
    if check:
        print("The drawings are true." if now == page else "The drawings are not true any more.")
        return int(now != page)
    PAGE.write_text(now, encoding="utf-8")
    print(f"Drew {PAGE}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
