"""Keep what a benchmark measured: JSON with command, machine and versions."""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("napari-pvs", "torch", "numpy", "openvino", "monai", "torchio", "nnunetv2")


def keep(name: str, measured: Any) -> Path:
    """Write ``results/NAME.json`` beside this file."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    about = {"command": command(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine()}
    path.write_text(json.dumps(about | {"measured": measured}, indent=1) + "\n", encoding="utf-8")
    return path


def command() -> str:
    """Return the command line, without the folders of this machine."""
    said = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *said])


def machine() -> dict[str, str | int | None]:
    """Processor, cores, system, Python and the versions that matter."""
    model = None
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), None)
    found: dict[str, str | int | None] = {
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
