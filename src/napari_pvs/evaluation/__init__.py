"""Measures: overlap, detection, agreement, and tables of them."""
