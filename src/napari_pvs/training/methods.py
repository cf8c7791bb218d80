"""The training methods to choose from, and the teachers of the semi-supervised ones.

Here they are plain values, so that the command line can list them without loading torch. The
teachers themselves are classes in `napari_pvs.training.semi_supervised`; a module with a new one
adds both with `napari_pvs.training.semi_supervised.teacher.register`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One way to train.

    Attributes
    ----------
    name
        The name users choose it by.
    multiscale
        Whether the network is multi-scale.
    semi_supervised
        Whether it also trains on unlabelled scans.
    teacher
        Name of its own teacher; None leaves the choice to the option ``teacher``.
    paper
        DSC, AVD % and recall in Table 1 of the paper, on other data; empty if not in the paper.
    """

    name: str
    multiscale: bool
    semi_supervised: bool
    teacher: str | None = None
    paper: str = ""


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("supervised-mono", False, False, paper=".50 ± .15, 55 ± 11, .70 ± .19"),
        Method("supervised-multi", True, False, paper=".56 ± .44, 51 ± 83, .54 ± .44"),
        Method("semi-mono", False, True, paper=".51 ± .75, 43 ± 67, .79 ± .16"),
        Method("m2ss", True, True, paper=".65 ± .12, 34 ± 95, .75 ± .07"),
    )
}
"""By name."""

TEACHERS: dict[str, str] = {
    "network": "the network itself at every step",
    "mean": "the running mean of its weights on whole scans, every few epochs",
    "inserted": "the same, and PVS drawn into the unlabelled scans",
    "privileged": "the same on T1 and T2, where the network mostly sees one of them",
    "inserted-privileged": "both of these",
    "ensemble": "several weights, whose answers are averaged once on whole scans",
}
"""What may make pseudo-labels: each name with its meaning."""
