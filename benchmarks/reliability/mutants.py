"""Change the code in one place at a time; print the changes that the mirrored tests do not notice.

    python benchmarks/reliability/mutants.py --seed 1 --per-room 40 --out mutants.json

The changes are cosmic-ray's. A seeded sample of places is drawn from each room, and one change for
each place; what is drawn hangs on the text of the line, so that other edits do not redraw it. For
a change of ``src/napari_pvs/scans/grid.py`` run ``tests/scans/test_grid.py`` and those tests beside
it that import the module. A run that was ended goes on where it was; ``--again`` runs the survivors
once more, after tests were written. A ``reason`` beside a survivor in the file is kept.

Each change is tried in a fork of a process that has loaded the heavy libraries, on a copy of the
repository; Linux only. Needs ``pip install cosmic-ray``.
"""

import argparse
import contextlib
import difflib
import hashlib
import importlib
import importlib.metadata
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded; threads do not survive a fork
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["NAPARI_PVS_DATA"] = "/none"  # real scans: slow, and not everybody has them

REPOSITORY = Path(__file__).parents[2]
SRC, TESTS = Path("src/napari_pvs"), Path("tests")
ROOMS = {
    "files": ["files.py", "json_files.py"],
    "scans": ["scans"],
    "evaluation": ["evaluation"],
    "study": ["study"],
    "training/state": ["training/state.py"],
    "semi-supervised": ["training/methods.py", "training/semi_supervised"],
}
# Without those that mostly end in a TypeError (a << b for a + b), or that differ from the code by
# what the interpreter keeps (a is b for a == b): they would say nothing about the tests.
OPERATORS = re.compile(
    "core/(ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul"
    "|BitOr_BitAnd|BitAnd_BitOr|BitXor_BitAnd|LShift_RShift|RShift_LShift)"
    "|ReplaceComparisonOperator_((Eq|NotEq|Lt|LtE|Gt|GtE)_(Eq|NotEq|Lt|LtE|Gt|GtE)|Is_IsNot|IsNot_Is)"
    "|ReplaceUnaryOperator_(Delete_.*|Invert_Not)|AddNot|Replace(True|False|And|Or|Break|Continue)With.*"
    "|ExceptionReplacer|NumberReplacer|RemoveDecorator|ZeroIterationForLoop)"
)
HEAVY = (
    "numpy",
    "scipy.ndimage",
    "scipy.stats",
    "scipy.optimize",
    "skimage.measure",
    "skimage.filters",
    "nibabel",
    "torch",
    "pydantic",
    "safetensors.torch",
    "SimpleITK",
    "nilearn",
    "cc3d",
    "edt",
    "fill_voids",
    "filelock",
    "monai.metrics",
    "sklearn.metrics",
    "pytest",
    "hypothesis",
    "typer",
    "rich.table",
    "qtpy.QtWidgets",
)
MEMORY = 12 << 30
START_S = 20.0  # beyond which, and beyond ten times what the unchanged code takes, a change hangs


@dataclass
class Mutant:
    """A change of one place, and how its tests ended.

    ``outcome`` is "killed" (a test failed), "hung" (killed by the clock) or "survived"; ``first``
    is that of the first try, before tests were written for the survivors.
    """

    room: str
    file: str
    line: int
    operator: str
    occurrence: int
    digest: str
    change: list[str]
    outcome: str = ""
    first: str = ""
    by: str = ""
    reason: str = ""


def modules(room: str) -> list[Path]:
    """Return the modules of a room, relative to the package."""
    package = REPOSITORY / SRC
    paths = [package / name for name in ROOMS[room]]
    files = [
        file for path in paths for file in ([path] if path.is_file() else path.glob("**/*.py"))
    ]
    return sorted(file.relative_to(package) for file in files if file.name != "__init__.py")


def tests_of(module: Path) -> list[list[str]]:
    """Return the mirrored test file, and those beside it that import the module."""
    folder = TESTS / module.parent
    mirrored = folder / f"test_{module.name}"
    parent = ".".join(("napari_pvs", *module.parent.parts))
    imports = re.compile(
        rf"{re.escape(parent)}\.{module.stem}\b|from {re.escape(parent)} import .*\b{module.stem}\b"
    )
    beside = sorted((REPOSITORY / folder).glob("test_*.py"))
    named = [p.relative_to(REPOSITORY) for p in beside if imports.search(p.read_text())]
    if not (REPOSITORY / mirrored).exists():
        return [[str(path) for path in named]]
    # tests beside a module of training run whole trainings
    others = [] if module.parts[0] == "training" else named
    rest = [str(path) for path in others if path != mirrored]
    return [[str(mirrored)], rest] if rest else [[str(mirrored)]]


def drawn(room: str, seed: int, number: int) -> tuple[int, list[Mutant]]:
    """Return how many places a room has, and a change for each of a sample of them."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    names = [name for name in operator_names() if OPERATORS.fullmatch(name)]
    places: list[tuple[str, Path, list[tuple[str, int]], int]] = []
    sources = {module: (REPOSITORY / SRC / module).read_text() for module in modules(room)}
    for module, source in sources.items():
        tree, lines = get_ast(source), source.split("\n")
        found = defaultdict(list)
        for name in names:
            operator = get_operator(name)()
            positions = (
                start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node)
            )
            for occurrence, start in enumerate(positions):
                if not _is_type(tree.get_leaf_for_position(start)):
                    found[start].append((name, occurrence))
        same: Counter[str] = Counter()
        for (row, column), changes in sorted(found.items()):
            text = f"{seed} {module} {lines[row - 1].strip()} {column - len(lines[row - 1])}"
            same[text] += 1
            key = hashlib.sha256(f"{text} {same[text]}".encode()).hexdigest()
            places.append((key, module, changes, row))
    mutants = []
    for key, module, changes, row in sorted(places):
        if len(mutants) == number:
            break
        source = sources[module]
        shuffled = random.Random(key).sample(changes, len(changes))
        for name, occurrence in shuffled:
            # cosmic-ray fails at ``except zlib.error``
            with contextlib.suppress(SyntaxError, AttributeError):
                changed = mutate_code(source, get_operator(name)(), occurrence)
                compile(changed, str(module), "exec")
                break
        else:
            continue
        diff = difflib.unified_diff(source.split("\n"), changed.split("\n"), n=0, lineterm="")
        change = [line for line in list(diff)[2:] if line.strip("-+ ") and line[0] != "@"]
        digest = hashlib.sha256(source.encode()).hexdigest()[:12]
        operator = name.removeprefix("core/")
        mutants.append(Mutant(room, str(module), row, operator, occurrence, digest, change))
    return len(places), mutants


def _is_type(leaf: Any) -> bool:
    """Tell whether a node of the code is part of an annotation, or a mark between parameters."""
    if leaf.parent.type in ("parameters", "lambdef"):
        return True
    node = leaf
    while node.parent is not None:
        inner, node = node, node.parent
        if node.type in ("annassign", "tfpdef"):
            at = next(i for i, child in enumerate(node.children) if child is inner)
            if at == (1 if node.type == "annassign" else 2):
                return True
        if node.type == "funcdef" and node.annotation is inner:
            return True
    return False


class Copy:
    """A copy of the repository in which one module at a time is changed."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("src", "tests", "pyproject.toml"):
            path = REPOSITORY / name
            if path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(path, folder / name, ignore=ignored)
            else:
                shutil.copy(path, folder / name)
        self.usual: dict[str, tuple[float, float]] = {}  # of tests

    @contextlib.contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """Change the module while the context lasts."""
        from cosmic_ray.mutating import use_mutation
        from cosmic_ray.plugins import get_operator

        path = self.folder / SRC / mutant.file
        compiled = path.parent / "__pycache__"

        def forget() -> None:  # it is told from the file by length and second alone
            for old in compiled.glob(f"{path.stem}.*"):
                old.unlink()

        operator = get_operator(f"core/{mutant.operator}")()
        try:
            with use_mutation(path, operator, mutant.occurrence) as (_, code):
                if code is None:
                    raise SystemExit(f"{mutant.file} has no {mutant.operator} {mutant.occurrence}")
                forget()
                yield
        finally:
            forget()

    def unchanged(self, tests: list[str]) -> tuple[float, float]:
        """Return the seconds of processor and clock that tests of the code as it is take."""
        key = " ".join(tests)
        if key not in self.usual:
            begun, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            code, log = self.tested(tests, 1200, 3600)
            more = resource.getrusage(resource.RUSAGE_CHILDREN)
            if code != 0:
                raise SystemExit(f"{key} fails on the unchanged code:\n{log[-3000:]}")
            seconds = more.ru_utime + more.ru_stime - used.ru_utime - used.ru_stime
            self.usual[key] = seconds, time.monotonic() - begun
        return self.usual[key]

    def tested(self, tests: list[str], seconds: float, wall: float) -> tuple[int | None, str]:
        """Run tests; return the exit code (None if they hung) and the output."""
        log = self.folder / "log"
        child = os.fork()
        if not child:
            self._test(tests, int(seconds), log)
        status, until = None, time.monotonic() + wall
        while time.monotonic() < until:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.05)
        else:
            status = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # and what the tests have started
        if status is None:
            os.waitpid(child, 0)
        text = log.read_text(errors="replace")
        if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
            return None, text
        return os.waitstatus_to_exitcode(status), text

    def _test(self, tests: list[str], seconds: int, log: Path) -> None:
        code = 70
        try:
            os.setsid()
            out = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(out, stream)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            os.chdir(self.folder)
            source = str(self.folder / "src")
            sys.path.insert(0, source)
            os.environ["PYTHONPATH"] = source
            os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder / "tmp")
            Path(tempfile.tempdir).mkdir(exist_ok=True)
            import pytest
            from hypothesis import Phase, settings

            phases = [Phase.explicit, Phase.generate]
            settings.register_profile("mutants", derandomize=True, database=None, phases=phases)
            settings.load_profile("mutants")
            plugins = ["--no-xvfb", "-p", "no:cacheprovider", "-p", "no:napari", "-p", "no:xdist"]
            plugins += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # loaded before
            code = int(pytest.main(["-x", "-q", "--tb=line", *plugins, *tests]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def try_out(self, mutant: Mutant) -> None:
        """Run the tests of a change, and note how they ended."""
        mutant.outcome = "survived"
        for tests in filter(None, tests_of(Path(mutant.file))):
            seconds, wall = self.unchanged(tests)
            with self.changed(mutant):
                code, log = self.tested(tests, 10 * seconds + START_S, 20 * wall + 10 * START_S)
            mutant.outcome = "hung" if code is None else "killed" if code else "survived"
            failed = re.search(r"^(?:FAILED|ERROR) (\S+)", log, re.MULTILINE)
            mutant.by = failed[1] if failed else f"exit code {code}" if code else ""
            if mutant.outcome != "survived":
                break
        mutant.first = mutant.first or mutant.outcome


def rates(mutants: list[Mutant], places: dict[str, int]) -> dict[str, dict[str, float]]:
    """Return for each room its places, the changes tried, and how many were killed."""
    out = {}
    for room in ROOMS:
        tried = [mutant for mutant in mutants if mutant.room == room and mutant.outcome]
        if tried:
            killed = sum(mutant.outcome != "survived" for mutant in tried)
            first = sum(mutant.first != "survived" for mutant in tried)
            out[room] = {"places": places[room], "tried": len(tried), "killed": killed}
            out[room] |= {"share": round(killed / len(tried), 3), "killed_at_first": first}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-room", type=int, default=40)
    parser.add_argument("--room", action="append", choices=ROOMS, help="all if not given")
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    parser.add_argument("--again", action="store_true", help="try the survivors once more")
    given = parser.parse_args()

    before = json.loads(given.out.read_text()) if given.out.exists() else {"mutants": []}
    if before.get("seed", given.seed) != given.seed:
        raise SystemExit(f"{given.out} is of seed {before['seed']}; name another file.")
    known = {
        (one["file"], one["digest"], one["operator"], one["occurrence"]): Mutant(**one)
        for one in before["mutants"]
    }
    told = {(m.file, *m.change): (m.first, m.reason) for m in known.values()}
    places = {room: told["places"] for room, told in before.get("rooms", {}).items()}
    mutants: list[Mutant] = []
    for room in ROOMS:
        if given.room and room not in given.room:
            mutants += [mutant for mutant in known.values() if mutant.room == room]
            continue
        places[room], sample = drawn(room, given.seed, given.per_room)
        for mutant in sample:
            same = known.get((mutant.file, mutant.digest, mutant.operator, mutant.occurrence))
            mutant.first, mutant.reason = told.get((mutant.file, *mutant.change), ("", ""))
            if same and not (given.again and same.outcome == "survived"):
                mutant.outcome, mutant.by = same.outcome, same.by
        mutants += sample

    def keep() -> dict[str, dict[str, float]]:
        rooms = rates(mutants, places)
        content = {
            "tool": f"cosmic-ray {importlib.metadata.version('cosmic-ray')}",
            "seed": given.seed,
            "rooms": rooms,
            "mutants": [asdict(mutant) for mutant in mutants if mutant.outcome],
        }
        beside = given.out.with_suffix(".new")
        beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        beside.replace(given.out)
        return rooms

    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(Path(folder))
        for mutant in mutants:
            if not mutant.outcome:
                copy.try_out(mutant)
                keep()
                if mutant.outcome == "survived":
                    print(f"{mutant.file}:{mutant.line} survived", *mutant.change, sep="\n  ")
                else:
                    print(f"{mutant.file}:{mutant.line} {mutant.outcome} by {mutant.by}")
                sys.stdout.flush()
    for room, found in keep().items():
        print(
            f"{room}: {found['killed']} of {found['tried']} killed ({found['share']:.0%}), "
            f"{found['killed_at_first']} at the first try"
        )


if __name__ == "__main__":
    main()
