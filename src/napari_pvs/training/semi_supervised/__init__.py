"""Training on unlabelled scans; importing this registers the built-in teachers."""

from napari_pvs.training.semi_supervised import teachers as teachers
