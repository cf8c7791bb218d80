"""Kill processes while they save labels and write tables; count what is lost or mixed.

    python benchmarks/reliability/killed_writes.py --kills 200 --seed 0

A process saves label after label, and says so after each, until SIGKILL ends it at a random moment;
another writes the tables of a count over and over, of two cohorts in turn. After each kill, every
label that was acknowledged must be there, whole and readable, the plain file must be one of them,
the next save must succeed, and the tables must be of one cohort.
"""

import argparse
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tiny_study

NAME = "sub-01"


def killed(work: Callable[[int], None], told: int, seconds: float) -> set[int]:
    """Let a fork work until it has told so often, and a moment longer; return what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            work(writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        first = file.read(4 * told)  # less only where it has died by itself
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return set(np.frombuffer(first + file.read(), "<u4").tolist())


def label(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(tiny_study.SHAPE) < 0.01


def save_labels(root: Path, first: int) -> Callable[[int], None]:
    """Return work that saves the labels of seeds from ``first`` on, and writes each seed."""
    from napari_pvs.scans.nifti import Geometry
    from napari_pvs.study.labels import LabelStore

    like = Geometry.from_affine(tiny_study.SHAPE, tiny_study.AFFINE)
    store = LabelStore(root, NAME)

    def work(out: int) -> None:
        for seed in range(first, first + 1000):
            origin = "drawn" if seed % 3 else "predicted"
            state = "final" if seed % 3 else "draft"
            store.save(label(seed), like, author=str(seed), origin=origin, state=state)
            os.write(out, seed.to_bytes(4, "little"))

    return work


def lost(root: Path, known: set[int]) -> list[str]:
    """Return what is wrong with the labels of a study, of which some were acknowledged."""
    from napari_pvs.errors import InputError
    from napari_pvs.study.bids import subjects
    from napari_pvs.study.labels import LabelStore

    store, wrong = LabelStore(root, NAME), []
    try:
        found = {int(one.author): one for one in store.revisions()}
        wrong += [f"label {seed} is lost" for seed in known - found.keys()]
        for seed, one in found.items():
            if not np.array_equal(store.load(one).data > 0, label(seed)):
                wrong.append(f"label {seed} is another")
        (subject,) = subjects(root)
        final = store.current()
        if final is not None and (subject.current is None or subject.revision != final.number):
            wrong.append("the label of the study is not the newest final one")
    except InputError as error:
        wrong.append(str(error))
    return wrong


def write_tables(out: Path) -> Callable[[int], None]:
    """Return work that writes the tables of two cohorts in turn."""
    from napari_pvs.burden import tables
    from napari_pvs.burden.count import count
    from napari_pvs.scans.grid import Grid

    grid = Grid(tiny_study.SHAPE, tiny_study.AFFINE)
    cohorts = [
        [count(label(seed + n), grid, subject=f"{cohort}{n}") for n in range(20)]
        for seed, cohort in ((0, "a"), (100, "b"))
    ]

    def work(told: int) -> None:
        for turn in range(100_000):
            tables.write(cohorts[turn % 2], out)
            os.write(told, turn.to_bytes(4, "little"))

    return work


def mixed(out: Path) -> list[str]:
    """Return what is wrong with the tables: they are of two cohorts, or a part of one."""
    seen = set()
    for name in ("burden_pvs.tsv", "burden.tsv"):
        path = out / name
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        seen |= {line[:1] for line in lines}
        if lines and len({line.split("\t")[0] for line in lines}) < 20:
            return [f"{path} is a part of a table"]
    return [f"the tables are of the cohorts {seen}"] if len(seen) > 1 else []


def tried(folder: Path, kills: int, rng: np.random.Generator) -> tuple[int, list[str]]:
    """Kill so many processes; return the number of labels acknowledged, and what is wrong."""
    root = tiny_study.study(folder / "study", 1, labelled=0)
    known: set[int] = set()
    wrong: list[str] = []
    first = 1
    tables = write_tables(folder / "count")
    for _ in range(kills):
        seconds = float(rng.uniform(0, 0.01))
        said = killed(save_labels(root, first), int(rng.integers(4)), seconds)
        known |= said
        first = max(known, default=0) + 2  # the one that was being written may be there or not
        wrong += lost(root, known)
        killed(tables, int(rng.integers(3)), seconds)
        wrong += mixed(folder / "count")
    tables_left = [path for path in (folder / "count").glob(".tmp-*") if path.is_file()]
    return len(known), wrong + [f"{path} is left" for path in tables_left]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("error")
    saved, wrong = 0, []
    rng = np.random.default_rng(given.seed)
    for _ in range(-(-given.kills // 20)):  # a study of many revisions is slow to check
        with tempfile.TemporaryDirectory() as folder:
            more, bad = tried(Path(folder), 20, rng)
        saved += more
        wrong += bad
        for text in bad:
            print(text, flush=True)
    kills = 2 * 20 * -(-given.kills // 20)
    print(f"{kills} kills: {saved} labels acknowledged, {len(wrong)} lost or mixed")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
