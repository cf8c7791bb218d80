"""Clicks, review and component lists: what a rater does to labels, without a GUI."""
