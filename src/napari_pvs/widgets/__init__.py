"""What napari shows: reader, writer and sample data. Only this package may know napari or Qt."""

from importlib.metadata import version

if tuple(map(int, version("napari").split(".")[:2])) < (0, 9):  # found by pip without an extra
    raise ImportError(
        f"napari-pvs needs napari 0.9 or newer, and this is {version('napari')}; run "
        "pip install --upgrade napari."
    )
