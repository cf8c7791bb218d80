"""Draw what several weights mark on real scans, to be judged by eye without knowing whose it is.

    python benchmarks/pool.py --data DIR --out FOLDER --weights FILE [FILE ...] [--most 60]
                              [--cache FOLDER] [--scans NAME ...]

Marks of all weights, with every contrast that a scan has and with each alone, are pooled: those
closer than `real.FOUND_MM` are one place, at its voxel of most contrast. Of the places that
`real.LIST` does not judge yet, ``--most`` a scan are drawn at random. ``FOLDER/NAME-000.png`` and
so on show them in three planes, numbered, without an outline; ``FOLDER/NAME.tsv`` has their voxels,
for the verdict: pvs, not or doubtful.

Judging a pool of all contenders' marks instead of everything there is comes from the evaluation of
text retrieval (Spärck Jones and van Rijsbergen 1975).
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real import (
    CONTRASTS,
    FOUND_MM,
    LIST,
    SUBJECTS,
    Network,
    Person,
    cases,
    keep,
    load,
    read_list,
    sheet,
    tile,
)
from scipy import ndimage
from scipy.spatial import cKDTree

ON_A_PAGE = 12


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--weights", type=Path, nargs="+", required=True)
    arguments.add_argument("--most", type=int, default=60, help="places of a scan")
    arguments.add_argument("--scans", nargs="+", default=[one.name for one in SUBJECTS])
    arguments.add_argument("--cache", type=Path, help="as that of real.py")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    listed = read_list(LIST)
    networks = [Network(path) for path in given.weights]
    for subject in SUBJECTS:
        if subject.name not in given.scans:
            continue
        rows = listed.get(subject.listed, [])
        person = load(Person(subject, given.data / "real", rows), given.cache)
        places = pool(person, networks)
        if given.cache:
            keep(person, given.cache)
        known = person.voxels(rows) * person.size
        if len(known):
            places = places[cKDTree(known).query(places * person.size)[0] > FOUND_MM]
        order = np.random.default_rng(given.seed).permutation(len(places))
        print(f"{subject.name}: {len(places)} places that are not judged", flush=True)
        draw(person, places[order[: given.most]], given.out)


def pool(person: Person, networks: list[Network]) -> NDArray[np.intp]:
    """Voxels of the places that any weights mark, (N, 3), in the part that is looked at."""
    peaks = []
    for kinds in cases(person):
        shown = np.max([CONTRASTS[kind] * person.images[kind] for kind in kinds], axis=0)
        for network in networks:
            labels = network(person, kinds)
            numbers = np.arange(1, labels.max() + 1)
            peaks += ndimage.maximum_position(shown, labels, numbers) if len(numbers) else []
    places = np.unique(np.array(peaks, np.intp).reshape(-1, 3), axis=0)
    kept: list[NDArray[np.intp]] = []
    for place in places:
        apart = [np.linalg.norm((place - other) * person.size) > FOUND_MM for other in kept]
        if all(apart):
            kept.append(place)
    return np.array(kept, np.intp).reshape(-1, 3)


def draw(person: Person, places: NDArray[np.intp], out: Path) -> None:
    """Write the pages, and the voxels in RAS+ order of the file."""
    name = person.subject.name
    lines = ["\t".join(map(str, (n, *place))) for n, place in enumerate(places + person.corner)]
    (out / f"{name}.tsv").write_text("\n".join(["number\tx\ty\tz", *lines]) + "\n", "utf-8")
    for first in range(0, len(places), ON_A_PAGE):
        tiles = [
            tile(person.images, place, person.size, None, str(first + n))
            for n, place in enumerate(places[first : first + ON_A_PAGE])
        ]
        sheet(tiles, out / f"{name}-{first:03d}.png")


if __name__ == "__main__":
    main()
