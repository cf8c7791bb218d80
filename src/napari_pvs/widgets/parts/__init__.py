"""Controls used by several docks."""
