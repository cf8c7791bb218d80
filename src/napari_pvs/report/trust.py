"""Can this scan be trusted: what limits a segmentation, measured, with a light and plain words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.checks import AGREE_LEAST, Placed, agreement_of
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.intensity import normalise, percentiles
from napari_pvs.scans.masks import Mask, bounding_box
from napari_pvs.scans.regions import LIKENESS, OVERLAP, VENTRICLES, Regions
from napari_pvs.scans.registration import SHARP, Registration
from napari_pvs.scans.scan import Scan

Light = Literal["green", "amber", "red"]
ORDER: tuple[Light, ...] = ("green", "amber", "red")
VOXEL_MM = (1.2, 2.0)
"""Longest edge that is fine, and that which is too long; most PVS are 1 to 2 mm wide."""
SNR = (7.0, 4.0)
"""Of white matter; real scans that were looked at had 7 to 17."""
CONTRAST = (5.0, 2.5)
"""Step from white matter to fluid over noise, of a PVS that fills half of its voxel."""
BRAIN_ML = (900.0, 1900.0)
"""Of adults, with their ventricles."""
CUT = (0.002, 0.02)
"""Share of the brain mask's voxels on the border of the field of view."""
AGREE = 0.15
"""Mutual information of T1 and T2 below which they are looked at; a real pair had 0.39."""
FAR, LEAST_WIDTH = (0.25, 1.0), 0.5
"""How far outside the range of training percentiles lie, in widths of the range, and the least
width that counts: that of a few alike scans says little."""
Ranges = Mapping[str, Mapping[str, tuple[float, float]]]
"""For T1 and T2, least and greatest of each of `percentiles`."""
TRAINING: Ranges = {
    "T1": {"1": (-2.55, -1.07), "5": (-2.03, -0.83), "95": (1.03, 1.55), "99": (1.24, 1.87)},
    "T2": {"1": (-1.64, -0.47), "5": (-0.93, -0.41), "95": (2.16, 3.71), "99": (2.73, 7.10)},
}
"""Least and greatest of each of `percentiles` over 15 of 100 phantoms such as the starter
weights were trained on; ``python benchmarks/intensities.py STUDY --every 7`` prints them."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    what
        Its name.
    light
        green: as it should be; amber: look at it; red: do not rely on the result.
    value
        What was measured, with its unit.
    words
        What it means.
    """

    what: str
    light: Light
    value: str
    words: str


def trust(
    scan: Scan,
    regions: Regions | None,
    training: Ranges | None,
) -> list[Check]:
    """Look at what a segmentation depends on.

    Parameters
    ----------
    scan
        What was segmented.
    regions
        Of its brain, where they are known.
    training
        What the weights were trained on, such as `TRAINING`. None where it is not known.
    """
    images: dict[str, NDArray[np.float32]] = {}
    if scan.t1 is not None:
        images["T1"] = scan.t1
    if scan.t2 is not None:
        images["T2"] = scan.t2
    out = [_voxels(scan.grid)]
    white = _white(scan, regions)
    for name, image in images.items():
        out += _noise(name, image, scan.brain, white)
    if scan.t1 is not None and scan.t2 is not None:
        out.append(_alignment(scan.t1, scan.t2, scan))
    out.append(_brain(scan, regions))
    if regions is not None and regions.quality is not None:
        out.append(_template(regions))
    for name, image in images.items():
        out.append(_intensities(name, image, scan.brain, (training or {}).get(name)))
    if len(images) == 1:
        (only,) = images
        words = (
            "On T1 a PVS is hard to tell from other dark specks; adding a T2 helps most."
            if only == "T1"
            else "Without a T1 a lesion can pass for a PVS; adding a T1 helps."
        )
        out.append(Check("Contrasts", "amber", f"{only} alone", words))
    else:
        out.append(Check("Contrasts", "green", "T1 and T2", "Both were used."))
    return out


def worst(checks: Sequence[Check]) -> Light:
    """Return the light of the whole: the worst of all."""
    return max((check.light for check in checks), key=ORDER.index, default="green")


def _grade(value: float, limits: tuple[float, float]) -> Light:
    """Grade a value by the limits of green and of red, whichever is the greater."""
    good, bad = limits
    if good < bad:
        return "green" if value <= good else "amber" if value <= bad else "red"
    return "green" if value >= good else "amber" if value >= bad else "red"


def _voxels(grid: Grid) -> Check:
    size = grid.voxel_size
    light = _grade(max(size), VOXEL_MM)
    words = {
        "green": "Fine enough for most PVS.",
        "amber": "Narrow PVS are missed, and diameters are too large.",
        "red": "Too coarse: most PVS are narrower than a voxel.",
    }[light]
    return Check("Voxel size", light, " × ".join(f"{edge:.2f}" for edge in size) + " mm", words)


def _white(scan: Scan, regions: Regions | None) -> Mask:
    """White matter where it is known; else the inner half of the brain."""
    if regions is not None and regions.tissue is not None:
        named = [
            at for at, one in enumerate(regions.names, 1) if one.endswith(("white matter", "ovale"))
        ]
        found = np.isin(regions.index, named) & regions.tissue
        if np.count_nonzero(found) > 1000:
            return np.asarray(found)
    import edt

    box = bounding_box(scan.brain)
    inside = np.ascontiguousarray(scan.brain[box])
    depth = edt.edt(inside, anisotropy=scan.grid.voxel_size, black_border=True)
    out = np.zeros_like(scan.brain)
    out[box] = inside & (depth >= np.median(depth[inside]))
    return out


def _noise(name: str, image: NDArray[np.float32], brain: Mask, white: Mask) -> list[Check]:
    values = image[white]
    level = float(np.median(values))
    # differences of neighbours lose anatomy and keep noise; the median loses PVS and borders
    steps = []
    for axis in range(3):
        both = white.take(range(1, white.shape[axis]), axis) & white.take(
            range(white.shape[axis] - 1), axis
        )
        steps.append(np.abs(np.diff(image, axis=axis)[both]))
    noise = float(np.median(np.concatenate(steps)) / 0.6745 / np.sqrt(2))
    noise = max(noise, 1e-6 * max(abs(level), 1e-6))
    ratio = level / noise
    # fluid is the dark end of a T1 and the bright end of a T2
    fluid = float(np.percentile(image[brain], 2 if name == "T1" else 98))
    contrast = 0.5 * abs(fluid - level) / noise
    light, other = _grade(ratio, SNR), _grade(contrast, CONTRAST)
    return [
        Check(
            f"Noise of the {name}",
            light,
            f"signal {ratio:.0f} × noise",
            {
                "green": "As in scans that segment well.",
                "amber": "Noisy: small PVS are missed, and some found are noise.",
                "red": "Very noisy: do not count small PVS.",
            }[light],
        ),
        Check(
            f"Contrast of PVS on the {name}",
            other,
            f"{contrast:.0f} × noise",
            {
                "green": "A PVS that fills half of a voxel stands out clearly.",
                "amber": "A PVS that fills half of a voxel hardly stands out.",
                "red": "PVS do not stand out from the noise.",
            }[other],
        ),
    ]


def _registered(found: Registration) -> Check:
    light: Light = "green" if found.sharpness >= SHARP else "amber"
    words = "They are aligned to within about half a voxel."
    if found.corrected:
        words = "The T2 was registered to the T1, and lies on it to about half a voxel."
    if light == "amber":
        words = "The best fit is hardly better than 5 mm away: check that both show the same head."
    return Check(
        "Alignment of T1 and T2",
        light,
        f"{found.shift_mm:.1f} mm apart{', corrected' if found.corrected else ''}; mutual "
        f"information {found.after:.2f}",
        words,
    )


def _alignment(t1: NDArray[np.float32], t2: NDArray[np.float32], scan: Scan) -> Check:
    if scan.registration is not None:
        return _registered(scan.registration)
    found = agreement_of(Placed("T1", t1, scan.grid), Placed("T2", t2, scan.grid), scan.brain)
    if found is None:
        return Check("Alignment of T1 and T2", "amber", "not measured", "Too little brain to tell.")
    if found.moved:
        return Check(
            "Alignment of T1 and T2",
            "red",
            f"agreement {found.here:.2f}, {found.best:.2f} if moved by {found.away_mm:.0f} mm",
            "T1 and T2 are not aligned: align them, and segment again.",
        )
    light: Light = "green" if found.here >= AGREE else "amber"
    if found.here < AGREE_LEAST:
        light = "red"
    words = {
        "green": "They are aligned to within about 4 mm; check smaller shifts in the pictures.",
        "amber": "They agree little: check in the pictures that they are aligned.",
        "red": "They hardly agree: they may be of two people.",
    }[light]
    return Check("Alignment of T1 and T2", light, f"agreement {found.here:.2f}", words)


def _brain(scan: Scan, regions: Regions | None) -> Check:
    brain = scan.brain
    voxels = int(np.count_nonzero(brain))
    volume = voxels * scan.grid.voxel_volume / 1000
    faces = sum(
        int(np.count_nonzero(brain.take(end, axis))) for axis in range(3) for end in (0, -1)
    )
    cut = _grade(faces / max(voxels, 1), CUT)
    low, high = BRAIN_ML
    size = _grade(max(low / max(volume, 1), volume / high), (1.0, 1.3))
    light = max(cut, size, key=ORDER.index)
    if light == "green":
        words = "A whole brain, of an adult's size."
    elif ORDER.index(cut) >= ORDER.index(size):
        words = "The field of view cuts the brain: PVS beyond it are missing, not absent."
    else:
        words = "Unlike an adult's brain: look at the outline, or give a brain mask."
    if regions is not None:
        gone = [name for name in regions.names if regions.missing(name)]
        if gone:
            light, words = "red", f"Not in the scan: {', '.join(gone)}."
    return Check("Brain mask", light, f"{volume:.0f} mL", words)


def _template(regions: Regions) -> Check:
    found = regions.quality
    assert found is not None
    shown = f"tissues {found.likeness:.2f}, brains {found.overlap:.2f}"
    shown += f", ventricles {found.ventricles:.0%}"
    poor = found.likeness < LIKENESS or found.overlap < OVERLAP or found.ventricles < VENTRICLES
    if poor:
        return Check(
            "Regions", "red", shown, "The template fits poorly: do not use counts by region."
        )
    if regions.doubts:
        return Check("Regions", "amber", shown, regions.doubts[0])
    return Check("Regions", "green", shown, "The template fits the brain.")


def _intensities(
    name: str,
    image: NDArray[np.float32],
    brain: Mask,
    known: Mapping[str, tuple[float, float]] | None,
) -> Check:
    what = f"Intensities of the {name}"
    if not known:
        return Check(
            what, "amber", "not known", "The weights do not say what they were trained on."
        )
    values = image[brain]
    found = percentiles(normalise(values, np.ones(values.shape, bool)))
    off: list[tuple[float, str]] = []
    for key, (low, high) in known.items():
        if key in found:
            away = max(low - found[key], found[key] - high, 0.0) / max(high - low, LEAST_WIDTH)
            off.append((away, key))
    away, key = max(off, default=(0.0, ""))
    light = _grade(away, FAR)
    if away == 0:
        return Check(what, light, "within the range of training", "Similar to the training scans.")
    words = {
        "green": "Just outside what the weights have seen.",
        "amber": "Outside what the weights have seen: check the mask by eye.",
        "red": "Far from what the weights have seen: check the mask by eye, or train on your own.",
    }[light]
    low, high = known[key]
    shown = f"percentile {key} is {found[key]:.1f}, in training {low:.1f} to {high:.1f}"
    return Check(what, light, shown, words)
