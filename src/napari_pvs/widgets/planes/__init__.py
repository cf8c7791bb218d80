"""Three linked planes: how a scan and its labels are drawn, and what the mouse does there."""
