"""Scans: files, grids, intensities and brain masks."""
