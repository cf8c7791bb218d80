"""The house rules, proven on the source and in fresh interpreters."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import napari_pvs

SOURCE = Path(napari_pvs.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

ROOMS = {
    room: height
    for height, rooms in enumerate(
        (
            ("__init__",),
            ("errors",),
            ("files", "json_files"),
            ("scans",),
            ("network",),
            ("evaluation",),
            ("inference",),
            ("phantom",),
            ("study",),
            ("training",),
            ("burden",),
            ("options",),
            ("cli", "widgets"),
            ("__main__",),
        )
    )
    for room in rooms
}
QT = (
    *("PyQt5", "PyQt6", "PySide2", "PySide6", "qtpy"),
    *("napari", "magicgui", "superqt", "pyqtgraph"),
)
SLOW = ("torch", "deepbet", "SimpleITK", "nilearn", "skimage", "monai", "matplotlib", "napari")
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


def own_imports(file: Path) -> Iterator[tuple[int, str]]:
    for line, name in imports(file):
        if name.split(".")[0] == "napari_pvs":
            room = room_of(name)
            yield line, "__init__" if room.startswith("__") and room != "__main__" else room


def in_widgets(file: Path) -> bool:
    return room_of(module_of(file)) == "widgets"


def in_fresh_interpreter(code: str, *arguments: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_every_file_has_a_room() -> None:
    homeless = [str(f) for f in FILES if room_of(module_of(f)) not in ROOMS]
    assert homeless == []


def test_nothing_imports_upward() -> None:
    upward = []
    for file in FILES:
        own = room_of(module_of(file))
        for line, room in own_imports(file):
            assert room in ROOMS, f"{file}:{line} imports napari_pvs.{room}, which is no room"
            if room != own and ROOMS[room] >= ROOMS[own]:
                upward.append(f"{file.relative_to(SOURCE)}:{line} imports {room}")
    assert upward == []


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
