"""The napari viewer: layers, canvas, edits, readers and writers."""
