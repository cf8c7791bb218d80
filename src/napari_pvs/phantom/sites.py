"""Sites: scanners and protocols, with intensities relative to white matter."""

from pydantic import BaseModel, ConfigDict, Field

Range = tuple[float, float]


class Site(BaseModel):
    """One scanner and protocol; every pair is a range from which each subject's value is drawn.

    Intensities are relative to white matter. T1: MPRAGE; T2: TSE or SPACE. The ranges contain what
    was measured on real scans (T2: CSF 3.3-6.3, grey matter 1.2-1.7; T1: CSF .15-.35, cortex
    .5-.75, deep grey matter .7-.9; SNR of T2 7-17), with room on both sides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    voxel_size: tuple[Range, Range, Range] = ((0.8, 0.8),) * 3
    """Voxel edge in mm, per axis (left-right, posterior-anterior, inferior-superior)."""
    t1_cortex: Range = (0.55, 0.68)
    t1_deep_grey: Range = (0.72, 0.85)
    t1_csf: Range = (0.15, 0.32)
    t1_wmh: Range = (0.65, 0.90)
    t1_faded: Range = (0.0, 0.4)
    """Up to which share PVS lack on T1 what they show on T2: of a subject, 0 in its darkest. The
    artery in a PVS is bright there where blood flows in, and a T1 of slices shows thin ones badly.
    """
    t2_cortex: Range = (1.20, 1.50)
    t2_deep_grey: Range = (0.95, 1.20)
    t2_pallidum: Range = (0.60, 0.95)
    """Iron darkens it."""
    t2_csf: Range = (3.6, 6.0)
    t2_wmh: Range = (1.40, 1.90)
    t1_snr: Range = (20, 40)
    t2_snr: Range = (8, 16)
    """White-matter signal over the standard deviation of the noise of the finished scan."""
    bias: Range = (0.05, 0.20)
    """Largest relative deviation of the receive field."""
    psf: Range = (1.0, 1.3)
    """Full width at half maximum of the point spread, in voxels."""
    smoothing: Range = (0.0, 0.0)
    """FWHM in voxels of smoothing after the noise, as by interpolation or registration."""
    sharpening: Range = (0.0, 0.0)
    """Share of an unsharp mask that the scanner's filter adds."""
    slices: Range = (2.0, 5.0)
    """Thickness in mm of the slices of 2D scans."""
    sliced: float = Field(0.0, ge=0, le=1)
    """Share of scans that consist of 2D slices, interpolated to the voxels of the site."""
    texture: Range = (0.005, 0.02)
    """Relative standard deviation of fine variation inside tissue."""
    grain: Range = (0.03, 0.12)
    """The same over 1-2.2 mm in white matter; on T2 of three persons 0.09-0.15, noise included. Of
    grain brighter than the tissue on T2, a third."""
    deep_grain: Range = (0.1, 0.4)
    """The same in basal ganglia, where PVS too thin to be seen and iron are: 0.1-0.28."""
    atrophy: Range = (0.0, 0.0)
    """How much the ventricles are widened, in mm."""
    halo: Range = (0.0, 0.3)
    """Strength of the hyperintensity around the ventricles, as a share of a lesion's."""
    infarcts: float = Field(0.0, ge=0, le=1)
    """Share of subjects with an infarct."""
    plaques: float = Field(0.4, ge=0, le=1)
    """Share of subjects with plaques, the lesions of multiple sclerosis."""
    stripping: Range = (0.0, 0.0)
    """How far the brain mask may extend beyond the brain's surface, in mm."""
    misregistration: Range = (0.0, 0.5)
    """Misregistration of T2 to T1, in mm."""
    motion: float = Field(0.1, ge=0, le=1)
    """Share of scans with visible motion ringing."""


SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site(name="A"),
        Site(
            name="B",
            voxel_size=((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)),
            t1_cortex=(0.60, 0.74),
            t1_csf=(0.22, 0.38),
            t2_cortex=(1.25, 1.60),
            t2_csf=(4.0, 7.0),
            t1_snr=(16, 36),
            t2_snr=(7, 14),
            psf=(1.1, 1.6),
            atrophy=(0.0, 2.0),
        ),
        Site(
            name="C",
            voxel_size=((0.7, 0.7), (0.7, 0.7), (0.7, 0.7)),
            t1_cortex=(0.50, 0.62),
            t2_cortex=(1.18, 1.40),
            t2_csf=(2.8, 4.5),
            t1_snr=(12, 22),
            t2_snr=(6, 11),
            psf=(0.9, 1.2),
        ),
        Site(
            name="D",
            voxel_size=((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)),
            t1_faded=(0.0, 0.8),
            t2_csf=(3.5, 7.0),
            t1_snr=(20, 45),
            t2_snr=(9, 20),
            psf=(1.0, 1.5),
            slices=(3.0, 5.0),
            sliced=0.5,
            sharpening=(0.0, 0.4),
            atrophy=(0.0, 3.0),
            infarcts=0.1,
            plaques=0.7,
        ),
        Site(
            name="random",
            voxel_size=((0.6, 1.2), (0.6, 1.2), (0.6, 1.2)),
            t1_cortex=(0.45, 0.80),
            t1_deep_grey=(0.64, 0.94),
            t1_csf=(0.06, 0.45),
            t1_wmh=(0.55, 0.97),
            t1_faded=(0.0, 1.0),
            t2_cortex=(1.08, 1.75),
            t2_deep_grey=(0.80, 1.35),
            t2_pallidum=(0.40, 1.0),
            t2_csf=(2.4, 9.0),
            t2_wmh=(1.25, 2.4),
            t1_snr=(10, 60),
            t2_snr=(4.5, 25),
            bias=(0.02, 0.3),
            psf=(0.8, 1.7),
            smoothing=(0.0, 1.6),
            sharpening=(0.0, 0.7),
            slices=(2.0, 4.5),
            sliced=0.2,
            texture=(0.005, 0.045),
            grain=(0.0, 0.2),
            deep_grain=(0.02, 0.55),
            atrophy=(0.0, 4.0),
            halo=(0.0, 0.9),
            infarcts=0.15,
            plaques=0.6,
            stripping=(0.0, 1.0),
            misregistration=(0.0, 0.8),
            motion=0.15,
        ),
    )
}
"""A: 0.8 mm, as HCP; B: 1 mm; C: noisy 0.7 mm; D: 2D slices; random: domain randomisation."""
