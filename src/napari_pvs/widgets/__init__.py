"""What napari shows: reader, writer and sample data. Only this package may know napari or Qt."""
