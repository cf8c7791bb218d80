"""The Metrics dock."""
