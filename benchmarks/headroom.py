"""Where there is room for unlabelled scans: what labels are worth, cell by cell.

    python benchmarks/headroom.py --work WORK [--teachers mean inserted] [--alone] [--draws 3]
        [--scratch]

Cells of {0, 1, 3, 10 labelled scans} x {same site as the paper's, another site, thick slices} x
{T1, T2, both at the test}. In each, weights trained on so many labelled scans of the tested site
against weights trained on all of them, for as many draws of who is labelled; two more labelled
scans validate in every cell. 0 labelled are the starter weights, which the others are trained on
from (``--recipe adapt``, from random weights with ``--scratch``). A run is made longer, half at a
time, until the last third of it has gained less than .005 on the validation, or to ``--most``
epochs.

``--teachers`` adds semi-supervised runs (``m2ss``) beside those, by each teacher, with the scans
that are not labelled and as many epochs; with 0 labels, they adapt the starter weights without any,
with synthetic subjects beside the scans and, with ``--alone``, without them too.

The room of a cell is the DSC of all labelled minus its own; less than .03 is none. Prints DSC, AVD,
room and what of it each teacher takes, with 95 % intervals by bootstrap over tested subjects; keeps
them in ``results/headroom.json``. Everything is resumable: what has been trained or measured stays
in WORK, and a run that was interrupted goes on from its checkpoint.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import records
from new_site import ELSEWHERE
from small import cohort, go_on, measure, part

from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.network.weights import fingerprint, starter_path
from napari_pvs.phantom.sites import SITES
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.crossval.report import interval
from napari_pvs.training.run import resume
from napari_pvs.training.runs.folder import BEST, LAST, SPLIT, read_config
from napari_pvs.training.runs.status import history

THICK = SITES["A"].model_copy(update={"name": "thick", "sliced": 1.0, "slices": (2.0, 4.0)})
SITES[THICK.name] = THICK  # here, so that processes that make subjects know it
PLACES = {"same": "A", "elsewhere": ELSEWHERE.name, "thick": THICK.name}
SEEDS = {"same": 2000, "elsewhere": 2200, "thick": 2400}
"""Of the cohorts to learn from; those of the tests are 100 more."""
SEEN = {"T1": ("T1",), "T2": ("T2",), "T1+T2": ("T1", "T2")}
LEVEL = 0.005
"""Gain of validation DSC over the last third of a run below which it has levelled off."""
ROOM = 0.03
ALL, ALONE = "all", " alone"


@dataclass(frozen=True)
class Setting:
    """What all cells share."""

    work: Path
    subjects: int
    tested: int
    epochs: int
    most: int
    steps: int
    scratch: bool

    @staticmethod
    def options(subjects: int, most: int) -> argparse.ArgumentParser:
        """Options of a setting, for the parser of a command; with the defaults that differ."""
        out = argparse.ArgumentParser(add_help=False)
        out.add_argument("--work", type=Path, required=True)
        out.add_argument("--subjects", type=int, default=subjects, help="to learn from, 2 validate")
        out.add_argument("--tested", type=int, default=8)
        out.add_argument("--epochs", type=int, default=20, help="of a run at first")
        out.add_argument("--most", type=int, default=most, help="epochs of the longest run")
        out.add_argument("--steps", type=int, default=50, help="in an epoch")
        return out

    @classmethod
    def of(cls, given: argparse.Namespace, *, scratch: bool) -> "Setting":
        """Return the setting that these options say."""
        names = ("subjects", "tested", "epochs", "most", "steps")
        numbers = {name: getattr(given, name) for name in names}
        return cls(work=given.work.absolute(), scratch=scratch, **numbers)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[Setting.options(subjects=22, most=120)],
    )
    arguments.add_argument("--sites", nargs="+", default=list(PLACES), choices=list(PLACES))
    arguments.add_argument("--labelled", nargs="+", type=int, default=[0, 1, 3, 10])
    arguments.add_argument("--teachers", nargs="*", default=[], help="of semi-supervised runs")
    arguments.add_argument("--alone", action="store_true", help="also without synthetic subjects")
    arguments.add_argument("--draws", type=int, default=3, help="of who is labelled")
    arguments.add_argument("--scratch", action="store_true", help="from random weights")
    given = arguments.parse_args()
    setting = Setting.of(given, scratch=given.scratch)
    cells = {
        f"{site}, {count} labelled": cell(setting, site, count, rows_of(given, count), given.draws)
        for site in given.sites
        for count in sorted(given.labelled)
        if count or not setting.scratch
    }
    for line in table(cells):
        print(line)
    about = {"setting": vars(setting) | {"work": "WORK"}, "draws": given.draws}
    print(records.keep("headroom" + "-scratch" * setting.scratch, about | {"cells": cells}))


def rows_of(given: argparse.Namespace, count: int) -> list[str]:
    """Name the semi-supervised runs of a cell."""
    alone = [f"{teacher}{ALONE}" for teacher in given.teachers if given.alone and not count]
    return [*given.teachers, *alone]


def cell(
    setting: Setting, site: str, count: int, teachers: list[str], draws: int
) -> dict[str, Any]:
    """Train and test what one cell compares, over draws of who is labelled.

    Returns
    -------
    By row (``labelled``, each teacher, ``all``), then by what is seen at the test: DSC of each
    tested subject (mean over draws), DSC of each draw, AVD.
    """
    test = test_cohort(setting, site)
    rows: dict[str, list[dict[str, Any]]] = {}
    for draw in range(draws):
        epochs = setting.epochs
        for row in ("labelled", *teachers, ALL):
            weights, epochs = trained(setting, site, count, row, draw, epochs)
            rows.setdefault(row, []).append(tested(weights, test))
            found = rows[row][-1]["T1+T2"]
            print(f"{site}, {count} labelled, {row}, draw {draw}: DSC {np.mean(found['dsc']):.3f}",
                  flush=True)  # fmt: skip
    return {row: {seen: joined(found, seen) for seen in SEEN} for row, found in rows.items()}


def test_cohort(setting: Setting, site: str) -> Path:
    """Write the scans that a site is tested on, unless they are there."""
    return cohort(setting.work / site / "test", setting.tested, setting.tested, SEEDS[site] + 100,
                  (SITES[PLACES[site]].name,))  # fmt: skip


def trained(
    setting: Setting, site: str, count: int, row: str, draw: int, epochs: int
) -> tuple[Path | None, int]:
    """Return weights of a cell, and how many epochs they took; None are the starter weights.

    Runs on all labels are shared by the cells of a site; those with a teacher are as long as the
    one on labels alone before it.
    """
    if row == "labelled" and not count:
        return None, setting.epochs
    names = [f"sub-{n + 1:02d}" for n in range(setting.subjects)]
    judges, pool = names[-2:], names[:-2]
    chosen = [pool[n] for n in np.random.default_rng([7, draw]).permutation(len(pool))]
    chosen = pool if row == ALL else chosen[:count]
    if row not in (ALL, "labelled") and len(chosen) == len(pool):
        raise InputError(f"all {len(pool)} scans are labelled; give more --subjects.")
    folder = setting.work / site
    whole = cohort(folder / "whole", setting.subjects, setting.subjects, SEEDS[site],
                   (SITES[PLACES[site]].name,))  # fmt: skip
    own = ALL if row == ALL else f"{count}-draw-{draw}"
    study = part(whole, folder / f"study-{own}", {*chosen, *judges} if chosen else set())
    start = "scratch" if setting.scratch else "adapt"
    out = folder / f"{start}-{row}-{own}-{draw}".replace(" ", "-")
    if (out / SPLIT).exists():
        config = read_config(out)
    else:
        config = TrainingConfig(
            study=study,
            recipe="default" if setting.scratch else "adapt",
            method="supervised-multi" if row in (ALL, "labelled") else "m2ss",
            teacher="mean" if row in (ALL, "labelled") else row.removesuffix(ALONE),
            **({"synthetic": 0} if row.endswith(ALONE) else {}),
            # as in Table 1; the recipe's own would be longer than a short run
            **(
                {"warmup": setting.epochs // 5, "ramp_up": setting.epochs * 2 // 5}
                if setting.scratch
                else {}
            ),
            seed=draw,
            epochs=epochs if row not in (ALL, "labelled") else setting.epochs,
            steps=setting.steps,
            validate_every=max(1, setting.epochs // 5),
            validation=tuple(judges) if chosen else (),
        )
    if not (out / "levelled").exists():
        try:
            go_on(config, out)
        except InputError as error:
            if chosen or not (out / LAST).exists():
                raise
            print(f"the starter weights are kept: {error}")  # it has moved away from them
        if row in (ALL, "labelled"):
            while not levelled(out) and read_config(out).epochs < setting.most:
                resume(out, min(setting.most, int(np.ceil(1.5 * read_config(out).epochs))))
        write_text(out / "levelled", "")
    return (out / BEST if (out / BEST).exists() else None), read_config(out).epochs


def levelled(run: Path) -> bool:
    """Whether the last third of a run has gained less than `LEVEL` on the validation."""
    found = history(run).validation
    last = max(found)
    before = [one.dsc for epoch, one in found.items() if epoch <= 2 * last / 3]
    return bool(before) and max(one.dsc for one in found.values()) - max(before) < LEVEL


def tested(weights: Path | None, test: Path) -> dict[str, Any]:
    """Score weights on the tested scans, with T1, with T2 and with both; kept beside them."""
    folder = test.parent if weights is None else weights.parent
    kept = folder / f"scores-{fingerprint(weights or starter_path())}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    scores = {seen: measure(weights, test, modalities) for seen, modalities in SEEN.items()}
    found = {
        seen: {"dsc": [one.dsc for one in each], "avd": [one.avd_percent for one in each]}
        for seen, each in scores.items()
    }
    write_text(kept, json.dumps(found) + "\n")
    return found


def joined(draws: list[dict[str, Any]], seen: str) -> dict[str, Any]:
    """Join the scores of all draws of a row."""
    dsc = np.array([one[seen]["dsc"] for one in draws])
    avd = [v for one in draws for v in one[seen]["avd"] if v is not None]
    return {
        "subjects": dsc.mean(0).tolist(),
        "draws": dsc.mean(1).tolist(),
        "avd_percent": float(np.mean(avd)) if avd else None,
    }


def table(cells: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of the table: a row for each cell and what is seen at the test."""
    lines = ["cell, seen: DSC (by draw), AVD %, room (95 % interval); what each teacher adds"]
    for name, rows in cells.items():
        for seen in SEEN:
            own, most = rows["labelled"][seen], rows[ALL][seen]
            gap = np.array(most["subjects"]) - np.array(own["subjects"])
            low, high = interval(gap)
            by_draw = ", ".join(f"{v:.3f}" for v in own["draws"])
            avd = "-" if own["avd_percent"] is None else f"{own['avd_percent']:.0f}"
            text = (
                f"{name}, {seen}: {np.mean(own['subjects']):.3f} ({by_draw}), {avd}, "
                f"room {gap.mean():+.3f} ({low} to {high}){'' if gap.mean() >= ROOM else ' none'}"
            )
            for teacher, found in rows.items():
                if teacher not in ("labelled", ALL):
                    more = np.array(found[seen]["subjects"]) - np.array(own["subjects"])
                    low, high = interval(more)
                    text += f"; {teacher} {more.mean():+.3f} ({low} to {high})"
            lines.append(text)
    return lines


if __name__ == "__main__":
    main()
