"""The house rules, proven on the source and in fresh interpreters."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import napari_pvs

SOURCE = Path(napari_pvs.__file__).parent
TESTS = Path(__file__).parent
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
FILES = sorted(SOURCE.rglob("*.py"))

QT = (
    *("PyQt5", "PyQt6", "PySide2", "PySide6", "qtpy"),
    *("napari", "magicgui", "superqt", "pyqtgraph"),
)
SLOW = ("torch", "deepbet", "SimpleITK", "nilearn", "skimage", "monai", "matplotlib", "napari")
OF_NO_MODULE = {
    "cli/test_streams.py": "the command line as a process: pipes, code pages, odd names of files",
    "test_bids_validator.py": "what the official validator says of cohorts, studies and outputs",
    "test_containers.py": "the recipes of Docker and Apptainer",
    "test_docs.py": "the snippets of the documentation, and what of it is made from the code",
    "test_release.py": "what a release says of itself, in every place that says it",
    "test_formats.py": "files that released versions wrote",
    "test_architecture.py": "the drawings in docs/contributing/architecture.md",
    "reliability/test_bad_subjects.py": "an attack on every verb, short for benchmarks/reliability",
    "reliability/test_mutated_runs.py": "damaged files of runs, short for benchmarks/reliability",
    "reliability/test_writes_and_round_trips.py": "kills, short for benchmarks/reliability",
    "test_house.py": "rules for the whole of the source",
    "test_no_temporary_folder.py": "every verb without a temporary folder",
    "training/test_label_free.py": "runs on a study without any label, from end to end",
    "training/test_twin.py": "the end of a semi-supervised run: what changed, and its twin",
    "widgets/test_docks.py": "what holds for every dock: its width, its tooltips, the Tab key",
    "widgets/test_napari.py": "the manifest, through napari's own menus",
    "widgets/test_network.py": "what holds for every dock: it sends and fetches nothing",
    "widgets/viewer/test_layers_of_napari.py": "what napari's own menus do to layers of all docks",
}
"""Test files that mirror no module or room, and what they are about."""
PICKLES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def module_of(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Every imported name with its line, wherever it stands in the file."""
    package = module_of(file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            # `from napari_pvs import scans` names a room, `from napari_pvs.scans import x` has it
            for name in node.names:
                yield node.lineno, f"{origin}.{name.name}"


def in_widgets(file: Path) -> bool:
    return room_of(module_of(file)) == "widgets"


def in_fresh_interpreter(code: str, *arguments: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def lint_imports(source: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of pyproject.toml on the package in a folder."""
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--config", str(PYPROJECT), "--no-cache"],
        cwd=source,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(source), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_floors_and_circles() -> None:
    """No import upward, no circle of files, no dock that knows another, no file without a room."""
    checked = lint_imports(SOURCE.parent)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken" in checked.stdout


@pytest.mark.parametrize(
    ("file", "added", "contract"),
    [
        ("scans/grid.py", "from napari_pvs.study import labels", "Floors"),
        ("evaluation/overlap.py", "def f():\n    import napari_pvs.network.weights", "Floors"),
        (
            "study/labels.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from napari_pvs.training.config import TrainingConfig",
            "Floors",
        ),
        ("cli/app.py", "def f():\n    from napari_pvs.widgets import dock", "Floors"),
        ("lost.py", "", "Floors"),
        (
            "widgets/load/dock.py",
            "from napari_pvs.widgets.segment import dock",
            "Floors of widgets",
        ),
        ("widgets/viewer/edits.py", "from napari_pvs.widgets.state import session", "Floors of w"),
        ("widgets/lost.py", "", "Floors of widgets"),
        ("scans/grid.py", "def f():\n    from napari_pvs.scans import scan", "Circles"),
    ],
)
def test_one_wrong_import_breaks_a_contract(
    tmp_path: Path, file: str, added: str, contract: str
) -> None:
    shutil.copytree(SOURCE, tmp_path / SOURCE.name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / SOURCE.name / file).open("a", encoding="utf-8") as written:
        written.write(f"\n{added}\n")
    checked = lint_imports(tmp_path)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    broken = [line for line in checked.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(line.startswith(contract) for line in broken), checked.stdout


def test_tests_mirror_the_source() -> None:
    """A test of `scans/grid.py` is `scans/test_grid.py`; one of a whole room bears its name."""
    lost = []
    for file in sorted(TESTS.rglob("test_*.py")):
        place = file.relative_to(TESTS)
        tested = SOURCE / place.with_name(file.stem.removeprefix("test_"))
        if not (tested.with_suffix(".py").is_file() or tested.is_dir()):
            lost.append(place.as_posix())
    assert lost == sorted(OF_NO_MODULE)


def test_only_widgets_name_qt() -> None:
    offences = [
        f"{file.relative_to(SOURCE)}:{line} imports {name}"
        for file in FILES
        if not in_widgets(file)
        for line, name in imports(file)
        if name.split(".")[0] in QT
    ]
    assert offences == []


def test_all_but_widgets_import_without_qt() -> None:
    modules = [module_of(f) for f in FILES if not in_widgets(f) and f.name != "__main__.py"]
    code = f"""
import importlib, sys, traceback
for name in {QT!r}:
    sys.modules[name] = None  # an import of it fails
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except Exception:
        print(module, traceback.format_exc())
"""
    assert in_fresh_interpreter(code, *modules) == ""


def test_help_is_made_without_slow_libraries() -> None:
    code = f"""
import sys
import typer.main
from typer.testing import CliRunner
import napari_pvs
from napari_pvs.cli import app, main
assert callable(main)
group = typer.main.get_command(app)
for arguments in ([], *([verb] for verb in getattr(group, "commands", {{}}))):
    shown = CliRunner().invoke(app, [*arguments, "--help"])
    assert shown.exit_code == 0 and "Usage" in shown.output, (arguments, shown.output)
print(*(name for name in {SLOW!r} if name in sys.modules))
"""
    assert in_fresh_interpreter(code) == ""


def test_files_of_widgets_use_qt_or_napari() -> None:
    """What needs neither lives below, but for a few lines."""
    boundary = "napari_pvs.widgets.viewer.typed"  # stands for napari, which has no types
    homesick = {}
    for file in filter(in_widgets, FILES):
        names = {name for _, name in imports(file)}
        used = {name.split(".")[0] for name in names}
        typed = any(name.startswith(boundary) for name in names) or module_of(file) == boundary
        length = len(file.read_text(encoding="utf-8").splitlines())
        if used.isdisjoint(QT) and not typed and length > 100:
            homesick[str(file.relative_to(SOURCE))] = length
    assert homesick == {}


def test_nothing_prints_or_unpickles() -> None:
    offences = []
    for file in FILES:
        name = str(file.relative_to(SOURCE))
        used = [(line, module) for line, module in imports(file) if unpickles(module)]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                allowed = [k for k in node.keywords if k.arg == "allow_pickle"]
                if called == "torch.load" or any(ast.unparse(k.value) != "False" for k in allowed):
                    used.append((node.lineno, called))
                if called == "print" and not name.startswith("cli/"):
                    used.append((node.lineno, called))
        offences += [f"{name}:{line} uses {what}" for line, what in used]
    assert offences == []


def unpickles(module: str) -> bool:
    return module.split(".")[0] in PICKLES or module == "torch.load"
