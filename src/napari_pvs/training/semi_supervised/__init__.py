"""Learning from unlabelled scans; the product's own teachers are registered when it is imported."""

from napari_pvs.training.semi_supervised import ensemble as ensemble
from napari_pvs.training.semi_supervised import inserted as inserted
from napari_pvs.training.semi_supervised import privileged as privileged
from napari_pvs.training.semi_supervised import teachers as teachers
