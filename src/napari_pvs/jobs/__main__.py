"""Handles one request: ``python -m napari_pvs.jobs FOLDER``; see `protocol` and `tasks`.

The process ends when its stdin closes, so it never outlives napari.
"""

import logging
import sys
import threading
from pathlib import Path

from napari_pvs.jobs.protocol import Done, Request, Say, answer, end_with_parent
from napari_pvs.jobs.tasks import TASKS


def main(folder: Path) -> int:
    """Answer the request in a folder; return the exit code."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.INFO)

    def do(request: Request, say: Say) -> None:
        say(Done(TASKS[type(request)](request, folder, say)))

    return answer(folder, do)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
