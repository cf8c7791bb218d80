"""Measures: overlap, detection, agreement and their tables."""
