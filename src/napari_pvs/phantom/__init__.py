"""Synthetic scans with known PVS: anatomy, tubes, acquisition."""
