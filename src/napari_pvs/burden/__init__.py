"""Counting PVS, their size and shape, by region."""
