"""Does the request of a folder: ``python -m napari_pvs.jobs FOLDER``; see `tasks`."""

import logging
import sys
import threading
from pathlib import Path
from typing import Any

from napari_pvs.jobs.protocol import Say, _end_with_parent, answer
from napari_pvs.jobs.tasks import VERBS


def main(folder: Path) -> int:
    """Answer the request in a folder; return the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.INFO)

    def do(request: dict[str, Any], say: Say) -> None:
        say("done", **VERBS[request["verb"]](request, folder, say))

    return answer(folder, do)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
