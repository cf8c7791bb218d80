"""How far the labelling rule alone limits the DSC that a mask can reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STEP = 0.1
_ROUNDED = 1e-4


@dataclass(frozen=True)
class Ceiling:
    """The best a mask can do against references made by neighbouring rules."""

    dsc: float
    """Highest DSC, averaged over the rules."""
    threshold: float
    """It is reached by the mask ``fraction >= threshold``."""
    rules: tuple[float, ...]
    """Minimum fluid fraction of a PVS voxel, one per possible rater."""


def ceiling(
    fraction: NDArray[np.floating],
    rule: float,
    step: float = _STEP,
    region: NDArray[Any] | None = None,
) -> Ceiling:
    """Oracle ceiling of the DSC when the labelling rule is uncertain by one step.

    A rater labels a voxel as PVS above some fluid fraction. The oracle knows the true fraction of
    every voxel, but not whether the rater's rule was ``rule - step``, ``rule`` or ``rule + step``.
    Its best mask consists of the voxels with a fraction of at least s, with s chosen for the
    highest mean DSC over the three references; that mean is the ceiling. No other mask does better:
    the references are nested, so of two masks of the same size, the one with the larger fractions
    has the higher mean DSC.

    Parameters
    ----------
    fraction
        Fluid volume fraction of each voxel, 0 to 1.
    rule
        Fraction at which the reference labels a voxel.
    step
        How far off the rule may be.
    region
        Only voxels where it is above 0 count.

    Raises
    ------
    ValueError
        ``rule`` and ``step`` leave the range 0 to 1.
    """
    rules = (rule - step, rule, rule + step)
    if not (step > 0 and rules[0] > 0 and rules[-1] <= 1):
        raise ValueError(f"rule {rule} and step {step} leave the range of fractions, 0 to 1")
    values = fraction.ravel() if region is None else fraction[region > 0]
    sizes = [int(np.count_nonzero(values >= one)) for one in rules]
    if sizes[1] == 0:  # most raters mark nothing, so the best mask is empty
        return Ceiling(sizes.count(0) / len(sizes), rule, rules)
    values = np.sort(values[values >= rules[0]])[::-1]
    last_of_tie = np.append(np.flatnonzero(values[1:] != values[:-1]), values.size - 1)
    mean = _mean_dsc(last_of_tie + 1, sizes)
    best = int(np.argmax(mean))
    return Ceiling(float(mean[best]), float(values[last_of_tie[best]]), rules)


def ceiling_of(label: NDArray[np.bool_], fraction: NDArray[np.floating]) -> Ceiling | None:
    """Oracle ceiling for a label made by a rule from the true fractions; None for other labels.

    Parameters
    ----------
    label
        The reference.
    fraction
        Fluid volume fraction of each voxel, 0 to 1.
    """
    rule = float(fraction[label].min(initial=1))
    more = (fraction >= rule) & ~label
    # stored fractions are rounded
    if rule <= _STEP or rule + _STEP > 1 or fraction[more].max(initial=0) > rule + _ROUNDED:
        return None
    return ceiling(fraction, rule)


def _mean_dsc(n: NDArray[np.int64], sizes: Sequence[int]) -> NDArray[np.float64]:
    """Mean DSC between the n voxels of largest fraction and references of the given sizes.

    All sets are nested, so an intersection is the smaller set.
    """
    total = sum(2 * np.minimum(n, size) / (n + size) for size in sizes)
    return np.asarray(total / len(sizes))
