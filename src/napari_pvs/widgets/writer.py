"""The writers' published address, for scripts that save layers without the menu.

The code is in `napari_pvs.widgets.viewer.files`; this name stays when the house is rearranged.
"""

from napari_pvs.widgets.viewer.files import write_image, write_labels

__all__ = ["write_image", "write_labels"]
