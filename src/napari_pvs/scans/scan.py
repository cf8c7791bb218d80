"""One subject's T1 and T2 on one grid, the object that all code above the files works on."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans import checks
from napari_pvs.scans.brain import brain_mask as find_brain
from napari_pvs.scans.brain import doubts_of_mask, doubts_of_person
from napari_pvs.scans.checks import Placed
from napari_pvs.scans.choices import REGISTER, Register
from napari_pvs.scans.dicom import read_image
from napari_pvs.scans.grid import Grid, from_ras, resample
from napari_pvs.scans.intensity import normalise
from napari_pvs.scans.nifti import Geometry, Volume, read_labels
from napari_pvs.scans.registration import Registration, find, moved


@dataclass(frozen=True, eq=False, kw_only=True)
class Scan:
    """T1, T2 or both of one subject on one RAS+ grid.

    Parameters
    ----------
    t1, t2
        float32 in the files' own unit, shape of ``grid``; None where not given.
    grid
        The T1's own voxels (the T2's, if there is no T1), axes turned to RAS+.
    brain
        bool, shape of ``grid``; only voxels covered by every given modality.
    source
        Axes, affine and header of the reference file, for writing results like it.
    warnings
        Sentences on what looked doubtful; each was also issued as an `InputWarning`.
    lesions
        bool, shape of ``grid``: lesions of white matter, where a map of them is known.
    registration
        How the T2 lay on the T1, and whether it was moved; None where that was not measured.
    """

    t1: NDArray[np.float32] | None
    t2: NDArray[np.float32] | None
    grid: Grid
    brain: NDArray[np.bool_]
    source: Geometry
    warnings: tuple[str, ...] = ()
    lesions: NDArray[np.bool_] | None = None
    registration: Registration | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """``("T1",)``, ``("T2",)`` or ``("T1", "T2")``."""
        given = (("T1", self.t1), ("T2", self.t2))
        return tuple(name for name, image in given if image is not None)

    @property
    def movement(self) -> Registration | None:
        """How the T2 was moved; None if it was not."""
        return self.registration if self.registration and self.registration.corrected else None

    def with_lesions(self, lesions: Volume) -> "Scan":
        """Return the scan with a map of its lesions.

        Parameters
        ----------
        lesions
            Non-zero in lesions, on any grid; all zero where there are none.

        Raises
        ------
        InputError
            It does not overlap with the scan.
        """
        placed = _placed(lesions, "the lesion map")
        there = placed.data != 0
        found = resample(there, placed.grid.affine, self.grid, order=0)
        if there.any() and not found.any():
            raise InputError(
                f"{placed.name} does not overlap with {self.source.path or 'the scan'}; give the "
                "lesion map of this scan."
            )
        return replace(self, lesions=np.ascontiguousarray(found))

    def to_source(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array on the scan's grid in the axis order of the reference file."""
        if array.shape != self.grid.shape:
            raise ValueError(f"array has shape {array.shape}, the scan {self.grid.shape}")
        return from_ras(array, self.source.affine)

    def normalised(self) -> NDArray[np.float32]:
        """Return float32 (2, X, Y, Z): T1 and T2 by `normalise`; a missing one is all zeros."""
        out = np.zeros((2, *self.grid.shape), dtype=np.float32)
        for channel, image in zip(out, (self.t1, self.t2), strict=True):
            if image is not None:
                channel[...] = normalise(image, self.brain)
        return out

    @classmethod
    def from_arrays(
        cls,
        t1: NDArray[Any] | None,
        t2: NDArray[Any] | None,
        affine: NDArray[np.float64],
        brain: NDArray[Any] | None = None,
        device: str = "cpu",
    ) -> "Scan":
        """Make a scan from arrays on one grid, in any orientation. Nothing is registered.

        Parameters
        ----------
        t1, t2
            Three axes, same shape; one may be None.
        affine
            4x4, voxel index to RAS+ mm.
        brain
            Non-zero inside the brain, same shape; None computes it.
        device
            Where the brain is computed: ``"cpu"`` or ``"cuda"``.

        Raises
        ------
        InputError
            As `load_scan`, without the files.
        ValueError
            The shapes differ.
        """
        first = t1 if t1 is not None else t2
        if first is None:
            raise InputError("neither a T1 nor a T2 was given; give at least one.")
        if any(a is not None and a.shape != first.shape for a in (t1, t2, brain)):
            raise ValueError("T1, T2 and brain mask have different shapes")
        source = Geometry.from_affine(first.shape, affine)
        named = (("the T1", t1), ("the T2", t2), ("the brain mask", brain))
        images = [a if a is None else Placed.turned(name, a, source.affine) for name, a in named]
        return _build(images, source, device, "off")

    @classmethod
    def from_volumes(
        cls,
        t1: Volume | None,
        t2: Volume | None,
        brain: Volume | None = None,
        device: str = "cpu",
        register: Register | Registration = REGISTER,
    ) -> "Scan":
        """Make a scan from volumes in memory, whether or not they came from files.

        T2 and brain mask are resampled onto the T1's grid by their affines. Nothing is interpolated
        if the grids agree within `grid.TOLERANCE_MM`.

        Parameters
        ----------
        t1, t2
            Each on its own grid; one may be None.
        brain
            Non-zero inside the brain, on any grid; None computes it.
        device
            Where the brain is computed: ``"cpu"`` or ``"cuda"``.
        register
            ``"auto"``: move a T2 that lies more than half a voxel off the T1 by rigid registration
            (see `registration.find`). ``"off"``: leave it where its header places it. Or the
            registration of these two images, if it is known.

        Raises
        ------
        InputError
            No image is given, they do not overlap, the mask is empty, no brain is found, an image
            is constant inside the brain, or the T2 is of another person than the T1.
        """
        first = t1 or t2
        if first is None:
            raise InputError("neither a T1 nor a T2 was given; give at least one.")
        source = first.geometry()
        of_files = [text for volume in (t1, t2, brain) if volume for text in volume.warnings]
        named = ((t1, "the T1"), (t2, "the T2"), (brain, "the brain mask"))
        images = [None if volume is None else _placed(volume, name) for volume, name in named]
        del first, named, t1, t2, brain  # so that `_build` frees what it has brought onto the grid
        scan = _build(images, source, device, register)
        return replace(scan, warnings=(*of_files, *scan.warnings))


def load_scan(
    t1: Path | None,
    t2: Path | None,
    brain_mask: Path | None = None,
    device: str = "cpu",
    register: Register | Registration = REGISTER,
) -> Scan:
    """Read the files of one subject into a `Scan`.

    See `Scan.from_volumes`.

    Parameters
    ----------
    t1, t2
        NIfTI, MGH, or a DICOM series (its folder or one of its files); one may be None.
    brain_mask
        Non-zero inside the brain, on any grid; None computes it.
    device
        Where the brain is computed: ``"cpu"`` or ``"cuda"``.
    register
        ``"auto"``, ``"off"``, or a registration that is known.

    Raises
    ------
    InputError
        A file cannot be used, or as `Scan.from_volumes`.
    """
    return Scan.from_volumes(
        None if t1 is None else read_image(Path(t1)),
        None if t2 is None else read_image(Path(t2)),
        None if brain_mask is None else read_labels(Path(brain_mask)),
        device,
        register,
    )


def _placed(volume: Volume, name: str) -> Placed:
    return Placed.turned(str(volume.path or name), volume.data, volume.affine)


def _build(
    images: list[Placed | None], source: Geometry, device: str, register: Register | Registration
) -> Scan:
    """Make a scan from T1, T2 and brain mask; empties the list, so that each can be freed."""
    fields = [image and replace(image, data=np.empty(0)) for image in images]
    first, *others = (field for field in fields if field)
    grid = first.grid
    for other in others:
        checks.require_overlap(first, other)
    brain = _last(images, lambda mask: _mask_on(mask, grid, first.name))
    second = images.pop()
    one = _last(images, lambda image: _on(image, grid))
    if brain is None and one is not None:
        brain = find_brain(one, None, grid, device, name=first.name)
    given = brain if fields[2] else None
    placed = None
    if one is not None and second and brain is not None:
        placed = _registration(replace(first, data=one), second, brain, register)
        if placed is not None and placed.corrected:
            second = moved(second, placed)
            fields[1] = replace(second, data=np.empty(0))
    two = None if second is None else _on(second, grid)
    del second
    if brain is None:
        brain = find_brain(None, two, grid, device, name=first.name)
    whole = brain
    brain, notes = _covered(fields, brain, grid)
    t1, t2, _ = fields
    values1 = (t1.name, one[brain]) if t1 and one is not None else None
    values2 = (t2.name, two[brain]) if t2 and two is not None else None
    for named in (values1, values2):
        if named:
            checks.require_contrast(*named)
    depth = checks.depths(brain, grid.voxel_size)
    doubts = checks.doubts_of_contrast(values1, values2, depth)
    if not doubts:  # otherwise one mistake would be reported twice
        doubts += _doubts_of_place(fields, one, two, brain, given, placed)
    if not doubts and values1 and values2:
        doubts += checks.doubts_of_fluid(values1[1], values2, depth, grid.voxel_volume)
    if register != "off" and t1 and t2:
        enough = np.count_nonzero(whole) * grid.voxel_volume >= checks.LEAST_ML * 1000
        notes += _told(placed, t1.name, t2.name) if placed or enough else []
    notes += doubts
    for text in notes:
        warnings.warn(text, InputWarning, stacklevel=3)
    return Scan(
        t1=one,
        t2=two,
        grid=grid,
        brain=brain,
        source=source,
        warnings=tuple(notes),
        registration=placed,
    )


def _told(placed: Registration | None, first: str, second: str) -> list[str]:
    if placed is not None:
        return placed.told(first, second)
    return [
        f"{second} shows too little of the brain to tell whether it lies on {first}; it is used as "
        "its header places it."
    ]


def _registration(
    first: Placed, second: Placed, brain: NDArray[np.bool_], register: Register | Registration
) -> Registration | None:
    if isinstance(register, Registration):
        return register
    return find(first, second, brain) if register == "auto" else None


def _covered(
    fields: list[Placed | None], brain: NDArray[np.bool_], grid: Grid
) -> tuple[NDArray[np.bool_], list[str]]:
    """Restrict the brain to what both images cover; say what that and their voxels cost."""
    notes: list[str] = []
    t1, t2, mask = fields
    for image in (t1, t2):
        if image:
            brain, lost = checks.covered(brain, grid, image)
            notes += lost + checks.doubts_of_grid(image)
    if mask:
        notes += doubts_of_mask(brain, grid, mask.name)
    return brain, notes


def _doubts_of_place(
    fields: list[Placed | None],
    one: NDArray[np.float32] | None,
    two: NDArray[np.float32] | None,
    brain: NDArray[np.bool_],
    given: NDArray[np.bool_] | None,
    placed: Registration | None,
) -> list[str]:
    """Say whether the T2 or a ``given`` brain mask is displaced from the first image.

    If ``placed`` is known, that says it of the T2.
    """
    t1, t2, mask = fields
    first, image = (t1, one) if one is not None else (t2, two)
    if first is None or image is None:
        return []
    shown = replace(first, data=image)
    found: list[str] = []
    if t2 and one is not None and two is not None and placed is None:
        displaced = Placed(t2.name, two, first.grid)
        remedy = "register them (--register auto), or give images that are aligned"
        found += checks.doubts_of_place(shown, displaced, brain, remedy=remedy)
    if mask and given is not None:
        displaced = Placed(mask.name, given, first.grid)
        everywhere = np.ones_like(brain)
        remedy = "give the brain mask of this scan"
        found += checks.doubts_of_place(shown, displaced, everywhere, remedy=remedy, levels=2)
        if not found:
            found += doubts_of_person(given, image, first.grid, mask.name, first.name)
    return found


def _last(
    images: list[Placed | None], bring: Callable[[Placed], NDArray[Any]]
) -> NDArray[Any] | None:
    image = images.pop()
    return None if image is None else bring(image)


def _on(image: Placed, grid: Grid) -> NDArray[np.float32]:
    data = resample(image.data, image.grid.affine, grid, order=1)
    return np.ascontiguousarray(data, dtype=np.float32)


def _mask_on(mask: Placed, grid: Grid, name: str) -> NDArray[np.bool_]:
    whole = mask.data != 0
    if not whole.any():
        raise InputError(f"{mask.name} is empty; give a mask that is non-zero inside the brain.")
    brain = np.ascontiguousarray(resample(whole, mask.grid.affine, grid, order=0))
    if not brain.any():
        raise InputError(f"{mask.name} does not overlap with {name}; give the mask of this scan.")
    return brain
