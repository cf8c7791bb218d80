"""The Load dock."""
