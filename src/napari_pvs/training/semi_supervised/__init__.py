"""Training on unlabelled scans; importing this registers the built-in teachers."""

from napari_pvs.training.semi_supervised import ensemble as ensemble
from napari_pvs.training.semi_supervised import inserted as inserted
from napari_pvs.training.semi_supervised import privileged as privileged
from napari_pvs.training.semi_supervised import teachers as teachers
