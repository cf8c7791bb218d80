"""Spoil one subject of a study in every way known, and try every verb on the study.

    python benchmarks/reliability/bad_subjects.py

Counted is what must not happen: another subject that is not done, a traceback, a subject that is
left out without exit code 2 and a sentence that names it, a sentence of several lines.
"""

import contextlib
import gzip
import io
import json
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import tiny_study

FEW = ("--epochs", "1", "--steps", "1", "--patch", "16", "--batch", "2", "--device", "cpu")


@dataclass(frozen=True)
class Place:
    """Where a study keeps the files of a subject."""

    root: Path
    name: str = "sub-02"

    def scan(self, kind: str = "T1w") -> Path:
        """Return a scan."""
        return self.root / self.name / "anat" / f"{self.name}_{kind}.nii.gz"

    def derived(self, derivative: str, ending: str) -> Path:
        """Return an image of a derivative."""
        folder = self.root / "derivatives" / derivative / self.name / "anat"
        return folder / f"{self.name}_{ending}.nii.gz"

    @property
    def label(self) -> Path:
        """Return the plain label."""
        return self.derived("labels", "desc-pvs_mask")

    @property
    def brain(self) -> Path:
        """Return the brain mask."""
        return self.derived("masks", "desc-brain_mask")

    @property
    def regions(self) -> Path:
        """Return the label map."""
        return self.derived("fs", "dseg")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("../../.git/annex/objects/x.nii.gz")


def changed(path: Path, change: Callable[[np.ndarray], np.ndarray], move: float = 0.0) -> None:
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += move
    tiny_study.write(path, change(np.asarray(image.dataobj)), affine)


def doubled(path: Path) -> None:
    subject, rest = path.name.split("_", 1)
    shutil.copy(path, path.with_name(f"{subject}_acq-b_{rest}"))


def saved(at: Place) -> Path:
    """Save the label as a final revision, and return its image."""
    from napari_pvs.scans.nifti import read_volume
    from napari_pvs.study.labels import LabelStore

    like = read_volume(at.scan()).geometry()
    data = np.asarray(nib.load(at.label).dataobj)
    at.label.unlink()
    store = LabelStore(at.root, at.name)
    return store.path(store.save(data, like, author="me", origin="drawn"))


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def file_instead(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


def claims(path: Path) -> None:
    """Let a header claim 8 GB that the file does not hold."""
    header = nib.load(path).header.copy()
    header.set_data_shape((2000, 1000, 1000))
    path.write_bytes(gzip.compress(header.binaryblock + b"\0" * 400))


def of_other_runs(at: Place) -> None:
    for kind in ("T1w", "T2w"):
        at.scan(kind).rename(at.scan(f"run-1_{kind}"))
    at.label.rename(at.derived("labels", "run-2_desc-pvs_mask"))


KINDS: dict[str, Callable[[Place], object]] = {
    "T1 of garbage": lambda at: at.scan().write_bytes(b"no image"),
    "T1 empty": lambda at: at.scan().write_bytes(b""),
    "T1 a dangling link": lambda at: dangling(at.scan()),
    "T1 a folder": lambda at: folder_instead(at.scan()),
    "T1 claims 8 GB": lambda at: claims(at.scan()),
    "T1 of NaN": lambda at: changed(at.scan(), lambda d: d * np.nan),
    "T1 constant": lambda at: changed(at.scan(), np.ones_like),
    "T1 elsewhere": lambda at: changed(at.scan(), lambda d: d, 500),
    "two T1": lambda at: doubled(at.scan()),
    "T2 of garbage": lambda at: at.scan("T2w").write_bytes(b"no image"),
    "T1 of another": lambda at: at.scan().rename(at.scan().with_name("sub-9_T1w.nii.gz")),
    "anat a file": lambda at: file_instead(at.scan().parent),
    "subject a dangling link": lambda at: (
        shutil.rmtree(at.root / at.name),
        (at.root / at.name).symlink_to("nowhere"),
    ),
    "label of garbage": lambda at: at.label.write_bytes(b"no image"),
    "label a dangling link": lambda at: dangling(at.label),
    "label a folder": lambda at: folder_instead(at.label),
    "label claims 8 GB": lambda at: claims(at.label),
    "label of fractions": lambda at: changed(at.label, lambda d: d * np.float32(0.3)),
    "label on other voxels": lambda at: changed(at.label, lambda d: d[1:]),
    "label negative": lambda at: changed(at.label, lambda d: -d.astype(np.int16)),
    "two labels": lambda at: doubled(at.label),
    "label of another run": of_other_runs,
    "label without a scan": lambda at: shutil.rmtree(at.scan().parent),
    "sidecar of garbage": lambda at: next(saved(at).parent.glob("*.json")).write_text("{"),
    "revision altered": lambda at: saved(at).write_bytes(b"altered"),
    "revision gone": lambda at: saved(at).unlink(),
    "revisions a file": lambda at: (at.label.parent / "revisions").touch(),
    "brain of garbage": lambda at: at.brain.write_bytes(b"no image"),
    "brain a dangling link": lambda at: dangling(at.brain),
    "brain empty": lambda at: changed(at.brain, lambda d: d * 0),
    "brain elsewhere": lambda at: changed(at.brain, lambda d: d, 500),
    "two brains": lambda at: doubled(at.brain),
    "no brain": lambda at: at.brain.unlink(),
    "regions of garbage": lambda at: at.regions.write_bytes(b"no image"),
    "no regions": lambda at: at.regions.unlink(),
    "two regions": lambda at: doubled(at.regions),
}


def called(*arguments: object) -> tuple[int, str, str]:
    """Run the command line here; return its exit code (1 for a traceback), stdout and stderr."""
    from napari_pvs import cli

    out, err, code = io.StringIO(), io.StringIO(), 1
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(one) for one in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            err.write(traceback.format_exc())
    return code, out.getvalue(), err.getvalue()


Ended = tuple[int, str, set[str]]
"""Exit code, stderr, and the subjects that were done."""


def segment(root: Path, weights: Path) -> Ended:
    code, out, err = called("segment", root, "--weights", weights, "--device", "cpu")
    return code, err, {line.split(":")[0] for line in out.splitlines() if " PVS, " in line}


def count(root: Path, weights: Path) -> Ended:
    code, _, err = called("count", root, "--out", root / "c", "--regions", "dseg")
    table = root / "c" / "burden.tsv"
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    return code, err, {line.split("\t")[0] for line in lines}


def evaluate(root: Path, weights: Path) -> Ended:
    folders = (root / "derivatives" / "truth", root / "derivatives" / "labels")
    code, told, err = called("evaluate", *folders, "--json", root / "e.json")
    found = json.loads((root / "e.json").read_text()) if (root / "e.json").exists() else {}
    scored = {one["subject"] for one in found.get("subjects", [])}
    # a copy of its reference is left out, and said by name
    same = told.partition("the same mask: ")[2].partition(".\n")[0]
    return code, err, scored | {name for name in " ".join(same.split()).split(", ") if name}


def train(root: Path, weights: Path, *more: object) -> Ended:
    from napari_pvs.study.bids import survey
    from napari_pvs.training.runs.folder import read_split
    from napari_pvs.training.runs.status import seen

    run = root / "r"
    shutil.rmtree(run, ignore_errors=True)
    code, _, err = called("train", root, "--out", run, *(more or ("--validation", "sub-01")), *FEW)
    if not (run / "best.safetensors").exists():
        return code, err, set()
    watch = seen(run)
    done = {one.name for one in survey(root).found} - set(watch.left_out)
    used = watch.everybody - len(watch.left_out) + len(read_split(run).test)
    return code, err, done if used == len(done) else set()


def validate(root: Path, weights: Path) -> Ended:
    """Train, and whom the run draws to validate may be a bad one."""
    roles = root / "derivatives" / "napari-pvs" / "roles.json"
    for seed in range(3):
        roles.unlink(missing_ok=True)
        code, err, done = train(root, weights, "--seed", seed)
        if not done:
            break
    return code, err, done


def runs(root: Path, weights: Path) -> Ended:
    code, out, err = called("runs", "list", root)
    everybody = {path.name for path in root.glob("sub-*")} if "no runs yet" in out else set()
    return code, err, everybody


VERBS = {
    "segment": segment, "count": count, "evaluate": evaluate, "train": train,
    "validate": validate, "runs list": runs,
}  # fmt: skip


def judged(ended: Ended, good: set[str], bad: set[str]) -> str:
    """Return what is wrong with how a verb ended; empty if nothing is."""
    code, err, done = ended
    said = [line for line in err.splitlines() if line.startswith("napari-pvs: ")]
    last = said[-1] if said else ""
    left = sorted(bad - done)
    if "Traceback" in err:
        return "a traceback: " + err.strip().splitlines()[-1]
    if not good <= done:
        return f"keeps {min(good - done)} back: {last}"
    if code != (2 if left else 0):
        return f"{', '.join(left) or 'nobody'} is left out with exit code {code}: {last}"
    unnamed = [name for name in left if name not in last]
    return f"{unnamed[0]} is not named: {last}" if unnamed else ""


def study(root: Path, subjects: int) -> Path:
    """Write a study with true masks and label maps."""
    tiny_study.study(root, subjects)
    for path in sorted(root.glob("sub-*")):
        at = Place(root, path.name)
        truth = at.derived("truth", "desc-pvs_mask")
        truth.parent.mkdir(parents=True)
        shutil.copy(at.label, truth)
        tiny_study.write(at.regions, np.full(tiny_study.SHAPE, 2, np.int16))
    return root


def tried(folder: Path, kind: str, verb: str, weights: Path) -> str:
    """Spoil a new study, and return what is wrong with how a verb ends on it."""
    root = study(folder / "study", 3)
    KINDS[kind](Place(root))
    wrong = judged(VERBS[verb](root, weights), {"sub-01", "sub-03"}, {"sub-02"})
    shutil.rmtree(root)
    return wrong


def main() -> None:
    import argparse
    import logging

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbs", nargs="*", default=list(VERBS))
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    given = parser.parse_args()
    tiny_study.small_network()
    logging.basicConfig(level=logging.CRITICAL)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        weights = tiny_study.weights(Path(folder) / "tiny.safetensors")
        for verb in given.verbs:
            for kind in given.kinds:
                wrong = tried(Path(folder), kind, verb, weights)
                bad += bool(wrong)
                if wrong:
                    print(f"{verb}, {kind}: {wrong}", flush=True)
    total = len(given.verbs) * len(given.kinds)
    print(f"{total} bad studies ({len(given.kinds)} kinds, {len(given.verbs)} verbs), {bad} faults")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
