"""The M2SS-PVS network and its weights."""
