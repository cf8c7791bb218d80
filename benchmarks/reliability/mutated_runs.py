"""Change files of a study's runs, cross-validation, cache, labels and weights, and read them.

    python benchmarks/reliability/mutated_runs.py --mutants 600 --seed 0

Of JSON, a mutant has one to three changes: a value of another type or size, a key less or more, a
nesting of thousands, broken bytes, a length of 20 MB. Of other files, bytes are changed, most of
them at the beginning, or the end is missing. It is read by the commands that read it in use.
Counted is what must not happen: a traceback, more than one sentence at the end, another exit code
than 0 and 2, a time over 60 s.
"""

import argparse
import json
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiny_study
from bad_subjects import FEW, called

Act = Callable[[Path], tuple[int, str]]
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, -0.0, 1e300, float("nan"), float("inf"), 2**31, 2**63, 10**40,
    "", "a", "../../etc/passwd", "/dev/zero", "a\x00b", "\ud800", "x" * 10_000, "[red]", "=1+1",
    "\x1b[31m\n", [], [[]], {}, {"a": 1}, [None], [1, 2, 3], ["sub-01"], {"sub-01": None},
)  # fmt: skip
DEEP = 5000


def run(*arguments: object) -> tuple[int, str]:
    code, _, err = called(*arguments)
    return code, err


def resume(root: Path) -> tuple[int, str]:
    return run("train", "--resume", root / "derivatives/runs/a")


def list_runs(root: Path) -> tuple[int, str]:
    return run("runs", "list", root)


def show_runs(root: Path) -> tuple[int, str]:
    folder = root / "derivatives/runs/a"
    return max(run("runs", "compare", folder), run("runs", "follow", folder))


def train(root: Path) -> tuple[int, str]:
    return run("train", root, "--out", root / "new", *FEW)


def plan(root: Path) -> tuple[int, str]:
    """Plan a run, and list weights, as the docks do."""
    from napari_pvs.errors import InputError
    from napari_pvs.training.config import TrainingConfig
    from napari_pvs.training.plan import plan as planned
    from napari_pvs.training.runs.status import best_weights

    try:
        planned(TrainingConfig(study=root, device="cpu"))
        best_weights(root)
    except InputError as error:
        return 2, f"napari-pvs: {error}"
    return 0, ""


def obey(root: Path) -> tuple[int, str]:
    from napari_pvs.training.runs.control import Control

    Control(root / "derivatives/runs/a").take()
    return 0, ""


def crossval(root: Path) -> tuple[int, str]:
    options = ("--methods", "supervised-multi", "--folds", 3, "--seeds", 1)
    return run("crossval", root, "--out", root / "cv", *options, *FEW)


def use(root: Path) -> tuple[int, str]:
    weights = root / "derivatives/runs/a/best.safetensors"
    return run("segment", root, "--weights", weights, "--device", "cpu", "--overwrite")


def start_from(root: Path) -> tuple[int, str]:
    weights = root / "derivatives/runs/a/best.safetensors"
    return run("train", root, "--out", root / "new", "--weights", weights, *FEW)


def count(root: Path) -> tuple[int, str]:
    return run("count", root, "--out", root / "c")


def review(root: Path) -> tuple[int, str]:
    from napari_pvs.study.drafts import read_decisions

    try:
        read_decisions(next(root.rglob("*_desc-pvs_review.json")))
    except (OSError, ValueError):
        return 2, "napari-pvs: a sentence"
    return 0, ""


def remake(root: Path) -> tuple[int, str]:
    from napari_pvs.errors import InputError
    from napari_pvs.phantom.cohort import remove_cohort

    try:
        remove_cohort(root / "cohort", overwrite=True)
    except InputError as error:
        return 2, f"napari-pvs: {error}"
    return 0, ""


@dataclass(frozen=True)
class Target:
    """A file, what JSON lies in it, and who reads it.

    ``part`` is "" for a whole file, "lines" for JSON lines, "bytes" for no JSON, else the key
    of a safetensors header.
    """

    path: str
    acts: tuple[Act, ...]
    part: str = ""


RUN = "derivatives/runs/a"
TARGETS = (
    Target(f"{RUN}/config.json", (list_runs, resume, show_runs)),
    Target(f"{RUN}/split.json", (resume,)),
    Target(f"{RUN}/events.jsonl", (list_runs, resume, show_runs), "lines"),
    Target(f"{RUN}/control.json", (obey,)),
    Target(f"{RUN}/checkpoint.safetensors", (resume, plan), "progress"),
    Target(f"{RUN}/best.safetensors", (use, start_from, plan), "card"),
    Target(f"{RUN}/pseudo/about.json", (resume,)),
    Target("derivatives/napari-pvs/roles.json", (train, plan)),
    Target("derivatives/napari-pvs/cache/*/about.json", (train,)),
    Target("cv/crossval.json", (crossval,)),
    Target("cv/*/*/scores.json", (crossval,)),
    Target("cv/*/*/config.json", (list_runs, crossval)),
    Target("derivatives/labels/*/anat/revisions/*.json", (count, train)),
    Target("derivatives/labels/*/anat/*_desc-pvs_review.json", (review,)),
    Target("cohort/dataset_description.json", (remake,)),
    Target(f"{RUN}/best.safetensors", (use, start_from, plan), "bytes"),
    Target(f"{RUN}/checkpoint.safetensors", (resume, plan), "bytes"),
    Target(f"{RUN}/pseudo/*.npy", (resume,), "bytes"),
    Target(f"{RUN}/run.lock", (resume, list_runs), "bytes"),
    Target("derivatives/napari-pvs/cache/*/*.npy", (train,), "bytes"),
    Target("derivatives/labels/*/anat/revisions/*.nii.gz", (count, train), "bytes"),
)


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside a JSON value."""
    found = [path]
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inner:
            found += nodes(one, (*path, key))
    return found


def changed(value: Any, rng: np.random.Generator) -> Any:
    """Return JSON with one change."""
    value = json.loads(json.dumps(value))
    paths = nodes(value)
    path = paths[rng.integers(len(paths))]
    odd = ODD[rng.integers(len(ODD))]
    if not path:
        return odd if rng.random() < 0.2 else {"a": value} if rng.random() < 0.5 else [value]
    place = value
    for key in path[:-1]:
        place = place[key]
    match rng.integers(5):
        case 0:
            del place[path[-1]]
        case 1 if isinstance(place, dict):
            place[str(odd)[:50]] = place[path[-1]]
        case _:
            place[path[-1]] = odd
    return value


def broken(text: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes that are hardly JSON any more."""
    at = int(rng.integers(0, max(1, len(text))))
    return (
        text[:at],
        b"",
        b"\xff\xfe" + text,
        text[:at] + rng.bytes(4) + text[at + 4 :],
        b"[" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        text.replace(b"{", b'{"x":' + b"[" * DEEP + b"]" * DEEP + b",", 1),
        text + b" " * (20 * 2**20),
        text.replace(b":", b":1e999,", 1),
        b"\xef\xbb\xbf" + text,
    )[rng.integers(10)]


def mutated(text: bytes, rng: np.random.Generator) -> bytes:
    """Return JSON with one to three changes."""
    if rng.random() < 0.2:
        return broken(text, rng)
    value = json.loads(text)
    for _ in range(rng.integers(1, 4)):
        value = changed(value, rng)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def garbled(content: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes with one to three changes."""
    whole = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        end = min(len(whole), 400) if rng.random() < 0.7 else len(whole)
        at = int(rng.integers(0, end + 1))
        match rng.integers(5):
            case 0:
                del whole[at:]
            case 1:
                whole[at : at + 8] = rng.bytes(8)
            case 2:
                whole[at:at] = rng.bytes(int(rng.integers(1, 100)))
            case 3:
                whole[at : at + 1] = bytes([int(rng.choice([0, 40, 41, 91, 123, 127, 255]))])
            case _:
                whole[at:at] = b"(" * 9000
    return bytes(whole)


def mutate(path: Path, part: str, rng: np.random.Generator) -> None:
    """Change a file in place."""
    content = path.read_bytes()
    if not part:
        path.write_bytes(mutated(content, rng))
    elif part == "bytes":
        path.write_bytes(garbled(content, rng))
    elif part == "lines":
        lines = content.splitlines()
        at = int(rng.integers(len(lines)))
        lines[at] = mutated(lines[at], rng)
        path.write_bytes(b"\n".join(lines) + b"\n" * int(rng.integers(2)))
    else:
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        if rng.random() < 0.3:
            new = mutated(content[8 : 8 + size], rng)
        else:
            inner = mutated(header["__metadata__"][part].encode(), rng)
            header["__metadata__"][part] = inner.decode("utf-8", "replace")
            new = json.dumps(header).encode()
        path.write_bytes(len(new).to_bytes(8, "little") + new + content[8 + size :])


def build(root: Path) -> Path:
    """Make a study with a run, a cross-validation, a revision, a review and weights."""
    from napari_pvs.files import write_text
    from napari_pvs.scans.nifti import read_volume
    from napari_pvs.study.labels import LabelStore

    tiny_study.study(root, 5, labelled=4)
    scan = read_volume(next(root.glob("sub-01/anat/*_T1w.nii.gz")))
    label = np.zeros(scan.shape, np.uint8)
    label[8:10, 8:10, 8:13] = 1
    LabelStore(root, "sub-01").save(label, scan.geometry(), author="me", origin="corrected")
    write_text(
        root / "derivatives/labels/sub-01/anat/sub-01_desc-pvs_review.json",
        json.dumps({"version": 1, "decisions": []}),
    )
    done = run(
        "train", root, "--out", root / RUN, "--method", "m2ss", "--warmup", 0, "--epochs", 2,
        *FEW[2:],
    )  # fmt: skip
    if done[0]:
        raise RuntimeError(done[1])
    write_text(root / RUN / "control.json", json.dumps({"command": "stop"}))
    if (found := crossval(root))[0]:
        raise RuntimeError(found[1])
    about = {"GeneratedBy": [{"Name": "napari-pvs", "Version": "1"}]}
    write_text(root / "cohort" / "dataset_description.json", json.dumps(about))
    return root


def tried(whole: Path, folder: Path, target: Target, rng: np.random.Generator) -> str:
    """Mutate one file of a copy, read it in every way, and return what is wrong; empty if none."""
    root = folder / "copy"
    # a run and a cross-validation know the study by its path
    shutil.copytree(whole, root, symlinks=True)
    place = folder / "study"
    whole.rename(folder / "kept")
    root.rename(place)
    try:
        paths = sorted(place.glob(target.path))  # some are not there before a run needs them
        mutate(paths[rng.integers(len(paths))], target.part, rng)
        act = target.acts[rng.integers(len(target.acts))]
        begun = time.monotonic()
        try:
            code, err = act(place)
        except Exception:
            code, err = 1, traceback.format_exc()
        seconds = time.monotonic() - begun
    finally:
        shutil.rmtree(place)
        (folder / "kept").rename(whole)
    said = [line for line in err.splitlines() if line.startswith("napari-pvs: ")]
    ends = [line for line in said if not line.startswith("napari-pvs: warning: ")]
    where = f"{target.path} read by {act.__name__}"
    if "Traceback" in err or code not in (0, 2):
        return f"{where}: {err.strip().splitlines()[-1][:300]}"
    if code == 2 and len(ends) != 1:
        return f"{where}: {len(ends)} sentences"
    return f"{where}: {seconds:.0f} s" if seconds > 60 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="A part of the names of the files.")
    given = parser.parse_args()
    tiny_study.small_network()
    import logging

    logging.disable(logging.CRITICAL)
    rng = np.random.default_rng(given.seed)
    targets = [target for target in TARGETS if given.only in target.path]
    tried_of: Counter[str] = Counter()
    bad: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = build(folder / "study")
        for number in range(given.mutants):
            target = targets[number % len(targets)]
            tried_of[target.path] += 1
            if wrong := tried(whole, folder, target, rng):
                bad.append(wrong)
                print(wrong, flush=True)
    print(f"{given.mutants} mutants of {len(tried_of)} kinds of files, {len(bad)} faults")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
