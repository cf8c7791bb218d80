"""``python -m napari_pvs.widgets.launch``: a window of napari with the workspace.

Started by ``napari-pvs open``, which may not import Qt.
"""

import argparse
from pathlib import Path

import napari
from qtpy.QtCore import QTimer

from napari_pvs.study.recent import Recent
from napari_pvs.widgets.preferences import NAME
from napari_pvs.widgets.workspace.dock import Workspace


def main(arguments: list[str] | None = None) -> None:
    """Open the window and return when it is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--study", "--results", "--t1", "--t2", "--brain"):
        parser.add_argument(option, type=Path)
    given = parser.parse_args(arguments)
    place = Recent(study=given.study, t1=given.t1, t2=given.t2, brain=given.brain)
    viewer = napari.Viewer()
    workspace: Workspace = viewer.window.add_plugin_dock_widget(NAME, "Workspace")[1]

    def show() -> None:
        if given.results is None:
            workspace.open_recent(place)
        else:
            workspace.open_results(given.results, place)

    QTimer.singleShot(0, show)  # after the docks, which the workspace opens the same way
    napari.run()


if __name__ == "__main__":
    main()
