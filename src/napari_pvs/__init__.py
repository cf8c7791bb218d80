"""Segment, correct, learn and count perivascular spaces (PVS) on brain MRI."""

__version__ = "0.1.0"
