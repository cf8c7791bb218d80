"""The reader's published address, for scripts that read files into layers without the menu.

The code is in `napari_pvs.widgets.viewer.files`; this name stays when the house is rearranged.
"""

from napari_pvs.widgets.viewer.files import get_reader, read

__all__ = ["get_reader", "read"]
