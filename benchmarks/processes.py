"""Measure in processes of their own, and the memory of each alone.

A fresh process inherits the peak of the one that started it (``ru_maxrss``), so that beside a large
benchmark every child looks large. Linux tells the child's own; elsewhere a small process is put in
between, as it is for commands that cannot tell.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_UNIT = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts in bytes


def ask(command: list[str]) -> dict[str, Any]:
    """Run a command whose last line is JSON; ``failed`` says why there is none."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return {"failed": f"exit code {done.returncode}: {reason}"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def timed(command: list[str]) -> dict[str, Any]:
    """Run any command: its ``seconds`` and its ``peak_mb``."""
    return ask([sys.executable, "-S", __file__, *command])


def peak_mb() -> float:
    """Peak of this process's resident memory."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNIT


def now_mb() -> float:
    """Resident memory of this process."""
    return _status("VmRSS") or peak_mb()


def forget_peak() -> None:
    """Let the peak start from what is held now; where the system cannot, it goes on."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists() and os.access(clear, os.W_OK):
        clear.write_text("5")


def _status(name: str) -> float:
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) / 1024 if found else 0.0


def _between() -> None:
    begun = time.perf_counter()
    code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False).returncode
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / _UNIT
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))
    raise SystemExit(code)


if __name__ == "__main__":
    _between()
