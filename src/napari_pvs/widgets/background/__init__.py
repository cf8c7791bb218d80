"""Threads, processes and idle time, so that the viewer never waits."""
