"""``python -m napari_pvs``."""

from napari_pvs.cli import main

if __name__ == "__main__":
    main()
