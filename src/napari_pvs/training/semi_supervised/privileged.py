"""Privileged view: the teacher sees T1 and T2, the network mostly one of them.

Learning with privileged information (Vapnik and Vashist, Neural Networks 2009): pairs without a
label teach what T2 shows to a network that will be given T1 alone, and the other way round.
"""

import torch
from torch import Tensor

from napari_pvs.training.augment import drop_modality
from napari_pvs.training.data.sampling import Patches
from napari_pvs.training.semi_supervised.inserted import InsertedPVS
from napari_pvs.training.semi_supervised.teacher import register
from napari_pvs.training.semi_supervised.teachers import RunningMean


class PrivilegedView(RunningMean):
    """The running mean on T1 and T2; of most unlabelled patches the network sees T1 or T2 alone.

    Scans with one modality are used as by the running mean.
    """

    def view(self, patches: Patches, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change patches as other teachers do, then blank T1 or T2 in as many as are wanted."""
        config = self.state.config
        images, pseudo = super().view(patches, generator)
        # some have lost one already, and a patch keeps what it has left
        before = config.modality_dropout if config.view == "augment" else 0.0
        more = max(0.0, config.privileged - before) / max(1e-6, 1 - before)
        alike = config.one_scan
        return drop_modality(images, more, generator, patches.share, alike=alike), pseudo


class PrivilegedInsertedPVS(PrivilegedView, InsertedPVS):
    """Both: PVS are drawn into T1 and T2, and the network mostly sees one of them."""


register("privileged", PrivilegedView)
register("inserted-privileged", PrivilegedInsertedPVS)
