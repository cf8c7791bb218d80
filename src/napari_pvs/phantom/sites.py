"""Sites: what a scanner does to an anatomy. Numbers: the literature's, white matter = 1."""

from pydantic import BaseModel, ConfigDict, Field

Range = tuple[float, float]


class Site(BaseModel):
    """One scanner and protocol; every pair is a range, drawn anew for each subject.

    Intensities are relative to white matter. T1 3 T MPRAGE, T2 3 T TSE/SPACE; the ranges hold the
    values of the published phantoms and of FreeSurfer-labelled scans.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    voxel_size: tuple[Range, Range, Range] = ((0.8, 0.8),) * 3
    """Voxel edge in mm, per axis (left-right, posterior-anterior, inferior-superior)."""
    t1_cortex: Range = (0.58, 0.66)
    t1_deep_grey: Range = (0.72, 0.82)
    t1_csf: Range = (0.18, 0.32)
    t1_wmh: Range = (0.70, 0.85)
    t2_cortex: Range = (1.20, 1.38)
    t2_deep_grey: Range = (1.00, 1.08)
    t2_csf: Range = (2.0, 2.9)
    t2_wmh: Range = (1.50, 1.80)
    snr: Range = (15, 30)
    """White-matter signal over the standard deviation of the Rician noise."""
    bias: Range = (0.05, 0.20)
    """Largest relative deviation of the receive field."""
    psf: Range = (1.0, 1.3)
    """Full width at half maximum of the point spread, in voxels."""
    smoothing: Range = (0.0, 0.0)
    """FWHM in voxels of smoothing after the noise: interpolating scanners, registered scans."""
    misregistration: Range = (0.0, 0.5)
    """T2 against T1, in mm."""
    motion: float = Field(0.1, ge=0, le=1)
    """Share of scans with visible motion ringing."""


SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site(name="A"),
        Site(
            name="B",
            voxel_size=((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)),
            t1_cortex=(0.62, 0.72),
            t1_csf=(0.25, 0.38),
            t2_cortex=(1.30, 1.48),
            t2_csf=(2.6, 3.6),
            snr=(18, 36),
            psf=(1.1, 1.5),
        ),
        Site(
            name="C",
            voxel_size=((0.7, 0.7), (0.7, 0.7), (0.7, 0.7)),
            t1_cortex=(0.52, 0.62),
            t2_cortex=(1.14, 1.28),
            t2_csf=(1.9, 2.4),
            snr=(15, 24),
            psf=(0.9, 1.2),
        ),
        Site(
            name="random",
            voxel_size=((0.68, 1.08), (0.68, 1.08), (0.68, 1.08)),
            t1_cortex=(0.48, 0.78),
            t1_deep_grey=(0.66, 0.92),
            t1_csf=(0.08, 0.42),
            t1_wmh=(0.6, 0.92),
            t2_cortex=(1.12, 1.65),
            t2_deep_grey=(0.85, 1.2),
            t2_csf=(1.8, 4.2),
            t2_wmh=(1.3, 2.1),
            snr=(13, 45),
            bias=(0.02, 0.3),
            psf=(0.8, 1.5),
            smoothing=(0.0, 1.3),
            misregistration=(0.0, 0.7),
            motion=0.15,
        ),
    )
}
"""A: 0.8 mm, as HCP; B: clinical 1 mm; C: noisy 0.7 mm; random: domain randomisation."""
