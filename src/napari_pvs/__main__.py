"""``python -m napari_pvs``."""

from napari_pvs.cli import main

main()
